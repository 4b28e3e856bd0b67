"""What a run leaves on disk: configuration, record, checkpoints and metrics.

No jax transformation lives here.
"""
