"""The layers of the U-Net, in the forms that were measured fastest on a CPU."""

import flax.linen as nn
import jax
import jax.numpy as jnp

__all__ = ["MOMENTUM", "DoubleConv", "UpConv", "in_rows", "max_pool"]

MOMENTUM = 0.9
"""Share that BatchNorm's running averages keep per step (`momentum=0.1` in PyTorch)."""


class DoubleConv(nn.Module):
    """Applies a 3 x 3 convolution without bias, BatchNorm and ReLU, twice.

    Attributes:
        hidden: Feature maps after the first convolution.
        features: Feature maps after the second one.
        dtype: Type of the computation; parameters stay float32.
    """

    hidden: int
    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, valid: jax.Array | None = None
    ) -> jax.Array:
        """Maps `[batch, height, width, in]` to `[batch, height, width, features]`.

        Where `valid` `[batch, height, width, 1]` is false, a pixel does not count in
        the batch's statistics.
        """
        for features in (self.hidden, self.features):
            x = nn.Conv(
                features,
                (3, 3),
                use_bias=False,
                dtype=self.dtype,
                kernel_init=nn.initializers.he_normal(),
            )(x)
            # The statistics are those of the global batch, because the step is one
            # program over all devices.
            x = nn.BatchNorm(
                use_running_average=not train, momentum=MOMENTUM, dtype=self.dtype
            )(x, mask=valid)
            x = nn.relu(x)
        return x


class UpConv(nn.Module):
    """Applies a transposed 2 x 2 convolution with stride 2: each pixel becomes four.

    Attributes:
        features: Feature maps of the output.
        dtype: Type of the computation; parameters stay float32.
    """

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[batch, height, width, in]` to `[batch, 2 height, 2 width, features]`.

        The stride is as long as the kernel, so no two inputs share an output. One
        matrix product gives the upper pixels, and one the lower. Each result is a whole
        row of the output. The bias has one value per feature map, not one per tap.
        """
        batch, height, width, channels = x.shape
        shape = (2, 2, self.features)  # row, column
        # An output pixel has one input pixel, so its fan-in is `channels`.
        draw = nn.initializers.lecun_normal(in_axis=0, out_axis=(1, 2, 3))
        kernel = self.param("kernel", draw, (channels, *shape))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x = in_rows(x.astype(self.dtype))
        bias = jnp.tile(bias, 2)[None].astype(self.dtype)  # of two columns

        def row_of(kernel: jax.Array) -> jax.Array:
            y = x @ kernel.reshape(channels, -1).astype(self.dtype) + bias
            return y.reshape(batch, height, 1, 2 * width, self.features)

        rows = [row_of(kernel[:, row]) for row in (0, 1)]
        x = jnp.concatenate(rows, axis=2)
        return x.reshape(batch, 2 * height, 2 * width, self.features)


def max_pool(x: jax.Array) -> jax.Array:
    """Takes the largest of each 2 x 2 pixels: `[b, h, w, c]` to `[b, h/2, w/2, c]`.

    The gradient goes to the largest pixel. Among equal ones the left comes before the
    right, and the upper before the lower.

    It is written with comparisons for two reasons. The gradient of `reduce_window` is
    slow on a CPU. The gradient of `jnp.max` divides by the number of maxima. A compiler
    may compute the pixels a second time with other rounding, and then find no maximum.
    """
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    x = larger(x[:, :, 0], x[:, :, 1])
    return larger(x[:, :, :, 0], x[:, :, :, 1])


def larger(x: jax.Array, y: jax.Array) -> jax.Array:
    """Takes the larger of two arrays, elementwise; NaN where either is NaN."""
    return jnp.where((x >= y) | jnp.isnan(x), x, y)


def in_rows(x: jax.Array) -> jax.Array:
    """Maps `[..., channels]` to `[pixels, channels]`, for a product with a matrix.

    The gradient of the matrix is then a sum over one axis. For a sum over several axes
    XLA transposes whole maps, which on a CPU has an eighth of the speed.
    """
    return x.reshape(-1, x.shape[-1])
