"""The training step: a compiled program from a state and a batch to the next state."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pix2rep_jax.errors import InputError
from pix2rep_jax.training.sharding import batched, place, replicated
from pix2rep_jax.training.state import TrainState
from pix2rep_jax.training.step import compile_step

__all__ = [
    "batch_indices",
    "bind_data",
    "compile_draw",
    "count_steps",
    "draw_rows",
    "make_host_step",
    "make_resident_step",
    "take_batch",
]


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


def batch_indices(
    key: jax.Array, step: jax.Array, *, num_samples: int, batch_size: int
) -> jax.Array:
    """Draws the samples of one step; every epoch shows each sample once.

    The stream of samples is one shuffled epoch after the other, cut into batches
    without a remainder, so a batch may begin in one epoch and end in the next.

    Args:
        key: The run's key.
        step: int32 scalar.
        num_samples: Samples of the data set.
        batch_size: Samples a step.

    Returns:
        `[batch_size]` int32 indices. They depend on the arguments alone, so a
        resumed run continues as if it had not stopped.
    """
    # Steps and samples may multiply past 2^31: split the product by whole epochs.
    start = _multiply_mod(step, batch_size, num_samples)
    first_epoch, offset = start
    num_epochs = (batch_size + num_samples - 2) // num_samples + 1
    epochs = first_epoch + jnp.arange(num_epochs, dtype=jnp.int32)
    order = jax.vmap(
        lambda epoch: jax.random.permutation(
            jax.random.fold_in(key, epoch), num_samples
        )
    )(epochs)
    stream = order.reshape(-1).astype(jnp.int32)
    return jax.lax.dynamic_slice(stream, (offset,), (batch_size,))


def _multiply_mod(step: jax.Array, factor: int, modulus: int):
    """Returns divmod(step * factor, modulus) without overflowing int32."""
    whole, rest = jnp.divmod(step, modulus)
    carry, offset = jnp.divmod(rest * factor, modulus)
    return whole * factor + carry, offset


def draw_rows(key: jax.Array, step: jax.Array, *, num_samples: Any, batch_size: Any):
    """Draws the samples of one step from each of several sets, in orders of their own.

    Args:
        key: The run's key.
        step: int32 scalar.
        num_samples: Samples of the set, or a tree of such numbers.
        batch_size: Samples a step, a tree of the same structure.

    Returns:
        `[batch_size]` int32 indices, in that structure; those of a single set are
        `batch_indices`.
    """
    sizes, structure = jax.tree.flatten(batch_size)
    numbers = structure.flatten_up_to(num_samples)
    # Epochs count up from 0 in the same place: these keys are no epoch's.
    keys = [key, *(jax.random.fold_in(key, 2**32 - i) for i in range(1, len(sizes)))]
    return structure.unflatten(
        batch_indices(key, step, num_samples=number, batch_size=size)
        for key, number, size in zip(keys, numbers, sizes, strict=True)
    )


def take_batch(data: Any, indices: Any) -> Any:
    """Takes the rows `indices` of every array of a tree.

    Args:
        data: Tree of arrays with a common first axis, or a tree of such sets.
        indices: `[batch_size]` int, or a tree of them, one a set.
    """
    take = lambda rows, part: jax.tree.map(lambda array: array[rows], part)  # noqa: E731
    return jax.tree.map(take, indices, data)
