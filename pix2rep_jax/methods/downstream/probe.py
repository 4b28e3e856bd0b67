"""Probing: a segmentation head on the frozen backbone."""

from collections.abc import Mapping
from typing import Any

import jax

from pix2rep_jax import losses
from pix2rep_jax.models.segmentation_net import SegmentationNet
from pix2rep_jax.training.state import LossFn, ModelState
from pix2rep_jax.views.sampling import augment

__all__ = ["make_loss"]


def make_loss(
    net: SegmentationNet,
    *,
    cross_entropy_weight: float,
    dice_weight: float,
    include_background: bool,
    intensity: Mapping[str, Any] | None = None,
) -> LossFn:
    """Makes the loss of the head on a frozen backbone. Its BatchNorm is frozen too.

    Args:
        net: Backbone and head.
        cross_entropy_weight: Weight of the cross-entropy.
        dice_weight: Weight of the soft Dice loss.
        include_background: Whether background counts in the soft Dice loss.
        intensity: Options of `intensity.random_intensity`, by which images are changed
            in each step; None changes nothing.

    Returns:
        The loss of batches with "label" `[batch, height, width]`, and with either
        "features" `[batch, height, width, num_features]` or "image"
        `[batch, height, width, channels]`. Features are computed once, before the run;
        those of an image are computed in each step.
    """

    def loss_fn(params, model_state: ModelState, batch, key: jax.Array):
        variables = {"params": params, "batch_stats": model_state.batch_stats}
        if "features" in batch:
            features = batch["features"]
        else:
            image = batch["image"]
            if intensity is not None:
                image, _ = augment(
                    key, image, batch["label"], spatial=None, intensity=intensity
                )
            features = net.apply(variables, image, method="features")
        logits: Any = net.apply(variables, features, method="classify")
        value = losses.segmentation_loss(
            logits,
            batch["label"],
            cross_entropy_weight=cross_entropy_weight,
            dice_weight=dice_weight,
            include_background=include_background,
        )
        return value, (model_state, {})

    return loss_fn
