"""Probing: a segmentation head on the frozen backbone."""

from collections.abc import Mapping
from typing import Any

import jax

from pix2rep_jax import losses
from pix2rep_jax.models.segmentation_net import SegmentationNet
from pix2rep_jax.training.state import LossFn, ModelState
from pix2rep_jax.views.patches import PatchOptions, augment_patches, draw_patches
from pix2rep_jax.views.sampling import augment

__all__ = ["make_loss"]


def make_loss(
    net: SegmentationNet,
    *,
    cross_entropy_weight: float,
    dice_weight: float,
    include_background: bool,
    intensity: Mapping[str, Any] | None = None,
    patch: PatchOptions | None = None,
) -> LossFn:
    """Makes the loss of the head on a frozen backbone. Its BatchNorm is frozen too.

    Args:
        net: Backbone and head.
        cross_entropy_weight: Weight of the cross-entropy.
        dice_weight: Weight of the soft Dice loss.
        include_background: Whether background counts in the soft Dice loss.
        intensity: Options of `intensity.random_intensity`, by which images are changed
            in each step; None changes nothing.
        patch: How patches of whole slices are drawn; None if the images are crops.

    Returns:
        The loss of batches with "label" `[batch, height, width]`, and with either
        "features" `[batch, height, width, num_features]` or "image"
        `[batch, height, width, channels]`. Features are computed once, before the run;
        those of an image are computed in each step. With `patch` there is always an
        image, and its "box" `[batch, 4]`.
    """

    def draw(batch, key: jax.Array):
        """Draws patches, and changes them if the recipe says so."""
        assert patch is not None
        if intensity is None:
            cut = draw_patches(key, batch, options=patch)
            return cut["image"], cut["label"]
        return augment_patches(
            key, batch, options=patch, spatial=None, intensity=intensity
        )

    def loss_fn(params, model_state: ModelState, batch, key: jax.Array):
        variables = {"params": params, "batch_stats": model_state.batch_stats}
        label = batch["label"]
        if "features" in batch:
            features = batch["features"]
        else:
            image = batch["image"]
            if patch is not None:
                image, label = draw(batch, key)
            elif intensity is not None:
                image, _ = augment(key, image, label, spatial=None, intensity=intensity)
            features = net.apply(variables, image, method="features")
        logits: Any = net.apply(variables, features, method="classify")
        value = losses.segmentation_loss(
            logits,
            label,
            cross_entropy_weight=cross_entropy_weight,
            dice_weight=dice_weight,
            include_background=include_background,
        )
        return value, (model_state, {})

    return loss_fn
