"""The exponential moving average of parameters."""

from typing import Any

import jax

__all__ = ["ema_update"]


def ema_update(average: Any, params: Any, *, decay: float | jax.Array) -> Any:
    """Returns `decay * average + (1 - decay) * params`, leaf by leaf.

    Args:
        average: Tree of arrays.
        params: Tree of arrays of the same shapes.
        decay: Share of the old average that stays, from 0 to 1.
    """
    return jax.tree.map(
        lambda old, new: decay * old + (1 - decay) * new, average, params
    )
