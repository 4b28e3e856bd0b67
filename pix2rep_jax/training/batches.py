"""Which samples each step sees: a pure function of the run's key and the step."""

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["batch_indices", "draw_rows", "take_batch"]


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
