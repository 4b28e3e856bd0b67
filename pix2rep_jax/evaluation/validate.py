"""The validation score, by which a checkpoint may be chosen."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from pix2rep_jax.evaluation.dice import count_pairs, dice_of_counts
from pix2rep_jax.inference.predict import (
    BATCH_SIZE,
    make_predict,
    predict_slices,
    slices_kept,
)

__all__ = ["make_validate"]


def make_validate(
    net: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    num_classes: int,
    batch_size: int = BATCH_SIZE,
) -> Callable[[Mapping[str, Any]], dict[str, float]]:
    """Makes the score of networks on the validation slices.

    Args:
        net: Maps `[batch, height, width, channels]` to logits `[..., num_classes]`.
        images: `[slices, height, width, channels]`. A part of them is in memory at a
            time if they lie on the disk.
        labels: `[slices, height, width]` classes.
        num_classes: Background included.
        batch_size: Slices predicted at once.

    Returns:
        A function from variables by name to scores. The first network's is "val_dice",
        that of another one "val_dice_NAME": the mean Dice of the foreground classes
        that the labels or the prediction show, each over all slices together, at
        network resolution.
    """
    predict = make_predict(net)
    number = slices_kept(batch_size, images.shape[1:3])

    def score(variables: Any) -> float:
        counts = np.zeros((num_classes, num_classes), np.int64)
        for start in range(0, len(images), number):
            part = slice(start, start + number)
            probabilities = predict_slices(
                predict, variables, images[part], batch_size=batch_size
            )
            counts += count_pairs(
                probabilities.argmax(-1), labels[part], num_classes=num_classes
            )
        dice = dice_of_counts(counts)
        present = dice[1:][~np.isnan(dice[1:])]
        return float(present.mean()) if present.size else 0.0

    def validate(networks: Mapping[str, Any]) -> dict[str, float]:
        (_, result), *others = networks.items()
        return {"val_dice": score(result)} | {
            f"val_dice_{name}": score(variables) for name, variables in others
        }

    return validate
