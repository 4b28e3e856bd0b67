"""Rows of embeddings under a mask: length one, means, products, spread.

`alignment` and `embedding_std` are logged during pretraining; they show a collapse that
the loss hides. The others are parts of the losses.
"""

import jax
import jax.numpy as jnp

__all__ = ["alignment", "dot", "embedding_std", "mean_over", "normalise", "prepare"]


def alignment(
    u: jax.Array, v: jax.Array, *, valid: jax.Array | None = None
) -> jax.Array:
    """Returns the mean cosine similarity of the valid pairs of `[N, d]` rows."""
    (u, v), valid = prepare(u, v, valid=valid)
    return mean_over(valid, (normalise(u) * normalise(v)).sum(-1))


def embedding_std(u: jax.Array, *, valid: jax.Array | None = None) -> jax.Array:
    """Measures how far the valid rows of `[N, d]` spread over the sphere.

    Returns:
        The standard deviation over the normalised rows, averaged over dimensions. It
        is 1/sqrt(d) if the rows point in all directions equally often, and 0 if they
        have collapsed to one direction.
    """
    (u,), valid = prepare(u, valid=valid)
    z = normalise(u)
    centred = z - mean_over(valid, z)[None, :]
    return jnp.sqrt(mean_over(valid, centred**2)).mean()


def prepare(
    *arrays: jax.Array, valid: jax.Array | None
) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """Casts to float32 or wider, and sets the rows that take no part to zero.

    Args:
        *arrays: `[N, d]` each.
        valid: `[N]` bool; None means that all rows take part.

    Returns:
        The arrays, and the mask.
    """
    if valid is None:
        valid = jnp.ones(arrays[0].shape[0], bool)
    # This comes first, because 0 * NaN would be NaN in the gradient.
    arrays = tuple(
        jnp.where(valid[:, None], x.astype(jnp.promote_types(x.dtype, jnp.float32)), 0)
        for x in arrays
    )
    return arrays, valid


def normalise(x: jax.Array) -> jax.Array:
    """Scales rows to length one, and rows shorter than 1e-8 to zero."""
    square = (x * x).sum(-1, keepdims=True)
    is_long = square > 1e-16
    return jnp.where(is_long, x * jax.lax.rsqrt(jnp.where(is_long, square, 1)), 0)


def mean_over(valid: jax.Array, x: jax.Array) -> jax.Array:
    """Averages `[N, ...]` over the valid rows; the mean of no row is 0."""
    mask = valid.reshape(valid.shape + (1,) * (x.ndim - 1)).astype(x.dtype)
    return (mask * x).sum(0) / jnp.maximum(mask.sum(), 1)


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """Multiplies float32 matrices, on accelerators to about five digits.

    By default a TPU would round cosines to bfloat16. Three passes on a TPU, or TF32 on
    a GPU, take a half to a third of the time of full float32.
    """
    return jnp.matmul(a, b, precision="high")
