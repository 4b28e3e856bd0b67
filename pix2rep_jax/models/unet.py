"""The U-Net: the backbone that is pretrained."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from pix2rep_jax.models.layers import DoubleConv, Patches, UpConv, max_pool
from pix2rep_jax.wording import count

__all__ = ["UNet"]


class UNet(nn.Module):
    """Maps an image to a feature vector per pixel: f of the paper.

    There is an encoding block at every resolution, with max pooling between them.
    Transposed convolutions and skip connections lead back to full resolution.

    Attributes:
        channels: Feature maps at each resolution, finest first; at least two numbers.
            The image's sides must be divisible by `2 ** (len(channels) - 1)`.
        num_features: Feature maps of the last layer, n_ft of the paper.
        last_hidden: Feature maps between the last block's two convolutions. None means
            `num_features`, as in the released code.
        dtype: Type of the computation; parameters stay float32.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = UNet(channels=(4, 8), num_features=3)
        >>> image = jnp.zeros((1, 16, 16, 1))
        >>> variables = net.init(jax.random.key(0), image, train=False)
        >>> net.apply(variables, image, train=False).shape
        (1, 16, 16, 3)

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
        self,
        image: jax.Array,
        *,
        train: bool,
        decoded: int | None = None,
        valid: jax.Array | None = None,
        views: int = 1,
        read: Callable[[jax.Array], Sequence[Patches]] | None = None,
        perturb: Callable[[int, jax.Array], jax.Array] | None = None,
    ) -> Any:
        """Computes the features of a batch of images.

        Args:
            image: `[batch, height, width, channels]`.
            train: Whether BatchNorm uses (and updates) the batch's statistics.
            decoded: Number of decoding blocks to run, coarsest first. None runs all,
                and 0 the encoder alone.
            valid: `[batch, height, width]` bool, the pixels that BatchNorm's statistics
                of the batch are of. None means all. A coarser pixel counts if any of
                its four does.
            views: Views of each image, which are neighbours in the batch. BatchNorm
                normalises each view by its own statistics. With `read` it is 1.
            read: Takes patches out of the map `[batch, height, width, last_hidden]`
                before the last convolution, which is then computed for them alone.
            perturb: Changes what the decoder reads, from a level (0 is the finest) and
                its encoding block's map. It may change the batch too, if it does so
                alike at every level and `valid` is None.

        Returns:
            `[batch, height, width, num_features]` of type `dtype`. If fewer blocks run,
            it is the map of the last one, at its own resolution and width. With `read`
            it is a list of `[..., side - 2, side - 2, num_features]`, one for each of
            the patches.

        Raises:
            ValueError: If there is only one level, or if a side cannot be halved that
                often.
        """
        halvings = len(self.channels) - 1
        if halvings < 1:
            raise ValueError("a U-Net needs at least two levels (model.channels)")
        if any(side % 2**halvings for side in image.shape[1:3]):
            raise ValueError(
                f"an image of {image.shape[1]} x {image.shape[2]} px cannot be halved "
                f"{count(halvings, 'time')}: make both sides multiples of "
                f"{2**halvings}, or give the network fewer levels (model.channels)"
            )
        x = image.astype(self.dtype)
        mask = None if valid is None else valid[..., None]
        skips, masks = [], []
        for level, features in enumerate(self.channels):
            if level:
                x = max_pool(x)
                mask = None if mask is None else max_pool(mask)
            x = DoubleConv(features, features, self.dtype, name=f"encode_{level}")(
                x, train=train, valid=mask, views=views
            )
            skips.append(x)
            masks.append(mask)
        if perturb is not None:
            skips = [perturb(level, skip) for level, skip in enumerate(skips)]
        x = skips.pop()
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
                x,
                train=train,
                valid=masks[level],
                views=views,
                read=None if level else read,
            )
        return x
