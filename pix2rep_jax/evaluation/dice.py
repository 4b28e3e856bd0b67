"""How well a segmentation agrees with the expert's: 3D Dice, as the paper counts it."""

import dataclasses
from collections.abc import Sequence

import numpy as np

__all__ = ["IGNORED", "Summary", "dice_per_class", "soft_dice_per_class", "summarise"]

IGNORED = 255
"""Label of a pixel without an expert's opinion."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """A score over several volumes.

    Attributes:
        mean: Mean by class name, and "mean" and "mean_foreground".
        std: Standard deviation over the volumes, by the same names.
        num_volumes: Volumes that were scored.
    """

    mean: dict[str, float]
    std: dict[str, float]
    num_volumes: int


def dice_per_class(
    prediction: np.ndarray, label: np.ndarray, *, num_classes: int
) -> np.ndarray:
    """Computes the Dice coefficient of each class over a whole volume.

    `2 |P ∩ L| / (|P| + |L|)`, all slices of the volume together.

    Args:
        prediction: Integer classes of any shape.
        label: The expert's classes, same shape. Where it is 255 (`IGNORED`) nothing
            is counted.
        num_classes: Classes, background (0) included.

    Returns:
        `[num_classes]` float64; NaN for a class that is absent from both.

    Raises:
        ValueError: If the shapes differ, or a class is outside `0..num_classes - 1`.
    """
    prediction, label = np.asarray(prediction), np.asarray(label)
    if prediction.shape != label.shape:
        raise ValueError(
            f"the prediction has shape {prediction.shape}, the label {label.shape}"
        )
    judged = label != IGNORED
    predicted, expected = prediction[judged], label[judged]
    for name, classes in (("prediction", predicted), ("label", expected)):
        if classes.size and not (
            classes.min() >= 0 and classes.max() < num_classes
        ):  # NaN fails both
            raise ValueError(
                f"the {name} holds classes from {classes.min()} to {classes.max()}, "
                f"outside 0 to {num_classes - 1}"
            )
    # int64, since `uint8 * num_classes` would wrap.
    pairs = expected.astype(np.int64) * num_classes + predicted.astype(np.int64)
    confusion = np.bincount(pairs, minlength=num_classes**2).reshape(
        num_classes, num_classes
    )
    sizes = confusion.sum(0) + confusion.sum(1)
    return np.divide(
        2.0 * np.diag(confusion),
        sizes,
        out=np.full(num_classes, np.nan),
        where=sizes > 0,
    )


def soft_dice_per_class(probabilities: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Computes the soft Dice coefficient of each class, as the released code scores.

    `2 Σ p y / (Σ p + Σ y)` over all voxels, with y 1 where the expert drew the class.

    Args:
        probabilities: `[..., num_classes]`, summing to 1.
        label: The expert's classes, `[...]`. Where it is 255 (`IGNORED`) nothing is
            counted.

    Returns:
        `[num_classes]` float64; NaN, as in `dice_per_class`, for a class that is
        neither in the label nor anywhere the likeliest.

    Raises:
        ValueError: If the shapes differ.
    """
    probabilities, label = np.asarray(probabilities), np.asarray(label)
    if probabilities.shape[:-1] != label.shape:
        raise ValueError(
            f"the probabilities have shape {probabilities.shape}, the label "
            f"{label.shape}"
        )
    judged = label != IGNORED
    p, y = probabilities[judged].astype(np.float64), label[judged]
    num_classes = probabilities.shape[-1]
    expected = np.bincount(y, minlength=num_classes)
    both = [p[y == value, value].sum() for value in range(num_classes)]
    present = (expected > 0) | (np.bincount(p.argmax(-1), minlength=num_classes) > 0)
    return np.divide(
        2.0 * np.asarray(both),
        p.sum(0) + expected,
        out=np.full(num_classes, np.nan),
        where=present,
    )


def summarise(scores: np.ndarray, *, classes: Sequence[str]) -> Summary:
    """Averages a score over volumes, then over structures.

    A NaN (a class absent from a volume) is left out wherever it occurs; what has
    nothing left to average is NaN.

    Args:
        scores: `[volumes, len(classes)]`.
        classes: Names of the classes, background first.

    Returns:
        The mean and the standard deviation (of the population) over volumes of
        each class, and of two averages over classes: "mean" of all of them, the
        paper's "avg. Dice", and "mean_foreground", without background. The mean
        of an average is that of the classes' means; its standard deviation is
        that of the volumes' own averages.

    Raises:
        ValueError: If `scores` does not have a column a class.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2 or scores.shape[1] != len(classes):
        raise ValueError(
            f"scores of shape {scores.shape} are not [volumes, {len(classes)}]"
        )
    class_means = [_mean(column) for column in scores.T]
    mean = dict(zip(classes, class_means, strict=True))
    std = {name: _std(column) for name, column in zip(classes, scores.T, strict=True)}
    for name, first in (("mean", 0), ("mean_foreground", 1)):
        mean[name] = _mean(np.asarray(class_means[first:]))
        std[name] = _std(np.asarray([_mean(row[first:]) for row in scores]))
    return Summary(mean=mean, std=std, num_volumes=len(scores))


def _mean(values: np.ndarray) -> float:
    """Mean of what is not NaN; NaN without NumPy's warning where that is nothing."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def _std(values: np.ndarray) -> float:
    """Standard deviation of what is not NaN."""
    values = values[~np.isnan(values)]
    return float(values.std()) if values.size else float("nan")
