"""InfoNCE over sampled points or all pixels: Eq. 1-2 of the paper."""

import jax
import jax.numpy as jnp

from pix2rep_jax.losses.blockwise_logsumexp import count_blocks, mean_log_sum
from pix2rep_jax.losses.rows import mean_over, normalise, prepare
from pix2rep_jax.runtime.config_checks import between

__all__ = ["TEMPERATURE", "info_nce"]

TEMPERATURE = between(
    0.01, 100, "of cosine similarities; CLIP's is the smallest in use, 0.01"
)
"""The check of a temperature."""


def info_nce(
    u: jax.Array,
    v: jax.Array,
    *,
    temperature: float | jax.Array,
    valid: jax.Array | None = None,
    block_size: int | None = None,
) -> jax.Array:
    """Contrasts every embedding's partner with all other embeddings of both views.

    The 2N x 2N matrix of cosine similarities is never stored. Blocks of its upper
    triangle are computed one after the other, and once more for the gradient. Memory
    therefore grows linearly with N. Under `jax.set_mesh` each device computes an equal
    share of the blocks, and one sum per pass puts them together.

    A row shorter than 1e-8 has similarity 0 to all others, and no gradient. The softmax
    needs no running maximum, because a cosine is at most 1. In float32 that is safe for
    temperatures from 0.03 up.

    Args:
        u: `[N, d]` embeddings of one view.
        v: `[N, d]` embeddings of the same points in the other view.
        temperature: τ; the loss is differentiable in it too.
        valid: `[N]` bool, the pairs that take part; all of them by default.
        block_size: Largest number of rows in a block. The default is 4096, and 1000 on
            a CPU. One CPU device that compares 1000 to 4096 rows takes three blocks.

    Returns:
        A scalar: the mean of the paper's l over the 2N embeddings of valid pairs.

    Example:
        Two pairs in opposite directions, each a perfect match:

        >>> import jax.numpy as jnp
        >>> u = jnp.array([[1.0, 0.0], [-1.0, 0.0]])
        >>> print(round(float(info_nce(u, u, temperature=1.0)), 4))
        0.2395

    Reference:
        Seince et al., "Dense Self-Supervised Learning for Medical Image
        Segmentation", MIDL 2024, Eq. 1-2; after Chen et al., "A Simple Framework
        for Contrastive Learning of Visual Representations", ICML 2020.
    """
    (u, v), valid = prepare(u, v, valid=valid)
    u, v = normalise(u), normalise(v)
    count = 2 * u.shape[0]
    num_blocks = count_blocks(count, block_size)
    # Rows of padding take no part, like invalid ones.
    padding = -count % num_blocks
    z = jnp.pad(jnp.concatenate([u, v]), ((0, padding), (0, 0)))
    keep = jnp.pad(jnp.concatenate([valid, valid]), (0, padding))
    temperature = jnp.asarray(temperature, z.dtype)
    log_sums = mean_log_sum(num_blocks, z, keep.astype(z.dtype), temperature)
    return log_sums - mean_over(valid, (u * v).sum(-1)) / temperature
