"""Cross-correlation of two views: the loss of Barlow Twins and Pix2Rep-v2."""

import jax
import jax.numpy as jnp

from pix2rep_jax.losses.rows import dot, mean_over, prepare
from pix2rep_jax.runtime.config_checks import between

__all__ = ["OFF_DIAGONAL_WEIGHT", "cross_correlation"]

OFF_DIAGONAL_WEIGHT = between(0, 10, "1 / dimensions makes both terms alike")
"""The check of λ."""


def cross_correlation(
    u: jax.Array,
    v: jax.Array,
    *,
    off_diagonal_weight: float,
    valid: jax.Array | None = None,
) -> jax.Array:
    """Pulls the cross-correlation of the two views' dimensions to the identity.

    Each dimension is standardised over the valid rows by its mean and its biased
    variance. The variance gets 1e-8 added, so a constant dimension has correlation 0.

    Args:
        u: `[N, d]` embeddings of one view.
        v: `[N, d]` embeddings of the same points in the other view.
        off_diagonal_weight: λ, the weight of the correlations between dimensions.
        valid: `[N]` bool, the pairs that take part; all of them by default.

    Returns:
        A scalar: sum_i (1 - C_ii)² + λ sum_{i != j} C_ij².

    Example:
        Equal views whose dimensions do not correlate are the optimum:

        >>> import jax.numpy as jnp
        >>> u = jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> print(round(float(cross_correlation(u, u, off_diagonal_weight=0.005)), 4))
        0.0
        >>> print(round(float(cross_correlation(u, -u, off_diagonal_weight=0.005)), 4))
        8.0

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
    on_diagonal = jnp.eye(len(correlation), dtype=bool)
    terms = jnp.where(
        on_diagonal, (1 - correlation) ** 2, off_diagonal_weight * correlation**2
    )
    return jnp.where(valid.any(), terms.sum(), 0)
