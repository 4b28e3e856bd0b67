"""What changes from step to step, and the type of the loss that changes it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from pix2rep_jax.models.param_parts import take_parts
from pix2rep_jax.runtime.compiler import once_options

__all__ = ["LossFn", "ModelState", "TrainState", "create_state"]


class ModelState(NamedTuple):
    """Everything of a model that changes without a gradient.

    Attributes:
        batch_stats: BatchNorm's running statistics.
        extra: What a method keeps besides, such as BYOL's target or Mean Teacher's
            teacher; `{}` if it keeps nothing.
    """

    batch_stats: Any
    extra: Any


LossFn = Callable[
    [Any, ModelState, Any, jax.Array],
    tuple[jax.Array, tuple[ModelState, dict[str, jax.Array]]],
]
"""`loss_fn(params, model_state, batch, key) -> (loss, (model_state, metrics))`.

The function is pure, and `make_train_step` differentiates it.

Args:
    params: All parameters, including those that do not move.
    model_state: The `ModelState` that the step before left.
    batch: Tree of arrays, one sample per row; each method says which arrays it reads.
    key: A random key of this step alone.

Returns:
    The scalar loss, the new `ModelState` of the same structure, and scalars to log by
    name.
"""


class TrainState(struct.PyTreeNode):
    """A training run between two steps. It holds arrays only, so it can be saved as is.

    Attributes:
        step: int32 scalar, the number of steps done.
        params: Parameters, float32.
        batch_stats: BatchNorm's running statistics.
        extra: What is neither parameters nor statistics, as in `ModelState`.
        opt_state: The optimiser's state.
        key: The run's random key. Step t uses `fold_in(key, t)`.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    extra: Any
    opt_state: optax.OptState
    key: jax.Array

    @property
    def model_state(self) -> ModelState:
        """The part that a loss receives and returns."""
        return ModelState(self.batch_stats, self.extra)


def create_state(
    params: Any,
    batch_stats: Any,
    tx: optax.GradientTransformation,
    key: jax.Array,
    *,
    trainable: Sequence[str],
    extra: Any = None,
) -> TrainState:
    """Creates the state before the first step.

    All arrays are copied, so the caller's stay valid when the state is donated.

    Args:
        params: Initial parameters.
        batch_stats: Initial BatchNorm statistics.
        tx: The optimiser.
        key: The run's typed random key.
        trainable: Dotted names of the parts of `params` that the optimiser moves.
        extra: Initial extra state; None stands for `{}`.
    """

    def begin(params: Any, model_state: ModelState, key: jax.Array) -> TrainState:
        params, model_state = jax.tree.map(jnp.array, (params, model_state))
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=model_state.batch_stats,
            extra=model_state.extra,
            opt_state=tx.init(take_parts(params, trainable)),
            key=key.copy(),
        )

    # Hundreds of small copies take a second one by one.
    # Inside another program, such as that of `jax.eval_shape`, XLA takes no options.
    options = None if isinstance(key, jax.core.Tracer) else once_options()
    begin_once = jax.jit(begin, compiler_options=options)
    return begin_once(
        params, ModelState(batch_stats, {} if extra is None else extra), key
    )
