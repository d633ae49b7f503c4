"""The command line: parse, call, print. One file is one command, found by its name."""
