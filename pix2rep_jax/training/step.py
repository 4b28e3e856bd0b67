"""The training step: a compiled program from a state and a batch to the next state."""

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from pix2rep_jax.compiler import compiler_options
from pix2rep_jax.errors import InputError
from pix2rep_jax.training.batches import draw_rows, take_batch
from pix2rep_jax.training.parts import put_parts, take_parts
from pix2rep_jax.training.sharding import batched, place, replicated
from pix2rep_jax.training.state import TrainState

__all__ = [
    "bind_data",
    "compile_draw",
    "compile_step",
    "count_steps",
    "make_host_step",
    "make_resident_step",
    "make_train_step",
]


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


def compile_draw(
    *, mesh: Mesh, num_samples: Any, batch_size: Any
) -> Callable[[jax.Array, jax.Array, Any], Any]:
    """Compiles the draw of a step's batch from data resident on the devices.

    Args:
        mesh: The devices, each of which has all the data and takes its part of a batch.
        num_samples: Samples of the data, or of each set in it.
        batch_size: Samples of the global batch, likewise.

    Returns:
        `draw(key, step, data) -> batch`, with the key and the step of a state.
    """

    def draw(key: jax.Array, step: jax.Array, data: Any) -> Any:
        order_key, _ = jax.random.split(key)
        indices = draw_rows(
            order_key, step, num_samples=num_samples, batch_size=batch_size
        )
        return take_batch(data, indices)

    whole = replicated(mesh)
    return jax.jit(
        draw, in_shardings=(whole, whole, whole), out_shardings=batched(mesh)
    )


def make_resident_step(
    step: Callable, data: Any, *, mesh: Mesh, num_samples: Any, batch_size: Any
) -> Callable[[TrainState], tuple[TrainState, dict[str, jax.Array]]]:
    """Makes a step draw its own batch from data resident on the devices.

    Args:
        step: From `compile_step`.
        data: Tree of numpy arrays with a common first axis, or a tree of such sets.
        mesh: The devices.
        num_samples: Samples of the data, or of each set in it.
        batch_size: Samples of the global batch, likewise.

    Returns:
        `step(state) -> (state, metrics)`.
    """
    resident = place(data, mesh)
    draw = compile_draw(mesh=mesh, num_samples=num_samples, batch_size=batch_size)
    return lambda state: step(state, draw(state.key, state.step, resident))


def make_host_step(
    step: Callable, data: Any, *, mesh: Mesh, num_samples: Any, batch_size: Any
) -> Callable[[TrainState], tuple[TrainState, dict[str, jax.Array]]]:
    """Makes a step take data that stay on the host, one batch ahead of the device.

    Args:
        step: From `compile_step`.
        data: As of `make_resident_step`.
        mesh: The devices.
        num_samples: Samples of the data, or of each set in it.
        batch_size: Samples of the global batch, likewise.

    Returns:
        `step(state) -> (state, metrics)`, the same numbers as the resident step's.
    """
    split = batched(mesh)
    draw = jax.jit(
        functools.partial(draw_rows, num_samples=num_samples, batch_size=batch_size)
    )

    def spread(indices: np.ndarray, array: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(
            (len(indices), *array.shape[1:]),
            split,
            lambda rows: array[indices[rows[0]]],
        )

    def fetch(order_key: jax.Array, number: int) -> Any:
        # Every process draws the same indices and reads the rows of its devices.
        indices = jax.tree.map(np.asarray, draw(order_key, number))
        return jax.tree.map(
            lambda rows, part: jax.tree.map(functools.partial(spread, rows), part),
            indices,
            data,
        )

    def batches(state: TrainState):
        # The first state says where the run stands; asking every one of them would
        # make the host wait for the device.
        order_key, _ = jax.random.split(state.key)
        first = int(state.step)
        yield from (fetch(order_key, number) for number in itertools.count(first))

    waiting = []

    def advance(state: TrainState):
        if not waiting:
            stream = batches(state)
            waiting.extend([stream, next(stream)])
        result = step(state, waiting[1])
        waiting[1] = next(waiting[0])
        return result

    return advance


def on_mesh(step: Callable, mesh: Mesh) -> Callable:
    """Lets what a step calls see the devices while it is traced."""

    @functools.wraps(step)  # whose name the compiled program has
    def traced(*arguments):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return step(*arguments)

    return traced


def bind_data(
    train_step: Callable,
    data: Any,
    *,
    mesh: Mesh,
    batch_size: Any,
    budget_mb: float,
) -> Callable[[TrainState], tuple[TrainState, dict[str, jax.Array]]]:
    """Compiles a step bound to its data, on the devices where they fit.

    Args:
        train_step: From `make_train_step`.
        data: Tree of numpy arrays with a common first axis, or a mapping of such
            sets, each of which is drawn in an order of its own.
        mesh: The devices.
        batch_size: Samples of the global batch; where `data` is a mapping of sets,
            those of each under the same name.
        budget_mb: Up to this size the data are copied to every device, so that a
            step moves nothing; larger data stay on the host (MB).

    Returns:
        `step(state) -> (state, metrics)`; the state is donated.
    """
    arrays = jax.tree.leaves(data)
    num_samples = jax.tree.map(
        lambda _, part: len(jax.tree.leaves(part)[0]), batch_size, data
    )
    fits = sum(array.nbytes for array in arrays) <= budget_mb * 1e6
    bind = make_resident_step if fits else make_host_step
    return bind(
        compile_step(train_step, mesh=mesh),
        data,
        mesh=mesh,
        num_samples=num_samples,
        batch_size=batch_size,
    )


def count_steps(recipe: Any, *, num_samples: int) -> int:
    """Returns the steps of a run: `num_steps`, or as many as `num_epochs` need.

    Args:
        recipe: Has `num_steps`, `num_epochs` and `batch_size`, and may have
            `min_steps`, below which epochs are no fewer.
        num_samples: Samples of the data.

    Raises:
        InputError: If that is not one step.
    """
    epochs = -(-recipe.num_epochs * num_samples // recipe.batch_size)
    num_steps = recipe.num_steps or max(epochs, recipe.get("min_steps", 0))
    if num_steps < 1:
        raise InputError(
            f"num_steps={recipe.num_steps} with num_epochs={recipe.num_epochs} is no "
            "training at all: make num_steps 1 or more, or 0 and num_epochs 1 or more"
        )
    return num_steps
