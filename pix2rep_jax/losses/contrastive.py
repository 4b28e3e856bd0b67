"""Losses of the pretraining and of the segmentation, and what to watch beside them.

Losses over pairs take the two views' embeddings as `u, v` `[N, d]`, row i of one
being the same anatomical point as row i of the other, and an optional mask `valid`
`[N]`: rows where it is False take no part and get a gradient of exactly zero, even
if they hold NaN. Everything is computed in float32 whatever the input is, with an
accelerator's products of matrices as `rows.dot` says, and without any valid row
every function returns 0.
"""

import jax
import jax.numpy as jnp

from pix2rep_jax.losses.blockwise_logsumexp import count_blocks, mean_log_sum
from pix2rep_jax.losses.rows import dot, mean_over, normalise, prepare

__all__ = ["info_nce", "info_nce_dense"]


def info_nce(
    u: jax.Array,
    v: jax.Array,
    *,
    temperature: float | jax.Array,
    valid: jax.Array | None = None,
    block_size: int | None = None,
) -> jax.Array:
    """Contrasts every embedding's partner with all other embeddings of both views.

    The 2N x 2N matrix of cosine similarities is never stored: blocks of its upper
    triangle are computed one after the other, and again for the gradient, so that
    memory grows linearly with N. Compiled under `jax.set_mesh`, each device computes an
    equal share of the blocks; one sum a pass puts them together. A row shorter than
    1e-8 has similarity 0 to all others, and no gradient. Cosines are at most 1, which
    takes the place of a running maximum; in float32 that holds for temperatures from
    0.03 up.

    Args:
        u: `[N, d]` embeddings of one view.
        v: `[N, d]` embeddings of the same points in the other view.
        temperature: τ; the loss is differentiable in it too.
        valid: `[N]` bool, the pairs that take part; all of them by default.
        block_size: Rows of a block at most. By default 4096; on a CPU 1000, but a third
            of the rows where these are 1000 to 4096 on one device.

    Returns:
        The mean of l over all 2N embeddings of valid pairs, a scalar.

    Reference:
        Seince et al., "Dense Self-Supervised Learning for Medical Image
        Segmentation", MIDL 2024, Eq. 1-2; after Chen et al., "A Simple Framework
        for Contrastive Learning of Visual Representations", ICML 2020.
    """
    (u, v), valid = prepare(u, v, valid=valid)
    u, v = normalise(u), normalise(v)
    count = 2 * u.shape[0]
    num_blocks = count_blocks(count, block_size)
    # Padding is one more kind of row that takes no part.
    padding = -count % num_blocks
    z = jnp.pad(jnp.concatenate([u, v]), ((0, padding), (0, 0)))
    keep = jnp.pad(jnp.concatenate([valid, valid]), (0, padding))
    temperature = jnp.asarray(temperature, z.dtype)
    log_sums = mean_log_sum(num_blocks, z, keep.astype(z.dtype), temperature)
    return log_sums - mean_over(valid, (u * v).sum(-1)) / temperature


def info_nce_dense(
    u: jax.Array,
    v: jax.Array,
    *,
    temperature: float | jax.Array,
    valid: jax.Array | None = None,
) -> jax.Array:
    """Computes `info_nce` by its definition, with the whole matrix in memory.

    Args:
        u: `[N, d]` embeddings of one view.
        v: `[N, d]` embeddings of the same points in the other view.
        temperature: τ.
        valid: `[N]` bool, the pairs that take part; all of them by default.

    Returns:
        A scalar.

    Reference:
        Seince et al., "Dense Self-Supervised Learning for Medical Image
        Segmentation", MIDL 2024, Eq. 1-2.
    """
    (u, v), valid = prepare(u, v, valid=valid)
    z = jnp.concatenate([normalise(u), normalise(v)])
    similarity = dot(z, z.T) / temperature
    valid = jnp.concatenate([valid, valid])
    others = valid[None, :] & ~jnp.eye(len(z), dtype=bool)
    # Rows that take no part get themselves, so that no sum is empty.
    others = others | (jnp.eye(len(z), dtype=bool) & ~valid[:, None])
    log_sums = jax.nn.logsumexp(similarity, axis=1, where=others)
    positives = jnp.diagonal(jnp.roll(similarity, len(u), axis=1))
    return mean_over(valid, log_sums - positives)
