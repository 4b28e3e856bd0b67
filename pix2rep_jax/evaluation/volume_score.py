"""The scores of each test volume, and their summary over all of them."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pix2rep_jax.evaluation.dice import Summary, summarise

__all__ = [
    "DISTANCES",
    "METRICS",
    "VolumeScore",
    "count_undefined",
    "display_order",
    "score_names",
    "summaries",
]

RESOLUTIONS = ("native", "network")
"""The scan's own grid, whose scores are the ones to report, and the network's grid."""

DISTANCES = {"hd95_mm": "HD95 (mm)", "assd_mm": "ASSD (mm)"}
"""The scores of `VolumeScore` that are distances, and their titles."""

METRICS = ("dice", *DISTANCES, "soft_dice")
"""All scores of `VolumeScore`."""

_PAPER_ORDER = ("LV", "RV", "MYO")


@dataclasses.dataclass(frozen=True)
class VolumeScore:
    """The score of one volume at one resolution.

    Attributes:
        volume_id: Name of the volume in its data set, e.g. "patient001_ED".
        patient: Name of the patient, e.g. "patient001".
        phase: "ED" or "ES" if the data set has phases.
        group: Pathology group, or "".
        resolution: "native" or "network".
        dice: `[num_classes]`; NaN for a class that mask and prediction both lack.
        hd95_mm: `[num_classes]`; NaN for background and for a class that mask or
            prediction lacks. None if distances were not measured.
        assd_mm: Average symmetric surface distance, NaN and None as in `hd95_mm`.
        soft_dice: `[num_classes]`; None if there are no probabilities.
    """

    volume_id: str
    patient: str
    phase: str
    group: str
    resolution: str
    dice: np.ndarray
    hd95_mm: np.ndarray | None = None
    assd_mm: np.ndarray | None = None
    soft_dice: np.ndarray | None = None


def summaries(
    scores: Sequence[VolumeScore], *, classes: Sequence[str], metric: str = "dice"
) -> dict[str, Summary]:
    """Summarises volumes by resolution, native first.

    Args:
        scores: The scores of any number of volumes.
        classes: Names of the classes, background first.
        metric: "dice", "hd95_mm", "assd_mm" or "soft_dice".

    Returns:
        One summary per resolution at which some score has the metric.
    """
    by_resolution = {
        resolution: [
            getattr(score, metric)
            for score in scores
            if score.resolution == resolution and getattr(score, metric) is not None
        ]
        for resolution in RESOLUTIONS
    }
    return {
        resolution: summarise(np.stack(rows), classes=classes)
        for resolution, rows in by_resolution.items()
        if rows
    }


def display_order(classes: Sequence[str]) -> list[str]:
    """Returns the structures in the paper's order: LV, RV, MYO, others, background."""
    known = [name for name in _PAPER_ORDER if name in classes[1:]]
    return known + [name for name in classes[1:] if name not in known] + [classes[0]]


def count_undefined(
    scores: Sequence[VolumeScore], *, classes: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Counts the volumes whose distance is not defined, by foreground class.

    Returns:
        For each class two numbers of volumes. "in_one_only": the network missed or
        invented the class, which a mean distance therefore does not punish.
        "in_neither": neither the network nor the expert drew the class.
    """
    measured = [
        (score.dice, score.hd95_mm) for score in scores if score.hd95_mm is not None
    ]
    counts = {}
    for name in display_order(classes)[:-1]:
        value = list(classes).index(name)
        neither = sum(bool(np.isnan(dice[value])) for dice, _ in measured)
        undefined = sum(bool(np.isnan(hd95_mm[value])) for _, hd95_mm in measured)
        counts[name] = {"in_one_only": undefined - neither, "in_neither": neither}
    return counts


def score_names(metric: str, classes: Sequence[str]) -> list[str]:
    """Lists the structures (in the paper's order) and averages that a metric has.

    Args:
        metric: "dice", "soft_dice", "hd95_mm" or "assd_mm". A distance has no value for
            background and none for the mean over all classes.
        classes: Names of the classes, background first.
    """
    order = display_order(classes)
    if metric in DISTANCES:
        return [*order[:-1], "mean_foreground"]
    return [*order, "mean", "mean_foreground"]
