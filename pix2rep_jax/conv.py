"""A 3 x 3 convolution whose weight gradient is fast on CPU too."""

import jax
import jax.numpy as jnp

__all__ = ["conv3x3"]

# XLA's CPU convolution takes 4-7 times as long for the weight gradient once there
# are more output channels than this (benchmarks/conv.py).
_CPU_CHUNK = 16


def _plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _kernel_gradient(x: jax.Array, grads: jax.Array, channels: int) -> jax.Array:
    """Gradient for the kernel of `_plain`, given the output's gradient."""
    zeros = jnp.zeros((3, 3, x.shape[-1], channels), x.dtype)
    _, pullback = jax.vjp(lambda kernel: _plain(x, kernel), zeros)
    return pullback(grads)[0]


def _kernel_gradient_chunked(x: jax.Array, grads: jax.Array) -> jax.Array:
    """The same, a few output channels at a time: each is a problem of its own."""
    starts = range(0, grads.shape[-1], _CPU_CHUNK)
    chunks = [grads[..., i : i + _CPU_CHUNK] for i in starts]
    return jnp.concatenate([_kernel_gradient(x, c, c.shape[-1]) for c in chunks], -1)


@jax.custom_vjp
def conv3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves with a 3 x 3 kernel, stride 1, zeros beyond the border.

    Args:
        x: `[batch, height, width, in]`.
        kernel: `[3, 3, in, out]`, of the same dtype.

    Returns:
        `[batch, height, width, out]`. Differentiable once, in reverse.
    """
    return _plain(x, kernel)


def _forward(x: jax.Array, kernel: jax.Array):
    return _plain(x, kernel), (x, kernel)


def _backward(residuals, grads: jax.Array):
    x, kernel = residuals
    _, pullback = jax.vjp(lambda x: _plain(x, kernel), x)
    kernel_gradient = jax.lax.platform_dependent(
        x,
        grads,
        cpu=_kernel_gradient_chunked,
        default=lambda x, grads: _kernel_gradient(x, grads, grads.shape[-1]),
    )
    return pullback(grads)[0], kernel_gradient


conv3x3.defvjp(_forward, _backward)
