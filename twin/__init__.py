"""What we believe about webs and cells: units and ranges checked here, the arithmetic done in the kernel of the same name."""
