"""What is trained and how, and everything that the loop needs for it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2rep_jax.training.feed import make_batches
from pix2rep_jax.training.sharding import place
from pix2rep_jax.training.state import LossFn, TrainState
from pix2rep_jax.training.step import TrainStep, compile_step, make_update

__all__ = ["Task", "make_training"]


class Task(NamedTuple):
    """What is trained, and how.

    Attributes:
        loss_fn: The loss of a batch.
        params: Initial parameters.
        batch_stats: Initial BatchNorm statistics.
        extra: Initial extra state, as in `TrainState`.
        data: Tree of arrays, one sample per row, or a mapping of such sets.
        batch_size: Samples of the global batch, or a mapping by the names of the sets.
        rates: Learning rate of each part that is trained, by dotted name.
        recipe: Has `schedule`, `warmup_steps` and `weight_decay`.
        num_steps: Steps of the whole run.
        key: The run's random key.
    """

    loss_fn: LossFn
    params: Any
    batch_stats: Any
    extra: Any
    data: Any
    batch_size: Any
    rates: Mapping[str, float]
    recipe: ConfigDict
    num_steps: int
    key: jax.Array


def make_training(
    task: Task, *, mesh: Mesh, budget_mb: float
) -> tuple[TrainState, TrainStep, Callable[[TrainState], Iterator[Any]]]:
    """Makes the state before the first step, the step, and its batches.

    Args:
        task: What is trained.
        mesh: The devices.
        budget_mb: Data up to this size are copied to every device (MB).

    Returns:
        The state on its devices; the step, compiled at its first call; and a function
        that makes the batches from a state's step on.
    """
    state, update = make_update(
        task.loss_fn,
        task.params,
        task.batch_stats,
        extra=task.extra,
        recipe=task.recipe,
        rates=task.rates,
        key=task.key,
        num_steps=task.num_steps,
    )

    def feed(state: TrainState) -> Iterator[Any]:
        return make_batches(
            task.data,
            key=state.key,
            first_step=int(state.step),
            mesh=mesh,
            batch_size=task.batch_size,
            budget_mb=budget_mb,
        )

    return place(state, mesh), compile_step(update, mesh=mesh), feed
