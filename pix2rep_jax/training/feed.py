"""The batches of a run: which samples a step sees, and how they reach the devices."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pix2rep_jax.runtime.config_checks import between, not_below_zero
from pix2rep_jax.training.sharding import batched, place, replicated

__all__ = [
    "batch_indices",
    "draw_rows",
    "host_batches",
    "make_batches",
    "resident_batches",
    "take_batch",
]


SETTINGS = {
    "batch_size": between(1, 65_536, "slices a step"),
    "num_epochs": not_below_zero,
    "num_steps": not_below_zero,
    "min_steps": not_below_zero,
}
"""The length of a run and of a batch, in each section that trains."""


def make_batches(
    data: Any,
    *,
    key: jax.Array,
    first_step: int,
    mesh: Mesh,
    batch_size: Any,
    budget_mb: float,
) -> Iterator[Any]:
    """Makes the infinite stream of a run's batches, split over the devices.

    A batch depends on the key, its step and the data alone. So a resumed run sees the
    batches of an unbroken one, wherever the data lie.

    Args:
        data: Tree of numpy arrays with a common first axis, or a mapping of such sets.
            Each set is drawn in its own order.
        key: The run's key, `TrainState.key`. It is read before this returns, so the
            state may be donated afterwards.
        first_step: Step of the first batch: the number of steps done before.
        mesh: The devices.
        batch_size: Samples of the global batch; for a mapping of sets, a mapping of
            the same names.
        budget_mb: Data up to this size (MB) are copied to every device once, so that
            a step moves nothing. Larger data stay on the host.
    """
    order_key = make_order_key(key)
    size = sum(array.nbytes for array in jax.tree.leaves(data))
    stream = host_batches
    if size <= budget_mb * 1e6:
        stream = resident_batches
        data = jax.tree.map(np.asarray, data)  # slices on the disk are read
    return stream(
        data,
        order_key=order_key,
        first_step=first_step,
        mesh=mesh,
        batch_size=batch_size,
    )


@jax.jit
def make_order_key(key: jax.Array) -> jax.Array:
    """Makes the key of `draw_rows` from a run's key; its arrays are new."""
    return jax.random.split(key)[0]


def resident_batches(
    data: Any, *, order_key: jax.Array, first_step: int, mesh: Mesh, batch_size: Any
) -> Iterator[Any]:
    """Yields batches of data that every device holds whole.

    Args:
        data: As in `make_batches`.
        order_key: The key of `draw_rows`.
        first_step: Step of the first batch.
        mesh: The devices; each gathers its own part of a batch.
        batch_size: As in `make_batches`.
    """
    draw = compile_draw(
        mesh=mesh, num_samples=count_samples(data, batch_size), batch_size=batch_size
    )
    resident, order_key = place((data, order_key), mesh)
    for step in itertools.count(first_step):
        yield draw(order_key, np.int32(step), resident)


def compile_draw(
    *, mesh: Mesh, num_samples: Any, batch_size: Any
) -> Callable[[jax.Array, Any, Any], Any]:
    """Compiles `draw(order_key, step, data) -> batch` for data on the devices."""

    def draw(order_key: jax.Array, step: jax.Array, data: Any) -> Any:
        rows = draw_rows(
            order_key, step, num_samples=num_samples, batch_size=batch_size
        )
        return take_batch(data, rows)

    whole = replicated(mesh)
    return jax.jit(
        draw, in_shardings=(whole, whole, whole), out_shardings=batched(mesh)
    )


def host_batches(
    data: Any, *, order_key: jax.Array, first_step: int, mesh: Mesh, batch_size: Any
) -> Iterator[Any]:
    """Yields batches of data on the host; a copy runs beside the step before it.

    Every process draws the same rows and reads those of its own devices.

    Args:
        data: As in `make_batches`.
        order_key: The key of `draw_rows`.
        first_step: Step of the first batch.
        mesh: The devices.
        batch_size: As in `make_batches`.
    """
    draw = jax.jit(
        functools.partial(
            draw_rows,
            num_samples=count_samples(data, batch_size),
            batch_size=batch_size,
        )
    )

    def spread(rows: np.ndarray, array: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(
            (len(rows), *array.shape[1:]),
            batched(mesh),
            lambda part: array[rows[part[0]]] if part else array[rows],
        )

    def fetch(step: int) -> Any:
        rows = jax.tree.map(np.asarray, draw(order_key, np.int32(step)))
        return jax.tree.map(
            lambda rows, part: jax.tree.map(functools.partial(spread, rows), part),
            rows,
            data,
        )

    for step in itertools.count(first_step):
        # The loop asks for this batch once it has dispatched the step before, so the
        # copy runs while the devices are busy.
        yield fetch(step)


def count_samples(data: Any, batch_size: Any) -> Any:
    """Counts the samples of each set of `data`, in the structure of `batch_size`."""
    return jax.tree.map(lambda _, part: len(jax.tree.leaves(part)[0]), batch_size, data)


def batch_indices(
    key: jax.Array, step: jax.Array, *, num_samples: int, batch_size: int
) -> jax.Array:
    """Draws the samples of one step; every epoch shows each sample once.

    The stream of samples is one shuffled epoch after the other. It is cut into batches
    without a remainder, so a batch may begin in one epoch and end in the next.

    Args:
        key: Decides the order.
        step: int32 scalar.
        num_samples: Samples of the data set.
        batch_size: Samples per step.

    Returns:
        `[batch_size]` int32 indices. They depend on the arguments alone, so a resumed
        run continues as if it had not stopped.
    """
    # Steps times samples may exceed 2^31, so the product is split by whole epochs.
    first_epoch, offset = _multiply_divmod(step, batch_size, num_samples)
    num_epochs = (batch_size + num_samples - 2) // num_samples + 1
    epochs = first_epoch + jnp.arange(num_epochs, dtype=jnp.int32)
    order = jax.vmap(
        lambda epoch: jax.random.permutation(
            jax.random.fold_in(key, epoch), num_samples
        )
    )(epochs)
    stream = order.reshape(-1).astype(jnp.int32)
    return jax.lax.dynamic_slice(stream, (offset,), (batch_size,))


def _multiply_divmod(step: jax.Array, factor: int, modulus: int):
    """Returns divmod(step * factor, modulus) without overflowing int32."""
    whole, rest = jnp.divmod(step, modulus)
    carry, offset = jnp.divmod(rest * factor, modulus)
    return whole * factor + carry, offset


def draw_rows(
    key: jax.Array, step: jax.Array, *, num_samples: Any, batch_size: Any
) -> Any:
    """Draws the samples of one step from one set, or from each of several.

    Args:
        key: Decides the order. The first set's is `batch_indices` with this very key.
        step: int32 scalar.
        num_samples: Samples of the set, or a tree with a number for each set.
        batch_size: Samples per step, a tree of the same structure.

    Returns:
        `[batch_size]` int32 indices for each set, in that structure.
    """
    structure: Any
    sizes, structure = jax.tree.flatten(batch_size)
    numbers = structure.flatten_up_to(num_samples)
    # Epochs are folded in from 0 upwards, so keys from the other end are free.
    keys = [key, *(jax.random.fold_in(key, 2**32 - i) for i in range(1, len(sizes)))]
    return structure.unflatten(
        batch_indices(key, step, num_samples=number, batch_size=size)
        for key, number, size in zip(keys, numbers, sizes, strict=True)
    )


def take_batch(data: Any, indices: Any) -> Any:
    """Takes the rows `indices` of every array of a tree.

    Args:
        data: Tree of arrays with a common first axis, or a tree of such sets.
        indices: `[batch_size]` int, or a tree with one such array for each set.
    """
    take = lambda rows, part: jax.tree.map(lambda array: array[rows], part)  # noqa: E731
    return jax.tree.map(take, indices, data)
