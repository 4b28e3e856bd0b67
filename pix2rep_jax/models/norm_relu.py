"""BatchNorm and the ReLU after it, with a gradient that reads each map twice."""

import flax.linen as nn
import jax
import jax.numpy as jnp

__all__ = ["MOMENTUM", "BatchNorm"]

MOMENTUM = 0.9
"""Share that BatchNorm's running averages keep per step (`momentum=0.1` in PyTorch)."""

EPSILON = 1e-5
"""Added to the variance, as in PyTorch."""


class BatchNorm(nn.Module):
    """Normalises each feature map, and applies the ReLU.

    Parameters and statistics have the names of `flax.linen.BatchNorm`.

    Attributes:
        dtype: Type of the result; statistics are float32.
    """

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, valid: jax.Array | None = None
    ) -> jax.Array:
        """Maps `[..., features]` to the same shape.

        Args:
            x: The map.
            train: Whether to normalise by the batch's statistics, and to update the
                running averages by them. They have no gradient of their own.
            valid: `[..., 1]` bool, the pixels that the statistics are of; None for all.
        """
        shape = x.shape[-1:]
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        var = self.variable("batch_stats", "var", jnp.ones, shape)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        if not train:
            y = normalise(x.astype(jnp.float32), mean.value, var.value, scale, bias)
            return nn.relu(y.astype(self.dtype))
        y, now = normalise_by_batch(x, scale, bias, valid)
        if not self.is_initializing():
            for average, new in zip((mean, var), now, strict=True):
                average.value = MOMENTUM * average.value + (1 - MOMENTUM) * new
        return y.astype(self.dtype)


def normalise(x, mean, var, scale, bias):
    """Normalises a map by given statistics `[features]`, without the ReLU."""
    spread = lambda vector: vector.reshape((1,) * (x.ndim - 1) + (-1,))  # noqa: E731
    factor = spread(jax.lax.rsqrt(var + EPSILON) * scale)
    return (x - spread(mean)) * factor + spread(bias)


@jax.custom_vjp
def normalise_by_batch(
    x: jax.Array, scale: jax.Array, bias: jax.Array, valid: jax.Array | None
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Normalises a map by its own statistics, and applies the ReLU.

    Args:
        x: `[..., features]`.
        scale: `[features]`.
        bias: `[features]`.
        valid: `[..., 1]` bool, the pixels that the statistics are of; None for all.

    Returns:
        The map in its own dtype, and `[features]` float32 mean and variance. The
        gradient takes no part from the statistics that are returned.
    """
    return _forward(x, scale, bias, valid)[0]


def _forward(x, scale, bias, valid):
    wide = x.astype(jnp.float32)
    pixels = tuple(range(x.ndim - 1))
    mean = wide.mean(pixels, where=valid)
    # The rounding of the difference may leave less than zero.
    var = jnp.maximum(0.0, (wide * wide).mean(pixels, where=valid) - mean * mean)
    y = nn.relu(normalise(wide, mean, var, scale, bias)).astype(x.dtype)
    return (y, (mean, var)), (x, scale, bias, valid, mean, var)


def _backward(kept, cotangents):
    # Automatic differentiation goes through mean and variance apart. It takes a third
    # sum over the map, and writes maps to memory in between.
    x, scale, bias, valid, mean, var = kept
    pixels = tuple(range(x.ndim - 1))
    wide = x.astype(jnp.float32)
    active = normalise(wide, mean, var, scale, bias) > 0
    grad = jnp.where(active, cotangents[0].astype(jnp.float32), 0.0)
    bias_grad = grad.sum(pixels)
    inverse = jax.lax.rsqrt(var + EPSILON)
    # x itself, because a compiler would write x - mean to memory for this sum.
    scale_grad = ((grad * wide).sum(pixels) - mean * bias_grad) * inverse
    # What the statistics pass on to the pixels that they are of: a line in x.
    along = normalise(wide, mean, var, scale_grad, bias_grad)
    if valid is None:
        along = along / (x.size // x.shape[-1])
    else:
        count = jnp.broadcast_to(valid, (*x.shape[:-1], 1)).sum()
        along = jnp.where(valid, along / count, 0.0)
    factor = (inverse * scale).reshape((1,) * (x.ndim - 1) + (-1,))
    return ((grad - along) * factor).astype(x.dtype), scale_grad, bias_grad, None


normalise_by_batch.defvjp(_forward, _backward)
