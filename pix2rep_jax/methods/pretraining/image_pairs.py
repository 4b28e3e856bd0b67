"""What SimCLR and Barlow Twins share: a loss of two views of every image."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from pix2rep_jax import losses
from pix2rep_jax.methods.method import Method, check_pairs
from pix2rep_jax.models.build import make_backbone
from pix2rep_jax.models.heads import MLP
from pix2rep_jax.models.image_embedder import (
    ImageEmbedder,
    embed_views,
    encoder_parts,
)
from pix2rep_jax.training.state import LossFn, ModelState
from pix2rep_jax.views.sampling import make_view_pairs

__all__ = ["make_pair_loss", "make_pair_method"]

Compare = Callable[[jax.Array, jax.Array], jax.Array]
"""Maps the embeddings `[batch, features]` of both views to a scalar."""


def make_pair_method(
    config: ConfigDict,
    recipe: ConfigDict,
    compare: Compare,
    *,
    batch_norm: bool = False,
    collapsed_loss: float | None = None,
) -> Method:
    """Makes a method that trains the encoder and its head by two views of each image.

    Args:
        config: The whole configuration; `model`, `spatial` and `intensity` are read.
        recipe: Has `hidden` and `features` of the head.
        compare: The loss of the embeddings.
        batch_norm: Whether the head normalises its hidden layers by the batch.
        collapsed_loss: As in `Method`.

    Raises:
        InputError: If `model` is invalid, or a step has a single pair.
    """
    check_pairs(recipe.batch_size, f"{config.pretrain.method}.batch_size")
    head = MLP(
        hidden=tuple(recipe.hidden), features=recipe.features, batch_norm=batch_norm
    )
    net = ImageEmbedder(make_backbone(config), head)
    loss_fn = make_pair_loss(
        net,
        compare,
        spatial=config.spatial.to_dict(),
        intensity=config.intensity.to_dict(),
    )
    return Method(
        net=net,
        loss_fn=loss_fn,
        trained=(*encoder_parts(config), "projection"),
        collapsed_loss=collapsed_loss,
    )


def make_pair_loss(
    net: ImageEmbedder,
    compare: Compare,
    *,
    spatial: Mapping[str, Any],
    intensity: Mapping[str, Any],
) -> LossFn:
    """Makes a loss of two views of every image, embedded in one batch.

    Args:
        net: Encoder and head.
        compare: The loss of the embeddings.
        spatial: Options of `affine.sample_sources`, for both views.
        intensity: Options of `intensity.random_intensity`, for both views.

    Returns:
        The loss of batches with an "image" `[batch, height, width, channels]`.
    """

    def loss_fn(params, model_state: ModelState, batch, key: jax.Array):
        views = make_view_pairs(
            key, batch["image"], spatial=spatial, intensity=intensity
        )
        embeddings, batch_stats = embed_views(
            net, params, model_state.batch_stats, views
        )
        u, v = jnp.split(embeddings, 2)
        metrics = {
            "alignment": losses.alignment(u, v),
            "embedding_std": losses.embedding_std(v),
        }
        model_state = model_state._replace(batch_stats=batch_stats)
        return compare(u, v), (model_state, metrics)

    return loss_fn
