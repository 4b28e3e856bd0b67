"""The random keys that a run begins with."""

import jax
import numpy as np

__all__ = ["make_run_keys"]


def make_run_keys(seed: int, *, draw: int | None = None) -> tuple[jax.Array, jax.Array]:
    """Makes a run's key and that of its first weights.

    One program makes both: the functions of `jax.random` would compile four, one after
    the other.

    Args:
        seed: The run's seed, of 32 bits.
        draw: Which draw of patients; folded into the key. None folds in nothing.

    Returns:
        The key of order and augmentation, and the key of the first weights.
    """
    return _make(np.uint32(seed), None if draw is None else np.uint32(draw))


@jax.jit
def _make(seed: jax.Array, draw: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    key = jax.random.key(seed)
    if draw is not None:
        key = jax.random.fold_in(key, draw)
    run_key, init_key = jax.random.split(key)
    return run_key, init_key
