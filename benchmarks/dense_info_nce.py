"""InfoNCE as its definition has it, to compare the blockwise form with."""

import jax
import jax.numpy as jnp

from pix2rep_jax.losses.rows import dot, mean_over, normalise, prepare

__all__ = ["dense_info_nce"]


def dense_info_nce(
    u: jax.Array,
    v: jax.Array,
    *,
    temperature: float | jax.Array,
    valid: jax.Array | None = None,
) -> jax.Array:
    """Computes `losses.info_nce` with the whole 2N x 2N matrix in memory.

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
    # An invalid row keeps itself in its sum, so that no sum is empty.
    others = others | (jnp.eye(len(z), dtype=bool) & ~valid[:, None])
    log_sums = jax.nn.logsumexp(similarity, axis=1, where=others)
    positives = jnp.diagonal(jnp.roll(similarity, len(u), axis=1))
    return mean_over(valid, log_sums - positives)
