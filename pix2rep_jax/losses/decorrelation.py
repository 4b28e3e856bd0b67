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

from pix2rep_jax.losses.rows import dot, mean_over, prepare

__all__ = ["cross_correlation"]


def cross_correlation(
    u: jax.Array,
    v: jax.Array,
    *,
    off_diagonal_weight: float,
    valid: jax.Array | None = None,
) -> jax.Array:
    """Draws the cross-correlation of the two views' dimensions to the identity.

    Each dimension is standardised over the valid rows by its mean and its biased
    variance, to which 1e-8 is added: a constant dimension has correlation 0.

    Args:
        u: `[N, d]` embeddings of one view.
        v: `[N, d]` embeddings of the same points in the other view.
        off_diagonal_weight: λ, the weight of the correlations between dimensions.
        valid: `[N]` bool, the pairs that take part; all of them by default.

    Returns:
        sum_i (1 - C_ii)² + λ sum_{i != j} C_ij², a scalar.

    Reference:
        Zbontar et al., "Barlow Twins: Self-Supervised Learning via Redundancy
        Reduction", ICML 2021, Eq. 1-2; over pixels as Pix2Rep-v2 in Seince et al.,
        "Dense Self-Supervised Learning for Medical Image Segmentation", MIDL 2024.
    """
    (u, v), valid = prepare(u, v, valid=valid)

    def standardise(x):
        x = jnp.where(valid[:, None], x - mean_over(valid, x)[None, :], 0)
        return x * jax.lax.rsqrt(mean_over(valid, x * x) + 1e-8)[None, :]

    correlation = dot(standardise(u).T, standardise(v)) / jnp.maximum(valid.sum(), 1)
    on_diagonal = jnp.eye(*correlation.shape, dtype=bool)
    terms = jnp.where(
        on_diagonal, (1 - correlation) ** 2, off_diagonal_weight * correlation**2
    )
    return jnp.where(valid.any(), terms.sum(), 0)
