"""Pseudo-labels: a network's own confident predictions in the place of masks."""

import jax
import jax.numpy as jnp
import optax

__all__ = [
    "confident_cross_entropy",
    "confident_dice",
    "confident_loss",
    "dice_of_probabilities",
    "hard_dice",
    "make_pseudo_labels",
]


def make_pseudo_labels(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Takes the likeliest class of every pixel. No gradient passes through it.

    Args:
        logits: `[..., num_classes]`.

    Returns:
        `[...]` int32 classes, and `[...]` float32 probabilities of those classes.
    """
    logits = jax.lax.stop_gradient(logits).astype(jnp.float32)
    largest = logits.max(-1)
    total = jnp.exp(logits - largest[..., None]).sum(-1)
    return logits.argmax(-1).astype(jnp.int32), 1 / total


def confident_loss(
    logits: jax.Array,
    labels: jax.Array,
    confident: jax.Array,
    *,
    cross_entropy_share: float,
) -> jax.Array:
    """Joins `confident_cross_entropy`, with its share, and `confident_dice`."""
    loss = jnp.zeros(())
    if cross_entropy_share > 0:
        cross_entropy = confident_cross_entropy(logits, labels, confident)
        loss += cross_entropy_share * cross_entropy
    if cross_entropy_share < 1:
        loss += (1 - cross_entropy_share) * confident_dice(logits, labels, confident)
    return loss


def confident_cross_entropy(
    logits: jax.Array, labels: jax.Array, confident: jax.Array
) -> jax.Array:
    """Returns the cross-entropy of the confident pixels, over the number of all.

    Args:
        logits: `[..., num_classes]`.
        labels: `[...]` int pseudo-labels.
        confident: `[...]` bool. The other pixels count as 0, so that a batch weighs
            little where few pixels are confident.

    Reference:
        Sohn et al., "FixMatch: Simplifying Semi-Supervised Learning with Consistency
        and Confidence", NeurIPS 2020, Eq. 4.
    """
    each = optax.softmax_cross_entropy_with_integer_labels(
        logits.astype(jnp.float32), labels
    )
    return jnp.where(confident, each, 0).mean()


def confident_dice(
    logits: jax.Array, labels: jax.Array, confident: jax.Array
) -> jax.Array:
    """Returns one minus the soft Dice score over the confident pixels of a batch.

    Args:
        logits: `[..., num_classes]`.
        labels: `[...]` int pseudo-labels.
        confident: `[...]` bool. The other pixels are in none of the sums.

    Returns:
        A scalar: 1 - mean over all classes of (2 Σ p y + ε) / (Σ p² + Σ y² + ε), where
        ε is 1e-5. Without a confident pixel it is 0.

    Reference:
        Milletari et al., "V-Net: Fully Convolutional Neural Networks for Volumetric
        Medical Image Segmentation", 3DV 2016.
    """
    probabilities = jax.nn.softmax(logits.astype(jnp.float32))
    return dice_of_probabilities(probabilities, labels, confident)


def dice_of_probabilities(
    probabilities: jax.Array, labels: jax.Array, confident: jax.Array
) -> jax.Array:
    """Returns `confident_dice` of probabilities `[..., num_classes]`."""
    num_classes = probabilities.shape[-1]
    p = jnp.where(confident[..., None], probabilities, 0)
    y = jnp.where(confident[..., None], jax.nn.one_hot(labels, num_classes), 0)
    pixels = tuple(range(labels.ndim))
    sums = (p * p).sum(pixels) + y.sum(pixels)  # y is 0 or 1, so y² is y
    return 1 - ((2 * (p * y).sum(pixels) + 1e-5) / (sums + 1e-5)).mean()


def hard_dice(
    predicted: jax.Array, true: jax.Array, known: jax.Array, *, num_classes: int
) -> jax.Array:
    """Measures the Dice score of classes against masks, over the known pixels.

    Args:
        predicted: `[...]` int classes.
        true: `[...]` int classes.
        known: `[...]` bool, the pixels that count.
        num_classes: Number of classes; class 0 is background and does not count.

    Returns:
        A scalar, the mean over the classes that either of both shows; NaN if neither
        shows any.
    """
    shown = lambda x: jax.nn.one_hot(x, num_classes, dtype=bool)[..., 1:]  # noqa: E731
    a, b = (shown(x) & known[..., None] for x in (predicted, true))
    pixels = tuple(range(predicted.ndim))
    total = a.sum(pixels) + b.sum(pixels)
    dice = 2 * (a & b).sum(pixels) / jnp.maximum(total, 1)
    return dice.mean(where=total > 0)
