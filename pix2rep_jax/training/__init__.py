"""The training state, its step, its feed and its loop. JAX only.

No path and no JSON: what a run leaves on disk is in `runs`.
"""
