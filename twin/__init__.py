"""What we believe about webs and cells. Units and ranges are checked here; the kernel of the same name computes."""
