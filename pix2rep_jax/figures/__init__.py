"""Pictures of a run, one a file: arrays in, a matplotlib figure out."""
