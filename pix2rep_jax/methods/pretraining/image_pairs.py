"""The U-Net's encoder with a head on what it makes of an image as a whole."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from pix2rep_jax import losses
from pix2rep_jax.models.image_embedder import ImageEmbedder, embed_views
from pix2rep_jax.views.sampling import make_view_pairs

__all__ = ["make_pair_loss"]


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
        spatial: Options of `affine.sample_sources`, for both views.
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
