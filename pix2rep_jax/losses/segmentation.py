"""Cross-entropy and soft Dice over the labelled pixels of a batch."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.losses.rows import mean_over
from pix2rep_jax.runtime.config_checks import anything, not_below_zero

__all__ = ["cross_entropy", "loss_options", "segmentation_loss", "soft_dice"]


SETTINGS = {
    "cross_entropy_weight": not_below_zero,
    "dice_weight": not_below_zero,
    "include_background": anything,
}
"""Of the configuration's section `segmentation`."""


def loss_options(section: Mapping[str, Any]) -> dict[str, Any]:
    """Takes the arguments of `segmentation_loss` out of the section `segmentation`."""
    return {name: section[name] for name in SETTINGS}


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Averages the cross-entropy over the labelled pixels.

    Args:
        logits: `[..., num_classes]`.
        labels: `[...]` int; 255 (`UNLABELLED`) marks a pixel without a label.

    Returns:
        A scalar in nats.
    """
    return _cross_entropy(_log_probabilities(logits), labels)


def _cross_entropy(log_p: Sequence[jax.Array], labels: jax.Array) -> jax.Array:
    # Not `take_along_axis`: its gradient is a scatter, which runs on one core.
    picked = sum(jnp.where(labels == k, each, 0.0) for k, each in enumerate(log_p))
    return mean_over((labels != UNLABELLED).reshape(-1), -jnp.ravel(picked))


def _log_probabilities(logits: jax.Array) -> list[jax.Array]:
    """Takes the logarithm of the softmax: one float32 map `[...]` for each class.

    XLA fuses what is computed on maps. Sums over the few classes of one pixel, the
    last axis, are passes of their own, and on a CPU slow ones.
    """
    maps = [logits[..., k].astype(jnp.float32) for k in range(logits.shape[-1])]
    largest = jax.lax.stop_gradient(functools.reduce(jnp.maximum, maps))
    maps = [each - largest for each in maps]
    log_sum = jnp.log(functools.reduce(jnp.add, map(jnp.exp, maps)))
    return [each - log_sum for each in maps]


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
    log_p = _log_probabilities(logits)
    return _soft_dice(log_p, labels, include_background=include_background)


def _soft_dice(
    log_p: Sequence[jax.Array], labels: jax.Array, *, include_background: bool
) -> jax.Array:
    labelled, dice = labels != UNLABELLED, []
    for k in range(0 if include_background else 1, len(log_p)):
        p = jnp.where(labelled, jnp.exp(log_p[k]), 0)
        y = labels == k
        both, sums = jnp.where(y, p, 0).sum(), p.sum() + y.sum()
        dice.append((2 * both + 1e-5) / (sums + 1e-5))
    return 1 - jnp.stack(dice).mean()


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
    log_p = _log_probabilities(logits)
    dice = _soft_dice(log_p, labels, include_background=include_background)
    return cross_entropy_weight * _cross_entropy(log_p, labels) + dice_weight * dice
