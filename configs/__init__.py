"""Schema and loader of line files, and the TOML files for lines, equipment, cells and recipes. Opens no socket."""
