"""The training state, its step, its feed and its loop, in JAX alone.

Nothing here knows a path or writes JSON; `runs` keeps a run on disk.
"""
