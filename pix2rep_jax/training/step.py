"""The training step: one compiled program from a state to the next."""

from collections.abc import Callable
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from pix2rep_jax.training.batches import batch_indices, take_batch
from pix2rep_jax.training.sharding import batched, replicated
from pix2rep_jax.training.state import TrainState

__all__ = ["make_resident_step", "make_train_step"]


def make_train_step(
    loss_fn: Callable, tx: optax.GradientTransformation, schedule: Callable
) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]:
    """Makes the update of a state by one batch, not yet compiled.

    Args:
        loss_fn: `(params, batch_stats, batch, key) -> (loss, (batch_stats,
            metrics))`.
        tx: The optimiser.
        schedule: Factor on the learning rates by step; logged.

    Returns:
        `train_step(state, batch) -> (state, metrics)`; metrics are scalars.
    """

    def train_step(state: TrainState, batch: Any):
        _, step_key = jax.random.split(state.key)
        key = jax.random.fold_in(step_key, state.step)
        (loss, (batch_stats, metrics)), grads = jax.value_and_grad(
            loss_fn, has_aux=True
        )(state.params, state.batch_stats, batch, key)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        metrics = metrics | {
            "loss": loss,
            "learning_rate_factor": schedule(state.step),
            "l2_grads": optax.global_norm(grads),
            "l2_params": optax.global_norm(state.params),
            "l2_updates": optax.global_norm(updates),
        }
        state = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        return state, metrics

    return train_step


def make_resident_step(
    train_step: Callable, *, mesh: Mesh, num_samples: int, batch_size: int
) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]:
    """Compiles a step that draws its own batch from data resident on the devices.

    Args:
        train_step: From `make_train_step`.
        mesh: The devices. One and many are the same program; means, BatchNorm's
            statistics and the loss's negatives are over the global batch.
        num_samples: Samples of the data.
        batch_size: Samples of the global batch.

    Returns:
        `step(state, data) -> (state, metrics)`; the state is donated.
    """
    whole, split = replicated(mesh), batched(mesh)

    def step(state: TrainState, data: Any):
        order_key, _ = jax.random.split(state.key)
        indices = batch_indices(
            order_key, state.step, num_samples=num_samples, batch_size=batch_size
        )
        batch = jax.lax.with_sharding_constraint(take_batch(data, indices), split)
        return train_step(state, batch)

    return jax.jit(
        step, donate_argnums=0, in_shardings=(whole, whole), out_shardings=whole
    )
