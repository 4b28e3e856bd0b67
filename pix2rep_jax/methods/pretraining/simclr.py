"""SimCLR of whole images: two views of a slice are alike, all other slices unlike."""

import functools
import math
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
    """Makes SimCLR: it trains the encoder and its head.

    Args:
        config: The whole configuration; `model`, `spatial` and `intensity` are read.
        recipe: Its `pretrain`, with what `simclr` says otherwise.

    Raises:
        InputError: If the network cannot be made.
    """
    head = MLP(hidden=tuple(recipe.hidden), features=recipe.features)
    net = ImageEmbedder(make_backbone(config), head)
    loss_fn = make_loss(
        net,
        temperature=recipe.temperature,
        spatial=config.spatial.to_dict(),
        intensity=config.intensity.to_dict(),
    )
    return Method(
        net=net,
        loss_fn=loss_fn,
        trained=(*encoder_parts(config), "projection"),
        # The positive is one of 2B - 1 equals.
        collapsed_loss=math.log(2 * recipe.batch_size - 1),
    )


def make_loss(
    net: ImageEmbedder,
    *,
    temperature: float,
    spatial: Mapping[str, Any],
    intensity: Mapping[str, Any],
):
    """Makes the NT-Xent loss of a batch.

    Args:
        net: Encoder and head.
        temperature: τ.
        spatial: Options of `affine.sample_sources`, for both views.
        intensity: Options of `intensity.random_intensity`, likewise.

    Returns:
        `loss_fn(params, batch_stats, batch, key) -> (loss, (batch_stats, metrics))`
        for batches with an "image" `[batch, height, width, 1]`.

    Reference:
        Chen et al., "A Simple Framework for Contrastive Learning of Visual
        Representations", ICML 2020, Eq. 1.
    """
    compare = functools.partial(losses.info_nce, temperature=temperature)
    return make_pair_loss(net, compare, spatial=spatial, intensity=intensity)
