"""Chaitanya et al. 2020: contrast slices by their place in the scan, then regions.

Two runs. The first (`chaitanya.stage` "global") trains the encoder; the second
("local") starts from it by `init.checkpoint` and trains the first decoding blocks.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax import losses
from pix2rep_jax.errors import InputError, check_choice
from pix2rep_jax.losses.contrastive import TEMPERATURE
from pix2rep_jax.losses.masked_contrast import contrast
from pix2rep_jax.losses.rows import dot
from pix2rep_jax.methods.method import Method
from pix2rep_jax.methods.pretraining import chaitanya_pairs
from pix2rep_jax.methods.pretraining.chaitanya_slices import (
    draw_slices,
    partition_volumes,
)
from pix2rep_jax.models.build import make_backbone
from pix2rep_jax.models.heads import MLP, ProjectionHead
from pix2rep_jax.models.image_embedder import ImageEmbedder, embed_views, encoder_parts
from pix2rep_jax.models.param_parts import put_parts, take_parts
from pix2rep_jax.models.unet import UNet
from pix2rep_jax.runtime.config_checks import (
    above_zero,
    all_of,
    anything,
    at_least_two,
    choice,
    whole_numbers,
)
from pix2rep_jax.training.state import LossFn, ModelState
from pix2rep_jax.views.intensity import random_intensity
from pix2rep_jax.views.sampling import make_view_pairs

__all__ = ["LocalNet", "make_global_loss", "make_local_loss", "make_method"]

STAGES = ("global", "local")

GLOBAL_LOSSES = ("GR", "GD-", "GD")

LOCAL_LOSSES = ("LR", "LD")


SETTINGS = {
    "stage": choice(*STAGES),
    "global_loss": choice(*GLOBAL_LOSSES),
    "local_loss": choice(*LOCAL_LOSSES),
    "num_partitions": at_least_two,
    "temperature": TEMPERATURE,
    "hidden": all_of(whole_numbers, above_zero),
    "features": above_zero,
    "num_blocks": anything,  # `make_method` knows how many the decoder has
    "local_features": above_zero,
    "num_negatives": anything,  # `make_method` knows how many regions there are
}
"""The section `chaitanya`, besides what it overrides of `pretrain` and the views."""


class LocalNet(nn.Module):
    """The backbone up to some decoding block, and a head on its map.

    Attributes:
        backbone: f.
        projection: Two 1 x 1 convolutions.
        num_blocks: Number of decoding blocks that run.
    """

    backbone: UNet
    projection: ProjectionHead
    num_blocks: int

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, height, width, c]` to a map of embeddings; runs all of f."""
        self.backbone(image, train=train)
        return self.embed(image, train=train)

    def embed(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, height, width, c]` to a map of embeddings, coarser than f's."""
        features = self.backbone(image, train=train, decoded=self.num_blocks)
        return self.projection(features)


def make_method(config: ConfigDict, recipe: ConfigDict) -> Method:
    """Makes the stage that `chaitanya.stage` names.

    Args:
        config: The whole configuration; `data.size` and `model` are read.
        recipe: Its `pretrain`, overridden by its `chaitanya`.

    Raises:
        InputError: If a setting has an invalid value.
    """
    for name, known in (
        ("stage", STAGES),
        ("global_loss", GLOBAL_LOSSES),
        ("local_loss", LOCAL_LOSSES),
    ):
        check_choice(f"chaitanya.{name}", recipe[name], known)
    if recipe.num_partitions < 2:
        raise InputError(
            f"chaitanya.num_partitions is {recipe.num_partitions}: set it to 2 or "
            "more, since the loss contrasts slices of different partitions"
        )
    make = _make_global if recipe.stage == "global" else _make_local
    return make(config, recipe)


def _make_global(config: ConfigDict, recipe: ConfigDict) -> Method:
    """Makes the first stage: encoder and image-level head."""
    head = MLP(hidden=tuple(recipe.hidden), features=recipe.features)
    net = ImageEmbedder(make_backbone(config), head, pool=False)
    loss_fn = make_global_loss(
        net,
        loss=recipe.global_loss,
        temperature=recipe.temperature,
        spatial=recipe.spatial.to_dict(),
        intensity=recipe.intensity.to_dict(),
    )
    _, negative = chaitanya_pairs.global_pairs(
        recipe.batch_size, recipe.num_partitions, loss=recipe.global_loss
    )
    return Method(
        net=net,
        loss_fn=loss_fn,
        trained=(*encoder_parts(config), "projection"),
        make_samples=functools.partial(
            partition_volumes, num_partitions=recipe.num_partitions
        ),
        collapsed_loss=math.log1p(negative[0].sum()),
    )


def _make_local(config: ConfigDict, recipe: ConfigDict) -> Method:
    """Makes the second stage: the first decoding blocks and a head on their map."""
    halvings = len(config.model.channels) - 1
    size = config.data.size // 2 ** max(0, halvings - recipe.num_blocks)
    if not 1 <= recipe.num_blocks <= halvings or size < chaitanya_pairs.MIN_MAP:
        raise InputError(
            f"chaitanya.num_blocks is {recipe.num_blocks}, which gives a map {size} px "
            f"wide: set it to 1 to {halvings} so that the map is "
            f"{chaitanya_pairs.MIN_MAP} px or wider"
        )
    if not 1 <= recipe.num_negatives < chaitanya_pairs.NUM_REGIONS:
        raise InputError(
            f"chaitanya.num_negatives is {recipe.num_negatives}: set it to 1 to "
            f"{chaitanya_pairs.NUM_REGIONS - 1}, the number of an image's other regions"
        )
    backbone = make_backbone(config)
    head = ProjectionHead(
        hidden=(recipe.local_features,),
        features=recipe.local_features,
        dtype=backbone.dtype,
    )
    net = LocalNet(backbone, head, num_blocks=recipe.num_blocks)
    loss_fn = make_local_loss(
        net,
        loss=recipe.local_loss,
        temperature=recipe.temperature,
        num_negatives=recipe.num_negatives,
        frozen=encoder_parts(config),
        intensity=recipe.intensity.to_dict(),
    )
    levels = range(halvings - 1, halvings - 1 - recipe.num_blocks, -1)
    blocks = [f"backbone.{kind}_{i}" for i in levels for kind in ("up", "decode")]
    return Method(
        net=net,
        loss_fn=loss_fn,
        trained=(*blocks, "projection"),
        make_samples=functools.partial(
            partition_volumes, num_partitions=recipe.num_partitions
        ),
        requires_pretrained=True,
        collapsed_loss=math.log1p(2 * recipe.num_negatives),
    )


def make_global_loss(
    net: ImageEmbedder,
    *,
    loss: str,
    temperature: float,
    spatial: Mapping[str, Any],
    intensity: Mapping[str, Any],
) -> LossFn:
    """Makes the loss that contrasts the slices of a batch of volumes.

    Args:
        net: Encoder and head.
        loss: "GR", "GD-" or "GD"; see `chaitanya_pairs.global_pairs`.
        temperature: τ.
        spatial: Options of `affine.sample_sources`, for both views.
        intensity: Options of `intensity.random_intensity`, for both views.

    Returns:
        The loss of batches of the samples that `partition_volumes` makes.

    Reference:
        Chaitanya et al., "Contrastive Learning of Global and Local Features for
        Medical Image Segmentation with Limited Annotations", NeurIPS 2020, section 3.1.
    """

    def loss_fn(params, model_state: ModelState, batch, key: jax.Array):
        slice_key, view_key = jax.random.split(key)
        images = draw_slices(slice_key, batch)
        views = make_view_pairs(view_key, images, spatial=spatial, intensity=intensity)
        z, batch_stats = embed_views(net, params, model_state.batch_stats, views)
        pairs = chaitanya_pairs.global_pairs(*batch["first"].shape, loss=loss)
        value, metrics = _compare(z, pairs, temperature)
        return value, (model_state._replace(batch_stats=batch_stats), metrics)

    return loss_fn


def make_local_loss(
    net: LocalNet,
    *,
    loss: str,
    temperature: float,
    num_negatives: int,
    frozen: tuple[str, ...],
    intensity: Mapping[str, Any],
) -> LossFn:
    """Makes the loss that contrasts regions of the decoder's maps.

    Args:
        net: The backbone up to some decoding block, and a head.
        loss: "LR" or "LD"; see `chaitanya_pairs.local_pairs`.
        temperature: τ.
        num_negatives: Number of near regions of the same image, in both views, that a
            region is contrasted with.
        frozen: Parts of the network whose BatchNorm keeps its averages.
        intensity: Options of `intensity.random_intensity`. The views are not moved, so
            equal regions show the same place. The places are fixed, as published, and
            may hold padding.

    Returns:
        The loss of batches of the samples that `partition_volumes` makes.

    Reference:
        Chaitanya et al., "Contrastive Learning of Global and Local Features for
        Medical Image Segmentation with Limited Annotations", NeurIPS 2020, section 3.2.
    """

    def loss_fn(params, model_state: ModelState, batch, key: jax.Array):
        slice_key, view_key = jax.random.split(key)
        images = draw_slices(slice_key, batch)
        views = jax.vmap(lambda key, image: random_intensity(key, image, **intensity))(
            jax.random.split(view_key, 2 * images.shape[0]),
            jnp.concatenate([images, images]),
        )
        maps, updated = embed_views(net, params, model_state.batch_stats, views)
        corners = chaitanya_pairs.region_corners(maps.shape[1])
        near = chaitanya_pairs.near_regions(corners, num_negatives)
        num_volumes, num_partitions = batch["first"].shape
        pairs = chaitanya_pairs.local_pairs(
            num_volumes, num_partitions, near, loss=loss
        )
        value, metrics = _compare(
            chaitanya_pairs.take_regions(maps, corners), pairs, temperature
        )
        kept = take_parts(model_state.batch_stats, frozen)
        batch_stats = put_parts(updated, kept)
        return value, (model_state._replace(batch_stats=batch_stats), metrics)

    return loss_fn


def _compare(z: jax.Array, pairs: tuple[np.ndarray, np.ndarray], temperature: float):
    """Computes the loss of the embeddings, and the metrics."""
    positive, negative = pairs
    value = contrast(z, positive=positive, negative=negative, temperature=temperature)
    unit = losses.normalise(z.astype(jnp.float32))
    cosine = dot(unit, unit.T)
    metrics = {
        "alignment": jnp.where(positive, cosine, 0).sum() / positive.sum(),
        "embedding_std": losses.embedding_std(z),
    }
    return value, metrics
