"""Masked images: draw the blocks of a slice that the network does not see."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError
from pix2rep_jax.methods.method import Method
from pix2rep_jax.models.build import make_backbone
from pix2rep_jax.models.unet import UNet
from pix2rep_jax.runtime.config_checks import above_zero, all_of, share
from pix2rep_jax.training.state import LossFn, ModelState
from pix2rep_jax.views.affine import inside, sample_sources
from pix2rep_jax.views.warp import warp_at

__all__ = [
    "MaskedNet",
    "draw_mask",
    "make_loss",
    "make_method",
    "make_samples",
    "masked_error",
]


SETTINGS = {"block": all_of(above_zero, share), "masked_fraction": share}
"""The section `mae`, besides what it overrides of `pretrain`."""


class MaskedNet(nn.Module):
    """The backbone, a value for hidden pixels, and a layer that draws intensities.

    Attributes:
        backbone: f.
    """

    backbone: UNet

    @nn.compact
    def __call__(
        self, image: jax.Array, *, train: bool, hidden: jax.Array | None = None
    ) -> jax.Array:
        """Draws an image from its visible pixels.

        Args:
            image: `[batch, height, width, channels]`.
            train: Whether BatchNorm uses (and updates) the batch's statistics.
            hidden: `[batch, height, width]` bool, the pixels that one trained value
                per channel replaces. None hides nothing.

        Returns:
            `[batch, height, width, channels]`, float32.
        """
        channels = image.shape[-1]
        token = self.param("token", nn.initializers.zeros, (channels,))
        if hidden is not None:
            token = jnp.broadcast_to(token.astype(image.dtype), image.shape)
            image = jnp.where(hidden[..., None], token, image)
        features = self.backbone(image, train=train)
        return nn.Dense(channels, dtype=jnp.float32, name="reconstruction")(features)


def make_method(config: ConfigDict, recipe: ConfigDict) -> Method:
    """Makes the method, which trains the whole backbone and its last layer.

    Args:
        config: The whole configuration; `data.size`, `model` and `spatial` are read.
        recipe: Its `pretrain`, overridden by its `mae`.

    Raises:
        InputError: If an image cannot be divided into such blocks, or if the network
            cannot be made.
    """
    blocks = round(1 / recipe.block)
    number = round(recipe.masked_fraction * blocks**2)
    if config.data.size % blocks:
        raise InputError(
            f"mae.block is {recipe.block:g} of an image, and "
            f"data.size={config.data.size} px cannot be divided into {blocks} blocks a "
            "side: set --config.mae.block to 1 divided by a divisor of "
            "--config.data.size"
        )
    if not 0 < number < blocks**2:
        raise InputError(
            f"mae.masked_fraction={recipe.masked_fraction:g} hides {number} of "
            f"{blocks**2} blocks, and some must be hidden and some seen: choose "
            "another share, or smaller blocks by --config.mae.block"
        )
    net = MaskedNet(make_backbone(config))
    loss_fn = make_loss(
        net, blocks=blocks, num_masked=number, spatial=config.spatial.to_dict()
    )
    return Method(
        net=net,
        loss_fn=loss_fn,
        trained=("backbone", "reconstruction", "token"),
        make_samples=make_samples,
    )


def make_samples(slices: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Makes every slice a sample, with the box that tells its scan from its padding."""
    return {"image": slices["image"], "box": slices["box"]}


def draw_mask(
    key: jax.Array, *, batch: int, size: int, blocks: int, num_masked: int
) -> jax.Array:
    """Draws the blocks of each image that are hidden, all equally likely.

    Args:
        key: One random key.
        batch: Number of images.
        size: Side of the images (px), a multiple of `blocks`.
        blocks: Blocks along each side.
        num_masked: Blocks that are hidden in each image.

    Returns:
        `[batch, size, size]` bool, True where a pixel is hidden.
    """
    lottery = jax.random.uniform(key, (batch, blocks**2))
    _, drawn = jax.lax.top_k(lottery, num_masked)
    mask = jax.nn.one_hot(drawn, blocks**2, dtype=jnp.int32).sum(1) > 0
    mask = mask.reshape(batch, blocks, blocks)
    return mask.repeat(size // blocks, 1).repeat(size // blocks, 2)


def masked_error(drawn: jax.Array, image: jax.Array, counts: jax.Array) -> jax.Array:
    """Computes the mean squared error of the pixels that count.

    Args:
        drawn: `[batch, height, width, channels]`, what the network draws.
        image: What it should draw, of the same shape.
        counts: `[batch, height, width]` bool.

    Returns:
        A scalar, the mean over these pixels and the channels; 0 if none counts.
    """
    error = jnp.square(drawn - image.astype(jnp.float32)).mean(-1)
    total = jnp.where(counts, error, 0.0).sum()
    return total / jnp.maximum(counts.sum(), 1)


def make_loss(
    net: MaskedNet, *, blocks: int, num_masked: int, spatial: Mapping[str, Any]
) -> LossFn:
    """Makes the squared error of hidden pixels that show a scan.

    Each image is moved by a random φ first. Its intensities are not changed, since they
    are what is drawn.

    Args:
        net: Backbone and last layer.
        blocks: Blocks along each side of an image.
        num_masked: Blocks that are hidden in each image.
        spatial: Options of `affine.sample_sources`: φ.

    Returns:
        The loss of batches with an "image" `[batch, size, size, channels]` and a "box"
        `[batch, 4]`, as `make_views` takes them.

    Reference:
        He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022. Here
        the network is a U-Net, which also sees the hidden blocks' places.
    """

    def loss_fn(params, model_state: ModelState, batch, key: jax.Array):
        move_key, mask_key = jax.random.split(key)
        image, seen = _move(move_key, batch["image"], batch["box"], spatial)
        hidden = draw_mask(
            mask_key,
            batch=len(image),
            size=image.shape[1],
            blocks=blocks,
            num_masked=num_masked,
        )
        drawn, updated = net.apply(
            {"params": params, "batch_stats": model_state.batch_stats},
            image,
            train=True,
            hidden=hidden,
            mutable=["batch_stats"],
        )
        counts = hidden & seen
        value = masked_error(drawn, image, counts)
        metrics = {"counted_fraction": counts.mean()}
        model_state = model_state._replace(batch_stats=updated["batch_stats"])
        return value, (model_state, metrics)

    return loss_fn


def _move(
    key: jax.Array, image: jax.Array, box: jax.Array, spatial: Mapping[str, Any]
) -> tuple[jax.Array, jax.Array]:
    """Moves each image by a φ of its own; says which pixels then show its scan."""
    height, width = image.shape[1:3]

    def one(key: jax.Array, image: jax.Array, box: jax.Array):
        sources = sample_sources(key, height=height, width=width, **spatial)
        return warp_at(image, sources), inside(sources, box)

    return jax.vmap(one)(jax.random.split(key, len(image)), image, box)
