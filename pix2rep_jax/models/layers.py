"""The U-Net that is pretrained, and the two heads that are put on it."""

import flax.linen as nn
import jax
import jax.numpy as jnp

__all__ = ["MOMENTUM"]

MOMENTUM = 0.9
"""What BatchNorm's running averages keep in a step; PyTorch calls the rest 0.1."""


class Conv3x3(nn.Module):
    """3 x 3 convolution without bias, zeros beyond the border."""

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[batch, height, width, in]` to `[batch, height, width, features]`."""
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        return jax.lax.conv_general_dilated(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            window_strides=(1, 1),
            padding="SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )


class DoubleConv(nn.Module):
    """Twice: 3 x 3 convolution without bias, BatchNorm, ReLU."""

    hidden: int
    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, height, width, in]` to `[batch, height, width, features]`."""
        for features in (self.hidden, self.features):
            x = Conv3x3(features, self.dtype)(x)
            # Statistics are of the global batch, because the step is one program
            # over all devices.
            x = nn.BatchNorm(
                use_running_average=not train, momentum=MOMENTUM, dtype=self.dtype
            )(x)
            x = nn.relu(x)
        return x


class UpConv(nn.Module):
    """Transposed 2 x 2 convolution with stride 2: each pixel becomes four."""

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[batch, height, width, in]` to `[batch, 2 height, 2 width, features]`.

        Stride and kernel agree, so no two inputs share an output: it is a matrix
        product for the upper pixels and one for the lower, whose results are whole rows
        of the output.
        """
        batch, height, width, channels = x.shape
        shape = (2, 2, self.features)  # row, column
        # An output is of one pixel, so its fan is `channels`.
        draw = nn.initializers.lecun_normal(in_axis=0, out_axis=(1, 2, 3))
        kernel = self.param("kernel", draw, (channels, *shape))
        bias = self.param("bias", nn.initializers.zeros, shape)
        x = in_rows(x.astype(self.dtype))

        def row_of(kernel: jax.Array, bias: jax.Array) -> jax.Array:
            y = x @ kernel.reshape(channels, -1).astype(self.dtype)
            y = y + bias.reshape(1, -1).astype(self.dtype)
            return y.reshape(batch, height, 1, 2 * width, self.features)

        rows = [row_of(kernel[:, row], bias[row]) for row in (0, 1)]
        x = jnp.concatenate(rows, axis=2)
        return x.reshape(batch, 2 * height, 2 * width, self.features)


def max_pool(x: jax.Array) -> jax.Array:
    """Takes the largest of each 2 x 2 pixels: `[b, h, w, c]` to `[b, h/2, w/2, c]`.

    The gradient goes to the largest; of several that are, to the left before the right
    and the upper before the lower. A reshape and comparisons, because reduce_window's
    gradient is slow on CPU, and that of `jnp.max` divides by the number of maxima,
    which a compiler that computes the pixels twice, with other rounding, may find to
    be none.
    """
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    x = larger(x[:, :, 0], x[:, :, 1])
    return larger(x[:, :, :, 0], x[:, :, :, 1])


def larger(x: jax.Array, y: jax.Array) -> jax.Array:
    """Takes the larger of two, elementwise, NaN where either is."""
    return jnp.where((x >= y) | jnp.isnan(x), x, y)


def in_rows(x: jax.Array) -> jax.Array:
    """Maps `[..., channels]` to `[pixels, channels]`, for a product with a matrix.

    The gradient of the matrix is then a sum over one axis. Over several XLA transposes
    whole maps for it, and on a CPU adds up numbers that lie a power of two apart, at an
    eighth of the speed.
    """
    return x.reshape(-1, x.shape[-1])
