"""The U-Net's encoder with a head on what it makes of an image as a whole."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from pix2rep_jax import losses
from pix2rep_jax.unet import MOMENTUM, UNet
from pix2rep_jax.views import make_view_pairs

__all__ = [
    "MLP",
    "ImageEmbedder",
    "embed_image",
    "embed_views",
    "encoder_parts",
    "make_pair_loss",
]


class MLP(nn.Module):
    """Dense layers in float32, ReLU after every hidden one.

    Attributes:
        hidden: Width of each hidden layer.
        features: Width of the output.
        batch_norm: Whether BatchNorm stands before each ReLU.
    """

    hidden: Sequence[int]
    features: int
    batch_norm: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, in]` to `[batch, features]`."""
        for width in self.hidden:
            x = nn.Dense(width, use_bias=not self.batch_norm)(x)
            if self.batch_norm:
                x = nn.BatchNorm(use_running_average=not train, momentum=MOMENTUM)(x)
            x = nn.relu(x)
        return nn.Dense(self.features)(x)


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


def make_pair_loss(
    net: ImageEmbedder,
    compare: Callable[[jax.Array, jax.Array], jax.Array],
    *,
    spatial: Mapping[str, Any],
    intensity: Mapping[str, Any],
):
    """Makes a loss of the two views of every image, all embedded in one batch.

    Args:
        net: Encoder and head.
        compare: Maps the embeddings `[batch, features]` of the first views and of the
            second to a scalar.
        spatial: Options of `geometry.sample_sources`, for both views.
        intensity: Options of `intensity.random_intensity`, likewise.

    Returns:
        `loss_fn(params, batch_stats, batch, key) -> (loss, (batch_stats, metrics))`
        for batches with an "image" `[batch, height, width, 1]`.
    """

    def loss_fn(params, batch_stats, batch, key: jax.Array):
        views = make_view_pairs(
            key, batch["image"], spatial=spatial, intensity=intensity
        )
        embeddings, batch_stats = embed_views(net, params, batch_stats, views)
        u, v = jnp.split(embeddings, 2)
        metrics = {
            "alignment": losses.alignment(u, v),
            "embedding_std": losses.embedding_std(v),
        }
        return compare(u, v), (batch_stats, metrics)

    return loss_fn


def encoder_parts(config: ConfigDict) -> tuple[str, ...]:
    """Names the blocks of the encoder, for `take_parts`; `model` is read."""
    levels = range(len(config.model.channels))
    return tuple(f"backbone.encode_{level}" for level in levels)
