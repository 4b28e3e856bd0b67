"""Losses of the pretraining and of the segmentation, and what to watch beside them.

Losses over pairs take the two views' embeddings as `u, v` `[N, d]`, row i of one
being the same anatomical point as row i of the other, and an optional mask `valid`
`[N]`: rows where it is False take no part and get a gradient of exactly zero, even
if they hold NaN. Everything is computed in float32 whatever the input is, with an
accelerator's products of matrices as `rows.dot` says, and without any valid row
every function returns 0.
"""

import jax
import jax.numpy as jnp

from pix2rep_jax.losses.rows import mean_over

__all__ = ["cross_entropy", "segmentation_loss", "soft_dice"]


# The label of a pixel without a mask.
IGNORED = 255


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Averages the cross-entropy over the labelled pixels.

    Args:
        logits: `[..., num_classes]`.
        labels: `[...]` int; 255 marks a pixel without a label.

    Returns:
        A scalar in nats.
    """
    labelled = labels != IGNORED
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    picked = jnp.take_along_axis(
        log_probabilities, jnp.where(labelled, labels, 0)[..., None], axis=-1
    )
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
        1 - mean over classes of (2 Σ p y + ε) / (Σ p + Σ y + ε) with ε = 1e-5 and
        sums over all labelled pixels of the batch, a scalar. A class that the batch
        does not have adds nearly 1 / num_classes to it, however little of it is
        predicted, and next to nothing to its gradient.

    Reference:
        Milletari et al., "V-Net: Fully Convolutional Neural Networks for Volumetric
        Medical Image Segmentation", 3DV 2016, with p rather than p² below.
    """
    labelled = (labels != IGNORED)[..., None]
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
