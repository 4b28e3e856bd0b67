"""From a loss to the first state, and the update of it by a batch."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from pix2rep_jax.training.optimizer import make_optimizer, make_schedule
from pix2rep_jax.training.state import TrainState, create_state
from pix2rep_jax.training.step import make_train_step

__all__ = ["make_update"]


def make_update(
    loss_fn: Callable,
    params: Any,
    batch_stats: Any,
    *,
    recipe: ConfigDict,
    rates: Mapping[str, float],
    key: jax.Array,
    num_steps: int,
) -> tuple[TrainState, Callable]:
    """Makes the state before the first step, and its update by a batch.

    Args:
        loss_fn: As `make_train_step` takes it.
        params: Initial parameters.
        batch_stats: Initial BatchNorm statistics.
        recipe: Has `schedule`, `warmup_steps` and `weight_decay`.
        rates: Learning rate of each part of the parameters that moves.
        key: The run's random key.
        num_steps: Steps of the run, which the schedule spans.

    Returns:
        The state, and `update(state, batch) -> (state, metrics)`, not yet compiled.
    """
    schedule = make_schedule(
        recipe.schedule, num_steps=num_steps, warmup_steps=recipe.warmup_steps
    )
    tx = make_optimizer(rates, schedule, weight_decay=recipe.weight_decay)
    state = create_state(params, batch_stats, tx, key, trainable=tuple(rates))
    return state, make_train_step(loss_fn, tx, schedule, learning_rates=rates)
