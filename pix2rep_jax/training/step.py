"""The training step: a compiled program from a state and a batch to the next state."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2rep_jax.models.param_parts import put_parts, take_parts
from pix2rep_jax.runtime.compiler import compiler_options
from pix2rep_jax.training.optimizer import make_optimizer, make_schedule
from pix2rep_jax.training.sharding import batched, replicated
from pix2rep_jax.training.state import TrainState, create_state

__all__ = ["compile_step", "make_train_step", "make_update"]


def make_train_step(
    loss_fn: Callable,
    tx: optax.GradientTransformation,
    schedule: Callable,
    *,
    learning_rates: Mapping[str, float],
) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]:
    """Makes the update of a state by one batch, not yet compiled.

    Args:
        loss_fn: `(params, batch_stats, batch, key) -> (loss, (batch_stats,
            metrics))`; `jax.sharding.get_abstract_mesh` tells it the devices.
        tx: The optimiser.
        schedule: Factor on the learning rates by step.
        learning_rates: Of each part of the parameters that moves, by its dotted
            name, as the optimiser has them; logged times the schedule. The rest is
            frozen, and no gradient is computed for it.

    Returns:
        `train_step(state, batch) -> (state, metrics)`; metrics are scalars.
    """

    def train_step(state: TrainState, batch: Any):
        _, step_key = jax.random.split(state.key)
        key = jax.random.fold_in(step_key, state.step)
        trained = take_parts(state.params, learning_rates)

        def loss_of(trained):
            params = put_parts(state.params, trained)
            return loss_fn(params, state.batch_stats, batch, key)

        (loss, (batch_stats, metrics)), grads = jax.value_and_grad(
            loss_of, has_aux=True
        )(trained)
        updates, opt_state = tx.update(grads, state.opt_state, trained)
        metrics = metrics | {
            "loss": loss,
            "l2_grads": optax.tree.norm(grads),
            "l2_params": optax.tree.norm(trained),
            "l2_updates": optax.tree.norm(updates),
            **{
                f"learning_rate_{name}": rate * schedule(state.step)
                for name, rate in learning_rates.items()
            },
        }
        state = state.replace(
            step=state.step + 1,
            params=put_parts(state.params, optax.apply_updates(trained, updates)),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        return state, metrics

    return train_step


def compile_step(train_step: Callable, *, mesh: Mesh) -> Callable:
    """Compiles a step.

    A program is one for all data sets: it knows nothing of a batch but its shape, so
    that a study's runs, of other patients each, need not be compiled anew.

    Args:
        train_step: From `make_train_step`.
        mesh: The devices. One and many are the same program; means, BatchNorm's
            statistics and the loss's negatives are over the global batch.

    Returns:
        `step(state, batch) -> (state, metrics)`; the state is donated, the batch is
        split over the devices.
    """
    whole, split = replicated(mesh), batched(mesh)
    return jax.jit(
        on_mesh(train_step, mesh),
        donate_argnums=0,
        in_shardings=(whole, split),
        out_shardings=whole,
        compiler_options=compiler_options(),
    )


def on_mesh(step: Callable, mesh: Mesh) -> Callable:
    """Lets what a step calls see the devices while it is traced."""

    @functools.wraps(step)  # whose name the compiled program has
    def traced(*arguments):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return step(*arguments)

    return traced


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
