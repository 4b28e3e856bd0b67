"""The U-Net's encoder with a head: one embedding per image instead of per pixel."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from pix2rep_jax.models.heads import MLP
from pix2rep_jax.models.unet import UNet

__all__ = ["ImageEmbedder", "embed_image", "embed_views", "encoder_parts"]


class ImageEmbedder(nn.Module):
    """Embeds an image by the backbone's encoder and a projection head.

    Attributes:
        backbone: f of the paper. Its decoder has parameters, but `embed` skips it.
        projection: Maps the result of `embed_image`.
        pool: Whether to average over the bottleneck's pixels, or to list them all.
    """

    backbone: UNet
    projection: MLP
    pool: bool = True

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, height, width, channels]` to `[batch, features]`.

        It runs the decoder too, so that initialisation draws the decoder's parameters.
        """
        self.backbone(image, train=train)
        return self.embed(image, train=train)

    def embed(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Does the same without running the decoder."""
        code = embed_image(self.backbone, image, train=train, pool=self.pool)
        return self.projection(code, train=train)


def embed_image(
    backbone: UNet, image: jax.Array, *, train: bool, pool: bool = True
) -> jax.Array:
    """Runs the encoder of a backbone.

    Args:
        backbone: A submodule of the calling module, so that it has its parameters.
        image: `[batch, height, width, channels]`.
        train: Whether BatchNorm uses the batch's statistics.
        pool: Whether to average over the bottleneck's pixels, or to list them all.

    Returns:
        float32 `[batch, channels]`, or `[batch, pixels x channels]`.
    """
    code = backbone(image, train=train, decoded=0).astype(jnp.float32)
    return code.mean((1, 2)) if pool else code.reshape(code.shape[0], -1)


def embed_views(
    net: nn.Module, params: Any, batch_stats: Any, views: jax.Array
) -> tuple[jax.Array, Any]:
    """Embeds images by a network's `embed`, with the batch's own statistics.

    Args:
        net: A network with a method `embed`, for example an `ImageEmbedder`.
        params: Its parameters.
        batch_stats: Its BatchNorm statistics.
        views: `[batch, height, width, channels]`.

    Returns:
        The embeddings, and the updated BatchNorm statistics.
    """
    embeddings, updated = net.apply(
        {"params": params, "batch_stats": batch_stats},
        views,
        train=True,
        method="embed",
        mutable=["batch_stats"],
    )
    return embeddings, updated["batch_stats"]


def encoder_parts(config: ConfigDict) -> tuple[str, ...]:
    """Lists the encoder's blocks as names for `take_parts`; `model` is read."""
    levels = range(len(config.model.channels))
    return tuple(f"backbone.encode_{level}" for level in levels)
