"""Barlow Twins of whole images: the dimensions of two views agree, each for itself."""

import functools
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from pix2rep_jax import losses
from pix2rep_jax.methods.method import Method
from pix2rep_jax.methods.pretraining.image_pairs import make_pair_loss
from pix2rep_jax.models.build import make_backbone
from pix2rep_jax.models.heads import MLP
from pix2rep_jax.models.image_embedder import ImageEmbedder, encoder_parts

__all__ = ["make_loss", "make_method"]


def make_method(config: ConfigDict, recipe: ConfigDict) -> Method:
    """Makes Barlow Twins: it trains the encoder and its head.

    Args:
        config: The whole configuration; `model`, `spatial` and `intensity` are read.
        recipe: Its `pretrain`, with what `barlow_twins` says otherwise.

    Raises:
        InputError: If the network cannot be made.
    """
    head = MLP(hidden=tuple(recipe.hidden), features=recipe.features, batch_norm=True)
    net = ImageEmbedder(make_backbone(config), head)
    loss_fn = make_loss(
        net,
        off_diagonal_weight=recipe.off_diagonal_weight,
        spatial=config.spatial.to_dict(),
        intensity=config.intensity.to_dict(),
    )
    return Method(
        net=net, loss_fn=loss_fn, trained=(*encoder_parts(config), "projection")
    )


def make_loss(
    net: ImageEmbedder,
    *,
    off_diagonal_weight: float,
    spatial: Mapping[str, Any],
    intensity: Mapping[str, Any],
):
    """Makes the cross-correlation loss of a batch.

    Args:
        net: Encoder and head.
        off_diagonal_weight: λ, the weight of the correlations between dimensions.
        spatial: Options of `affine.sample_sources`, for both views.
        intensity: Options of `intensity.random_intensity`, likewise.

    Returns:
        `loss_fn(params, batch_stats, batch, key) -> (loss, (batch_stats, metrics))`
        for batches with an "image" `[batch, height, width, 1]`.

    Reference:
        Zbontar et al., "Barlow Twins: Self-Supervised Learning via Redundancy
        Reduction", ICML 2021, Eq. 1-2.
    """
    compare = functools.partial(
        losses.cross_correlation, off_diagonal_weight=off_diagonal_weight
    )
    return make_pair_loss(net, compare, spatial=spatial, intensity=intensity)
