"""Overlap of a segmentation with the expert's: 3D Dice, as the paper counts it."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pix2rep_jax.data.files.labels import UNLABELLED

__all__ = [
    "Summary",
    "count_pairs",
    "dice_of_counts",
    "dice_per_class",
    "soft_dice_per_class",
    "summarise",
]


@dataclasses.dataclass(frozen=True)
class Summary:
    """A score over several volumes.

    Attributes:
        mean: Mean of each class by its name, and the averages "mean" and
            "mean_foreground".
        std: Standard deviation over the volumes, by the same names.
        num_volumes: Number of volumes that were scored.
    """

    mean: dict[str, float]
    std: dict[str, float]
    num_volumes: int


def dice_per_class(
    prediction: np.ndarray, label: np.ndarray, *, num_classes: int
) -> np.ndarray:
    """Computes the Dice coefficient of each class over a whole volume.

    It is `2 |P ∩ L| / (|P| + |L|)` over all slices of the volume together.

    Args:
        prediction: Integer classes, in an array of any shape.
        label: The expert's classes, same shape. Pixels with 255 (`UNLABELLED`) are not
            counted.
        num_classes: Number of classes, background (0) included.

    Returns:
        `[num_classes]` float64; NaN for a class that is absent from both.

    Example:
        Class 2 is in neither array:

        >>> import numpy as np
        >>> prediction = np.array([[0, 0, 1, 1]])
        >>> label = np.array([[0, 0, 0, 1]])
        >>> print(dice_per_class(prediction, label, num_classes=3).round(3))
        [0.8   0.667   nan]

    Raises:
        ValueError: If the shapes differ, or a class is outside `0..num_classes - 1`.
    """
    return dice_of_counts(count_pairs(prediction, label, num_classes=num_classes))


def count_pairs(
    prediction: np.ndarray, label: np.ndarray, *, num_classes: int
) -> np.ndarray:
    """Counts how many pixels of each class were predicted as which one.

    Args:
        prediction: As for `dice_per_class`, like the others.
        label: The expert's classes.
        num_classes: Background included.

    Returns:
        `[num_classes, num_classes]` int64: by the expert's class, then by the
        predicted one. Counts of parts may be added.

    Raises:
        ValueError: As `dice_per_class`.
    """
    prediction, label = np.asarray(prediction), np.asarray(label)
    if prediction.shape != label.shape:
        raise ValueError(
            f"the prediction has shape {prediction.shape}, the label {label.shape}"
        )
    labelled = label != UNLABELLED
    predicted, expected = prediction[labelled], label[labelled]
    for name, classes in (("prediction", predicted), ("label", expected)):
        if classes.size and not (
            classes.min() >= 0 and classes.max() < num_classes
        ):  # NaN fails both
            raise ValueError(
                f"the {name} holds classes from {classes.min()} to {classes.max()}, "
                f"outside 0 to {num_classes - 1}"
            )
    # In uint8 the product with num_classes would wrap.
    pairs = expected.astype(np.int64) * num_classes + predicted.astype(np.int64)
    counts = np.bincount(pairs, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def dice_of_counts(counts: np.ndarray) -> np.ndarray:
    """Computes what `dice_per_class` returns from what `count_pairs` returns."""
    sizes = counts.sum(0) + counts.sum(1)
    return np.divide(
        2.0 * np.diag(counts),
        sizes,
        out=np.full(len(counts), np.nan),
        where=sizes > 0,
    )


def soft_dice_per_class(probabilities: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Computes the soft Dice coefficient of each class, the released code's score.

    It is `2 Σ p y / (Σ p + Σ y)` over all voxels, where y is 1 if the expert drew the
    class and 0 if not.

    Args:
        probabilities: `[..., num_classes]`, which sum to 1 over the classes.
        label: `[...]`, the expert's classes. Pixels with 255 (`UNLABELLED`) are not
            counted.

    Returns:
        `[num_classes]` float64. As in `dice_per_class` a class is NaN if it is absent
        from both: from the label, and from the most probable classes.

    Raises:
        ValueError: If the shapes differ.
    """
    probabilities, label = np.asarray(probabilities), np.asarray(label)
    if probabilities.shape[:-1] != label.shape:
        raise ValueError(
            f"the probabilities have shape {probabilities.shape}, the label "
            f"{label.shape}"
        )
    labelled = label != UNLABELLED
    p, y = probabilities[labelled].astype(np.float64), label[labelled]
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

    NaN (a class that is absent from a volume) is left out of every average. An average
    of nothing is NaN.

    Args:
        scores: `[volumes, len(classes)]`.
        classes: Names of the classes, background first.

    Returns:
        The mean and the population's standard deviation over volumes, for each class
        and for two averages over classes. "mean" is the average of all classes, the
        paper's "avg. Dice", and "mean_foreground" leaves out background. The mean of an
        average is the average of the classes' means. Its standard deviation is that of
        the volumes' averages.

    Raises:
        ValueError: If `scores` does not have one column per class.
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
    """Averages all but NaN; an average of nothing is NaN, without NumPy's warning."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def _std(values: np.ndarray) -> float:
    """Computes the standard deviation of all but NaN."""
    values = values[~np.isnan(values)]
    return float(values.std()) if values.size else float("nan")
