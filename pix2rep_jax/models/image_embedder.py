"""The U-Net's encoder with a head on what it makes of an image as a whole."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from pix2rep_jax.models.heads import MLP
from pix2rep_jax.models.unet import UNet

__all__ = ["ImageEmbedder", "embed_image", "embed_views", "encoder_parts"]


class ImageEmbedder(nn.Module):
    """The backbone's encoder and a projection head.

    Attributes:
        backbone: f; its decoder has parameters, and takes no part.
        projection: Maps what `embed_image` takes from the encoder.
        pool: Whether that is the mean over the bottleneck's pixels, or all of them.
    """

    backbone: UNet
    projection: MLP
    pool: bool = True

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, height, width, 1]` to `[batch, features]`, f run as a whole."""
        self.backbone(image, train=train)
        return self.embed(image, train=train)

    def embed(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, height, width, 1]` to `[batch, features]`, by the encoder."""
        code = embed_image(self.backbone, image, train=train, pool=self.pool)
        return self.projection(code, train=train)


def embed_image(
    backbone: UNet, image: jax.Array, *, train: bool, pool: bool = True
) -> jax.Array:
    """Runs the encoder of a bound backbone.

    Args:
        backbone: A submodule of the module that calls.
        image: `[batch, height, width, 1]`.
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
    """Embeds images by a network's `embed`, in training.

    Args:
        net: Such as an `ImageEmbedder`.
        params: Its parameters.
        batch_stats: Its BatchNorm statistics.
        views: `[batch, height, width, 1]`.

    Returns:
        The embeddings, and the new statistics.
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
    """Names the blocks of the encoder, for `take_parts`; `model` is read."""
    levels = range(len(config.model.channels))
    return tuple(f"backbone.encode_{level}" for level in levels)
