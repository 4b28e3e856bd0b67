"""Supervised segmentation on top of the backbone: fine-tuning and probing."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from pix2rep_jax import losses
from pix2rep_jax.errors import check_choice
from pix2rep_jax.unet import SegmentationHead, UNet
from pix2rep_jax.views import augment

__all__ = ["BATCH_NORM", "SegmentationNet", "make_loss", "make_probe_loss"]

BATCH_NORM = ("train", "frozen")
"""Ways of normalising in fine-tuning."""


class SegmentationNet(nn.Module):
    """The backbone f with a segmentation head in the place of g.

    Attributes:
        backbone: f; its parameters have the names they have in pretraining.
        head: 1 x 1 convolution to class logits.
    """

    backbone: UNet
    head: SegmentationHead

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, height, width, 1]` to logits `[..., num_classes]`."""
        return self.head(self.backbone(image, train=train))

    def features(self, image: jax.Array) -> jax.Array:
        """Maps `[batch, height, width, 1]` to the frozen backbone's features."""
        return self.backbone(image, train=False)

    def classify(self, features: jax.Array) -> jax.Array:
        """Maps features `[..., num_features]` to logits: the head alone."""
        return self.head(features)


def make_loss(
    net: SegmentationNet,
    *,
    cross_entropy_weight: float,
    dice_weight: float,
    include_background: bool,
    spatial: Mapping[str, Any],
    intensity: Mapping[str, Any],
    batch_norm: str,
):
    """Makes the supervised loss of a batch, augmented by the pretraining's warp.

    Args:
        net: Backbone and head.
        cross_entropy_weight: Weight of the cross-entropy.
        dice_weight: Weight of the soft Dice loss.
        include_background: Whether background counts in the soft Dice loss.
        spatial: Options of `geometry.sample_sources`.
        intensity: Options of `intensity.random_intensity`.
        batch_norm: "train" normalises by each batch and keeps running averages;
            "frozen" normalises by the statistics the run started from.

    Returns:
        `loss_fn(params, batch_stats, batch, key) -> (loss, (batch_stats, metrics))`
        for batches with "image" `[batch, height, width, 1]` and "label"
        `[batch, height, width]`.

    Raises:
        InputError: If `batch_norm` is neither of the two.
    """
    check_choice("finetune.batch_norm", batch_norm, BATCH_NORM)

    def loss_fn(params, batch_stats, batch, key: jax.Array):
        image, label = augment(
            key, batch["image"], batch["label"], spatial=spatial, intensity=intensity
        )
        logits, updated = net.apply(
            {"params": params, "batch_stats": batch_stats},
            image,
            train=batch_norm == "train",
            mutable=["batch_stats"],
        )
        value = losses.segmentation_loss(
            logits,
            label,
            cross_entropy_weight=cross_entropy_weight,
            dice_weight=dice_weight,
            include_background=include_background,
        )
        return value, (updated["batch_stats"], {})

    return loss_fn


def make_probe_loss(
    net: SegmentationNet,
    *,
    cross_entropy_weight: float,
    dice_weight: float,
    include_background: bool,
):
    """Makes the loss of the head on a frozen backbone, its BatchNorm frozen too.

    Args:
        net: Backbone and head.
        cross_entropy_weight: Weight of the cross-entropy.
        dice_weight: Weight of the soft Dice loss.
        include_background: Whether background counts in the soft Dice loss.

    Returns:
        `loss_fn(params, batch_stats, batch, key) -> (loss, (batch_stats, metrics))`
        for batches with "label" `[batch, height, width]` and either "features"
        `[batch, height, width, num_features]`, computed once before, or "image"
        `[batch, height, width, 1]`, whose features are computed each time.
    """

    def loss_fn(params, batch_stats, batch, key: jax.Array):
        del key
        variables = {"params": params, "batch_stats": batch_stats}
        if "features" in batch:
            features = batch["features"]
        else:
            features = net.apply(variables, batch["image"], method="features")
        logits = net.apply(variables, features, method="classify")
        value = losses.segmentation_loss(
            logits,
            batch["label"],
            cross_entropy_weight=cross_entropy_weight,
            dice_weight=dice_weight,
            include_background=include_background,
        )
        return value, (batch_stats, {})

    return loss_fn
