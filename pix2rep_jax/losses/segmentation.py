"""Cross-entropy and soft Dice over the labelled pixels of a batch."""

import jax
import jax.numpy as jnp

from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.losses.rows import mean_over
from pix2rep_jax.runtime.config_checks import anything, not_below_zero

__all__ = ["cross_entropy", "segmentation_loss", "soft_dice"]


SETTINGS = {
    "cross_entropy_weight": not_below_zero,
    "dice_weight": not_below_zero,
    "include_background": anything,
}
"""The configuration's section `segmentation`."""


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Averages the cross-entropy over the labelled pixels.

    Args:
        logits: `[..., num_classes]`.
        labels: `[...]` int; 255 (`UNLABELLED`) marks a pixel without a label.

    Returns:
        A scalar in nats.
    """
    labelled = labels != UNLABELLED
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    # Not `take_along_axis`: its gradient is a scatter, which runs on one core.
    one_hot = jax.nn.one_hot(labels, logits.shape[-1])
    picked = jnp.where(one_hot > 0, log_probabilities, 0.0).sum(-1)
    return mean_over(labelled.reshape(-1), -picked.reshape(-1))


def soft_dice(
    logits: jax.Array, labels: jax.Array, *, include_background: bool = True
) -> jax.Array:
    """Returns one minus the soft Dice score of the batch as a whole.

    Args:
        logits: `[batch, height, width, num_classes]`.
        labels: `[batch, height, width]` int; 255 marks a pixel without a label.
        include_background: Whether class 0 counts.

    Returns:
        A scalar: 1 - mean over classes of (2 Σ p y + ε) / (Σ p + Σ y + ε). The sums run
        over all labelled pixels of the batch, and ε is 1e-5. A class that is absent
        from the batch adds almost 1 / num_classes, even if little of it is predicted.
        It adds next to nothing to the gradient.

    Reference:
        Milletari et al., "V-Net: Fully Convolutional Neural Networks for Volumetric
        Medical Image Segmentation", 3DV 2016. Their denominator has p², this one p.
    """
    labelled = (labels != UNLABELLED)[..., None]
    p = jnp.where(labelled, jax.nn.softmax(logits.astype(jnp.float32)), 0)
    y = jnp.where(labelled, jax.nn.one_hot(labels, logits.shape[-1]), 0)
    pixels = tuple(range(labels.ndim))
    sums = p.sum(pixels) + y.sum(pixels)
    dice = (2 * (p * y).sum(pixels) + 1e-5) / (sums + 1e-5)
    return 1 - (dice if include_background else dice[1:]).mean()


def segmentation_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    cross_entropy_weight: float,
    dice_weight: float,
    include_background: bool,
) -> jax.Array:
    """Adds `cross_entropy` and `soft_dice`, each with its weight.

    Args:
        logits: `[batch, height, width, num_classes]`.
        labels: `[batch, height, width]` int; 255 marks a pixel without a label.
        cross_entropy_weight: Weight of the cross-entropy.
        dice_weight: Weight of the soft Dice loss.
        include_background: Whether class 0 counts in the soft Dice loss.

    Returns:
        A scalar.
    """
    dice = soft_dice(logits, labels, include_background=include_background)
    return cross_entropy_weight * cross_entropy(logits, labels) + dice_weight * dice
