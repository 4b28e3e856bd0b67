"""From a loss to the first state and the update of it, and with data to the step."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2rep_jax.training.optimizer import make_optimizer, make_schedule
from pix2rep_jax.training.state import TrainState, create_state
from pix2rep_jax.training.step import bind_data, make_train_step

__all__ = ["begin", "make_update"]


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


def begin(
    loss_fn: Callable,
    params: Any,
    batch_stats: Any,
    data: Any,
    *,
    recipe: ConfigDict,
    rates: Mapping[str, float],
    key: jax.Array,
    mesh: Mesh,
    num_steps: int,
    batch_size: Any,
    budget_mb: float,
) -> tuple[TrainState, Callable]:
    """Makes the state before the first step, and the step from one to the next.

    Args:
        loss_fn: As `make_train_step` takes it.
        params: Initial parameters.
        batch_stats: Initial BatchNorm statistics.
        data: As `bind_data` takes them.
        recipe: Has `schedule`, `warmup_steps` and `weight_decay`.
        rates: Learning rate of each part of the parameters that moves.
        key: The run's random key.
        mesh: The devices.
        num_steps: Steps of the run, which the schedule spans.
        batch_size: As `bind_data` takes it.
        budget_mb: Likewise (MB).

    Returns:
        The state, and `train_step(state) -> (state, metrics)`, not compiled before its
        first call.
    """
    state, update = make_update(
        loss_fn,
        params,
        batch_stats,
        recipe=recipe,
        rates=rates,
        key=key,
        num_steps=num_steps,
    )
    train_step = bind_data(
        update, data, mesh=mesh, batch_size=batch_size, budget_mb=budget_mb
    )
    return state, train_step
