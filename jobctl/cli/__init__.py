"""The command line: each command is parse, one call to the core, render."""
