"""The U-Net that is pretrained, and the two heads that are put on it."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

__all__ = ["MOMENTUM", "ProjectionHead", "SegmentationHead", "UNet"]

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


class UNet(nn.Module):
    """Maps an image to a feature vector a pixel: f of the paper.

    An encoding block at every resolution, max pooling between them, transposed
    convolutions and skip connections on the way back.

    Attributes:
        channels: Feature maps a resolution, finest first, of two at least. The
            image's sides must be divisible by `2 ** (len(channels) - 1)`.
        num_features: Feature maps of the last layer, n_ft of the paper.
        last_hidden: Feature maps between the last block's two convolutions;
            `num_features` when None, as in the released code.
        dtype: Of the computation; parameters stay float32.

    Reference:
        Seince et al., "Dense Self-Supervised Learning for Medical Image
        Segmentation", MIDL 2024, section 4, "Backbone and implementation details";
        O. Ronneberger, P. Fischer, T. Brox, "U-Net: Convolutional Networks for
        Biomedical Image Segmentation", MICCAI 2015.
    """

    channels: Sequence[int]
    num_features: int
    last_hidden: int | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, image: jax.Array, *, train: bool, decoded: int | None = None
    ) -> jax.Array:
        """Computes the features of a batch of images.

        Args:
            image: `[batch, height, width, channels]`.
            train: Whether BatchNorm uses (and updates) the batch's statistics.
            decoded: Decoding blocks to run, coarsest first; all of them when None,
                and with 0 the encoder alone.

        Returns:
            `[batch, height, width, num_features]`, dtype as `dtype`; after fewer
            blocks the last one's map, of its own resolution and width.

        Raises:
            ValueError: If there is one level only, or a side cannot be halved as
                often as the depth asks.
        """
        halvings = len(self.channels) - 1
        if halvings < 1:
            raise ValueError("a U-Net has two levels at least (model.channels)")
        if any(side % 2**halvings for side in image.shape[1:3]):
            raise ValueError(
                f"an image of {image.shape[1]} x {image.shape[2]} px cannot be halved "
                f"{halvings} times: make both sides multiples of {2**halvings}, or "
                "give the network fewer levels (model.channels)"
            )
        x = image.astype(self.dtype)
        skips = []
        for level, features in enumerate(self.channels):
            x = max_pool(x) if level else x
            x = DoubleConv(features, features, self.dtype, name=f"encode_{level}")(
                x, train=train
            )
            skips.append(x)
        skips.pop()
        decoded = halvings if decoded is None else decoded
        for level in reversed(range(halvings - decoded, halvings)):
            features = self.channels[level]
            up = UpConv(features, self.dtype, name=f"up_{level}")(x)
            x = jnp.concatenate([skips.pop(), up], axis=-1)
            hidden = features
            if level == 0:
                features = self.num_features
                hidden = self.last_hidden or features
            x = DoubleConv(hidden, features, self.dtype, name=f"decode_{level}")(
                x, train=train
            )
        return x


class ProjectionHead(nn.Module):
    """Maps features to the space of the contrastive loss: g of the paper.

    An MLP that acts on each pixel alone (1 x 1 convolutions), with ReLU after every
    hidden layer.

    Attributes:
        hidden: Width of each hidden layer; one in the paper.
        features: Width of the embedding, d of the paper.
        dtype: Of the computation.
    """

    hidden: Sequence[int]
    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[..., in]` to `[..., features]`."""
        shape, x = x.shape, in_rows(x)
        for width in self.hidden:
            x = nn.relu(nn.Dense(width, dtype=self.dtype)(x))
        x = nn.Dense(self.features, dtype=self.dtype)(x)
        return x.reshape(*shape[:-1], self.features)


class SegmentationHead(nn.Module):
    """Maps features to class logits: a 1 x 1 convolution; softmax is the loss's.

    Attributes:
        num_classes: Classes, background included.
    """

    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[..., in]` to float32 `[..., num_classes]`."""
        logits = nn.Dense(self.num_classes, dtype=jnp.float32)(in_rows(x))
        return logits.reshape(*x.shape[:-1], self.num_classes)


def in_rows(x: jax.Array) -> jax.Array:
    """Maps `[..., channels]` to `[pixels, channels]`, for a product with a matrix.

    The gradient of the matrix is then a sum over one axis. Over several XLA transposes
    whole maps for it, and on a CPU adds up numbers that lie a power of two apart, at an
    eighth of the speed.
    """
    return x.reshape(-1, x.shape[-1])
