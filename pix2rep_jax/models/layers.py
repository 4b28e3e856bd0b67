"""The layers of the U-Net, in the forms that were measured fastest on a CPU."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from pix2rep_jax.models.norm_relu import BatchNorm

__all__ = [
    "DoubleConv",
    "Patches",
    "UpConv",
    "in_rows",
    "max_pool",
    "take_patches",
]


class Patches(NamedTuple):
    """Square parts of a map, from which a 3 x 3 convolution computes a few pixels.

    Attributes:
        maps: `[batch, points, side, side, channels]`. A part gives `side - 2` rows and
            columns.
        valid: `[batch, points, side - 2, side - 2]` bool, the pixels that count in the
            batch's statistics.
    """

    maps: jax.Array
    valid: jax.Array


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
        self,
        x: jax.Array,
        *,
        train: bool,
        valid: jax.Array | None = None,
        views: int = 1,
        read: Callable[[jax.Array], Sequence[Patches]] | None = None,
    ) -> Any:
        """Maps `[batch, height, width, in]` to `[batch, height, width, features]`.

        Args:
            x: The map.
            train: Whether BatchNorm uses (and updates) the batch's statistics.
            valid: `[batch, height, width, 1]`. Where it is false, a pixel does not
                count in the batch's statistics.
            views: As for `BatchNorm`; 1 with `read`.
            read: Takes the patches out of the map between the two convolutions at which
                the second one is computed. None means that it is computed everywhere.

        Returns:
            The map. With `read` it is a list of `[batch, points, side - 2, side - 2,
            features]`, one array for each of the patches.
        """
        patches: Sequence[Patches] = ()
        for index, features in enumerate((self.hidden, self.features)):
            if index and read is not None:
                patches = read(x)
                x, valid = windows_of(patches)
            x = nn.Conv(
                features,
                (3, 3),
                use_bias=False,
                dtype=self.dtype,
                kernel_init=nn.initializers.he_normal(),
                # The kernel has the same shape and name in both cases.
                conv_general_dilated=multiply_windows if patches else None,
            )(x)
            # The statistics are those of the global batch, because the step is one
            # program over all devices.
            x = BatchNorm(self.dtype)(x, train=train, valid=valid, views=views)
        if not patches:
            return x
        ends = np.cumsum([each.valid[0].size for each in patches])[:-1]
        parts = zip(jnp.split(x, ends, axis=1), patches, strict=True)
        return [part.reshape(*each.valid.shape, -1) for part, each in parts]


def take_patches(maps: jax.Array, corners: jax.Array, *, side: int) -> jax.Array:
    """Takes squares out of maps, which are zero outside.

    Args:
        maps: `[batch, height, width, channels]`.
        corners: `[batch, points, 2]` int32, the row and column where each square
            begins. Both lie between `-side` and the map's side.
        side: Side of the squares, px.

    Returns:
        `[batch, points, side, side, channels]`.
    """
    around = (side, side)
    padded = jnp.pad(maps, ((0, 0), around, around, (0, 0)))
    width, channels = padded.shape[2:]
    steps = np.arange(side)[:, None] * width + np.arange(side)

    # Image by image, so that several devices need not exchange their maps.
    def take(image: jax.Array, corner: jax.Array) -> jax.Array:
        first = (corner[:, 0] + side) * width + corner[:, 1] + side
        return image.reshape(-1, channels)[first[:, None, None] + steps[None]]

    return jax.vmap(take)(padded, corners)


def windows_of(patches: Sequence[Patches]) -> tuple[jax.Array, jax.Array]:
    """Lists the 3 x 3 windows of patches.

    Returns:
        `[batch, windows, 3, 3, channels]`, and `[batch, windows, 1, 1, 1]` bool, which
        of them count.
    """
    windows, valid = [], []
    for maps, counts in patches:
        inner = maps.shape[-2] - 2
        shifted = [
            maps[..., row : row + inner, column : column + inner, :]
            for row in range(3)
            for column in range(3)
        ]
        stacked = jnp.stack(shifted, axis=-2)
        windows.append(stacked.reshape(len(maps), -1, 3, 3, maps.shape[-1]))
        valid.append(counts.reshape(len(maps), -1, 1, 1, 1))
    return jnp.concatenate(windows, axis=1), jnp.concatenate(valid, axis=1)


def multiply_windows(windows: jax.Array, kernel: jax.Array, *_: Any, **__: Any):
    """Convolves windows of the kernel's size: one product of two matrices."""
    rows = windows.reshape(len(windows), -1)
    return (rows @ kernel.reshape(-1, kernel.shape[-1]))[:, None, None]


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
