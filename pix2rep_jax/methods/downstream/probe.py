"""Supervised segmentation on top of the backbone: fine-tuning and probing."""

import jax

from pix2rep_jax import losses
from pix2rep_jax.models.segmentation_net import SegmentationNet

__all__ = ["make_probe_loss"]


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
