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

__all__ = ["alignment", "dot", "embedding_std", "mean_over"]


def alignment(
    u: jax.Array, v: jax.Array, *, valid: jax.Array | None = None
) -> jax.Array:
    """Returns the mean cosine similarity of the valid pairs of `[N, d]` rows."""
    (u, v), valid = prepare(u, v, valid=valid)
    return mean_over(valid, (normalise(u) * normalise(v)).sum(-1))


def embedding_std(u: jax.Array, *, valid: jax.Array | None = None) -> jax.Array:
    """Measures how far the valid rows of `[N, d]` spread over the sphere.

    Returns:
        The standard deviation over the normalised rows, averaged over dimensions:
        1/sqrt(d) where they point everywhere alike, 0 where all have collapsed to
        one direction.
    """
    (u,), valid = prepare(u, valid=valid)
    z = normalise(u)
    centred = z - mean_over(valid, z)[None, :]
    return jnp.sqrt(mean_over(valid, centred**2)).mean()


def prepare(*arrays, valid):
    """Casts to float32 or wider, and zeroes the rows that take no part."""
    if valid is None:
        valid = jnp.ones(arrays[0].shape[0], bool)
    # Before anything else touches them: 0 * NaN would be NaN in the gradient.
    arrays = tuple(
        jnp.where(valid[:, None], x.astype(jnp.promote_types(x.dtype, jnp.float32)), 0)
        for x in arrays
    )
    return arrays, valid


def normalise(x):
    """Scales rows to length one, and those shorter than 1e-8 to zero."""
    square = (x * x).sum(-1, keepdims=True)
    is_long = square > 1e-16
    return jnp.where(is_long, x * jax.lax.rsqrt(jnp.where(is_long, square, 1)), 0)


def mean_over(valid, x):
    """Averages `[N, ...]` over the valid rows; 0 without any."""
    mask = valid.reshape(valid.shape + (1,) * (x.ndim - 1)).astype(x.dtype)
    return (mask * x).sum(0) / jnp.maximum(mask.sum(), 1)


def dot(a, b):
    """Multiplies float32 matrices, on accelerators to some five digits.

    By default a TPU would round cosines to bfloat16. Three of its passes, or TF32 on a
    GPU, take a half to a third of full float32's time (docs/performance.md).
    """
    return jnp.matmul(a, b, precision="high")
