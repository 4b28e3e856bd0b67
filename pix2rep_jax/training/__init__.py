"""The training state, its step, its loop and what a run leaves on disk."""
