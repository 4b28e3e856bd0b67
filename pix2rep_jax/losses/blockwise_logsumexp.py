"""The log-sums of InfoNCE over all pairs of rows, in memory linear in the rows.

The matrix of similarities is symmetric. Its upper triangle is walked in blocks, and
each block is added to its rows and to its columns. A custom gradient computes the
blocks once more instead of storing them.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from pix2rep_jax.losses.rows import dot, mean_over

__all__ = ["count_blocks", "mean_log_sum"]


MAX_AT_ONCE = 4096
"""Up to this many rows (2N) one CPU device compares without a loop, in three blocks.

The matrix is symmetric, so 3 x 3 blocks need 6 products instead of 9.
"""

BLOCK_SIZE = 4096
"""Largest number of rows in a block, on an accelerator."""

CPU_BLOCK_SIZE = 1000
"""Largest number of rows in a block on a CPU, where a block must fit into the cache."""

BLOCKS_AT_ONCE = 3
"""Up to this many blocks are unrolled; more are computed in a loop."""


def count_blocks(count: int, block_size: int | None) -> int:
    """Chooses the number of blocks in which rows are compared.

    Args:
        count: Number of rows.
        block_size: Largest number of rows in a block; None chooses it.

    Returns:
        A number of blocks whose pairs can be shared evenly among all devices.
    """
    num_devices = mesh_in_use().size
    if block_size is None:
        on_cpu = jax.default_backend() == "cpu"
        block_size = CPU_BLOCK_SIZE if on_cpu else BLOCK_SIZE
        if on_cpu and block_size < count <= MAX_AT_ONCE and num_devices <= 1:
            block_size = -(-count // BLOCKS_AT_ONCE)
    num_blocks = max(1, -(-count // max(1, block_size)))
    # n blocks have n (n - 1) / 2 pairs, and n more with themselves.
    return num_blocks + (-num_blocks % (2 * num_devices) if num_devices > 1 else 0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def mean_log_sum(num_blocks, z, keep, temperature):
    """Averages log(sum over k != i of exp(z_i · z_k / τ)) over the rows i to keep.

    Args:
        num_blocks: Number of blocks; it divides the number of rows.
        z: `[rows, d]`, rows of length one or zero.
        keep: `[rows]`, 1 for the rows that take part and 0 for the others.
        temperature: τ.

    Returns:
        A scalar.
    """
    return mean_log_sum_fwd(num_blocks, z, keep, temperature)[0]


def mean_log_sum_fwd(num_blocks, z, keep, temperature):
    """Sums exp((z_i · z_k - 1) / τ) over rows and columns of the upper triangle."""

    def add(sums, i, j, is_diagonal, z, keep, temperature):
        e = exponentials(z[i], z[j], temperature, is_diagonal)
        sums = sums.at[i].add(dot(e, keep[j]))
        if is_diagonal:
            return sums
        return sums.at[j].add(dot(keep[i], e))

    blocks = in_blocks(num_blocks, z), in_blocks(num_blocks, keep)
    start = jnp.zeros_like(blocks[1])
    sums = over_upper_triangle(add, start, *blocks, temperature).reshape(keep.shape)
    # A kept row has its partner in its sum. Only the sum of another row can be empty.
    sums = jnp.maximum(sums, jnp.finfo(sums.dtype).tiny)
    loss = mean_over(keep, jnp.log(sums) + 1 / temperature)
    return loss, (z, keep, temperature, sums)


def mean_log_sum_bwd(num_blocks, residuals, cotangent):
    """Adds up the gradient sum_k (a_i + a_k) E_ik z_k / τ with a = weight / sum."""
    z, keep, temperature, sums = residuals
    scale = keep / (jnp.maximum(keep.sum(), 1) * sums)

    # No mask is needed here. Rows that take no part are zero, so they add nothing to
    # others, and their own gradient ends at the mask before the normalisation.
    # The sum is kept transposed: CPUs multiply by a transposed block at half the speed.
    def add(gradient, i, j, is_diagonal, z, scale, temperature):
        e = exponentials(z[i], z[j], temperature, is_diagonal)
        e = e * (scale[i][:, None] + scale[j][None, :])
        gradient = gradient.at[j].add(dot(z[i].T, e))
        if is_diagonal:
            return gradient
        return gradient.at[i].add(dot(e, z[j]).T)

    blocks = in_blocks(num_blocks, z), in_blocks(num_blocks, scale)
    start = jnp.zeros_like(blocks[0].swapaxes(1, 2))
    gradient = over_upper_triangle(add, start, *blocks, temperature)
    gradient = gradient.swapaxes(1, 2).reshape(z.shape) * (cotangent / temperature)
    # The loss is a function of z zᵀ / τ alone, which fixes its derivative in τ.
    temperature_gradient = -(z * gradient).sum() / (2 * temperature)
    return gradient, None, temperature_gradient


mean_log_sum.defvjp(mean_log_sum_fwd, mean_log_sum_bwd)


def exponentials(rows, columns, temperature, is_diagonal):
    """Computes a block of exp((cosine - 1) / τ), zero between a row and itself."""
    e = jnp.exp((dot(rows, columns.T) - 1) / temperature)
    return jnp.where(jnp.eye(*e.shape, dtype=bool), 0, e) if is_diagonal else e


def over_upper_triangle(add, start, *operands):
    """Folds `add(total, i, j, is_diagonal, *operands)` over all pairs of blocks i <= j.

    Each device folds over its share of the pairs. The results are summed.
    """
    num_blocks, mesh = start.shape[0], mesh_in_use()
    if num_blocks <= BLOCKS_AT_ONCE and mesh.size <= 1:
        for i, j in itertools.combinations_with_replacement(range(num_blocks), 2):
            start = add(start, i, j, i == j, *operands)
        return start
    diagonal = np.stack([np.arange(num_blocks)] * 2, axis=1)
    above = np.stack(np.triu_indices(num_blocks, 1), axis=1)
    pairs = [x.astype(np.int32) for x in (diagonal, above)]

    def fold(diagonal, above, total, *operands):
        for pairs, is_diagonal in ((diagonal, True), (above, False)):
            total, _ = jax.lax.scan(
                lambda total, pair, is_diagonal=is_diagonal: (
                    add(total, pair[0], pair[1], is_diagonal, *operands),
                    None,
                ),
                total,
                pairs,
            )
        return total

    if mesh.size <= 1:
        return fold(*pairs, start, *operands)
    split, whole = PartitionSpec(mesh.axis_names), PartitionSpec()
    return jax.shard_map(
        lambda *x: jax.lax.psum(fold(*x), mesh.axis_names),
        in_specs=(split, split, *[whole] * (1 + len(operands))),
        out_specs=whole,
        check_vma=False,
    )(*pairs, start, *operands)


def mesh_in_use():
    """Returns the mesh of `jax.set_mesh`, or one of size 0 if none is set."""
    return jax.sharding.get_abstract_mesh()


def in_blocks(num_blocks, x):
    """Splits `[rows, ...]` into `[num_blocks, rows / num_blocks, ...]`."""
    return x.reshape(num_blocks, -1, *x.shape[1:])
