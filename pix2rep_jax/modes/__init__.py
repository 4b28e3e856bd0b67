"""One file a --mode: what a user can ask for on the command line."""
