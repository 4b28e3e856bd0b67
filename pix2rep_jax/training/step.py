"""The training step: from a state and a batch to the next state."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2rep_jax.models.param_parts import put_parts, take_parts
from pix2rep_jax.runtime.compiler import compiler_options
from pix2rep_jax.training.optimizer import count_warmup, make_optimizer, make_schedule
from pix2rep_jax.training.sharding import batched, replicated
from pix2rep_jax.training.state import LossFn, TrainState, create_state

__all__ = ["TrainStep", "compile_step", "make_train_step", "make_update"]

TrainStep = Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]
"""`train_step(state, batch) -> (state, metrics)`; metrics are scalars."""


def make_train_step(
    loss_fn: LossFn,
    tx: optax.GradientTransformation,
    schedule: Callable,
    *,
    learning_rates: Mapping[str, float],
) -> TrainStep:
    """Makes the update of a state by one batch, not yet compiled.

    Args:
        loss_fn: It finds the devices by `jax.sharding.get_abstract_mesh`.
        tx: The optimiser of the parts that move.
        schedule: Factor on the learning rates by step.
        learning_rates: Rate of each part that moves, by dotted name. Others are frozen.
    """

    def train_step(state: TrainState, batch: Any):
        key = jax.random.fold_in(jax.random.split(state.key)[1], state.step)
        trained = take_parts(state.params, learning_rates)

        def loss_of(trained: Any):
            params = put_parts(state.params, trained)
            return loss_fn(params, state.model_state, batch, key)

        value, grads = jax.value_and_grad(loss_of, has_aux=True)(trained)
        loss, (model_state, metrics) = value
        updates, opt_state = tx.update(grads, state.opt_state, trained)
        metrics = metrics | {
            "loss": loss,
            "l2_grads": _norm(grads),
            "l2_params": _norm(trained),
            "l2_updates": _norm(updates),
        }
        for name, rate in learning_rates.items():
            metrics[f"learning_rate_{name}"] = rate * schedule(state.step)
        return state.replace(
            step=state.step + 1,
            params=put_parts(state.params, optax.apply_updates(trained, updates)),
            batch_stats=model_state.batch_stats,
            extra=model_state.extra,
            opt_state=opt_state,
        ), metrics

    return train_step


def _norm(tree: Any) -> jax.Array:
    """The Euclidean norm of a tree; one vector, as in `make_optimizer`."""
    vector, _ = ravel_pytree(tree)
    return jnp.sqrt(jnp.sum(vector**2))


def compile_step(train_step: TrainStep, *, mesh: Mesh) -> TrainStep:
    """Compiles a step.

    The program knows only the shape of a batch. Runs on other patients, such as a
    study's, therefore reuse it from the compilation cache.

    Args:
        train_step: From `make_train_step`.
        mesh: The devices. One and many run the same program: means, BatchNorm's
            statistics and the loss's negatives are over the global batch.

    Returns:
        The step, compiled at its first call. It donates the state and splits the batch
        over the devices.
    """
    whole, split = replicated(mesh), batched(mesh)
    return jax.jit(
        on_mesh(train_step, mesh),
        donate_argnums=0,
        in_shardings=(whole, split),
        out_shardings=whole,
        compiler_options=compiler_options(),
    )


def on_mesh(step: TrainStep, mesh: Mesh) -> TrainStep:
    """Lets the functions that a step calls see the devices while it is traced."""

    @functools.wraps(step)  # the compiled program takes its name from here
    def traced(*arguments: Any):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return step(*arguments)

    return traced


def make_update(
    loss_fn: LossFn,
    params: Any,
    batch_stats: Any,
    *,
    recipe: ConfigDict,
    rates: Mapping[str, float],
    key: jax.Array,
    num_steps: int,
    extra: Any = None,
) -> tuple[TrainState, TrainStep]:
    """Makes the state before the first step, and its update by a batch.

    Args:
        loss_fn: As `make_train_step` takes it.
        params: Initial parameters.
        batch_stats: Initial BatchNorm statistics.
        recipe: Has `schedule`, `weight_decay`, and what `count_warmup` reads.
        rates: Learning rate of each part that moves, by dotted name.
        key: The run's random key.
        num_steps: Steps of the run, which the schedule spans.
        extra: Initial extra state, as `create_state` takes it.

    Returns:
        The state, and its update, not yet compiled.
    """
    warmup_steps = count_warmup(recipe, num_steps=num_steps)
    schedule = make_schedule(
        recipe.schedule, num_steps=num_steps, warmup_steps=warmup_steps
    )
    tx = make_optimizer(rates, schedule, weight_decay=recipe.weight_decay)
    state = create_state(
        params, batch_stats, tx, key, trainable=tuple(rates), extra=extra
    )
    return state, make_train_step(loss_fn, tx, schedule, learning_rates=rates)
