"""What changes from step to step, and nothing else."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from pix2rep_jax.models.param_parts import take_parts

__all__ = ["TrainState", "create_state"]


class TrainState(struct.PyTreeNode):
    """A training run between two steps: arrays only, so it is its own checkpoint.

    Attributes:
        step: int32 scalar, steps done.
        params: Parameters, float32.
        batch_stats: BatchNorm's running statistics.
        opt_state: State of the optimiser.
        key: The run's random key; step t uses `fold_in(key, t)`.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    key: jax.Array


def create_state(
    params: Any,
    batch_stats: Any,
    tx: optax.GradientTransformation,
    key: jax.Array,
    *,
    trainable: Sequence[str],
) -> TrainState:
    """Returns the state before the first step.

    Args:
        params: Initial parameters; copied, so that donating the state is safe.
        batch_stats: Initial BatchNorm statistics; copied too.
        tx: The optimiser.
        key: The run's typed random key.
        trainable: Parts of `params` that the optimiser moves, by dotted name.
    """

    @jax.jit  # hundreds of small copies take a second one by one
    def begin(params: Any, batch_stats: Any, key: jax.Array) -> TrainState:
        params, batch_stats = jax.tree.map(jnp.array, (params, batch_stats))
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=batch_stats,
            opt_state=tx.init(take_parts(params, trainable)),
            key=key.copy(),
        )

    return begin(params, batch_stats, key)
