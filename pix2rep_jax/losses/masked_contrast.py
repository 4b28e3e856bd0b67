"""A contrastive loss whose positive and negative pairs the caller chooses."""

import jax
import jax.numpy as jnp
import numpy as np

from pix2rep_jax.losses.rows import dot, normalise

__all__ = ["contrast"]


def contrast(
    z: jax.Array, *, positive: np.ndarray, negative: np.ndarray, temperature: float
) -> jax.Array:
    """Pulls each positive pair together, against the negatives of its first row.

    Args:
        z: `[rows, d]` embeddings, compared by their cosine.
        positive: `[rows, rows]` bool, the pairs that should be alike.
        negative: `[rows, rows]` bool, the pairs that should differ, at least one per
            row. A pair in neither mask takes no part.
        temperature: τ.

    Returns:
        A scalar: the mean over all positive pairs (i, k) of
        -log(e_ik / (e_ik + sum_j e_ij)), where j runs over the negatives of i and
        e_ik = exp(cosine / τ).

    Reference:
        Chaitanya et al., "Contrastive Learning of Global and Local Features for
        Medical Image Segmentation with Limited Annotations", NeurIPS 2020, Eq. 1-3.
    """
    z = normalise(z.astype(jnp.float32))
    similarity = dot(z, z.T) / temperature
    negatives = jax.nn.logsumexp(similarity, axis=1, keepdims=True, where=negative)
    terms = jnp.logaddexp(similarity, negatives) - similarity
    return jnp.where(positive, terms, 0).sum() / positive.sum()
