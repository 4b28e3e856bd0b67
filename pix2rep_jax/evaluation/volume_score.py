"""What is known of each test volume, and what it amounts to over all of them."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pix2rep_jax.evaluation.dice import Summary, summarise

__all__ = [
    "DISTANCES",
    "METRICS",
    "VolumeScore",
    "display_order",
    "left_out",
    "names_of",
    "summaries",
]

RESOLUTIONS = ("native", "network")
"""The scan's own grid, which counts, and the grid the network sees."""

DISTANCES = {"hd95_mm": "HD95 (mm)", "assd_mm": "ASSD (mm)"}
"""Scores of `VolumeScore` in mm, and their titles."""

METRICS = ("dice", *DISTANCES, "soft_dice")
"""All scores of `VolumeScore`."""

_PAPER_ORDER = ("LV", "RV", "MYO")


@dataclasses.dataclass(frozen=True)
class VolumeScore:
    """The score of one volume at one resolution.

    Attributes:
        volume_id: As in the data set, e.g. "patient001_ED".
        patient: e.g. "patient001".
        phase: "ED" or "ES", where the data set has phases.
        group: Pathology group, or "".
        resolution: "native" or "network".
        dice: `[num_classes]`, NaN for a class absent from mask and prediction.
        hd95_mm: `[num_classes]`, NaN for background and for a class absent from either
            of them; None where distances are not measured. So is the next.
        assd_mm: `[num_classes]`, average symmetric surface distance.
        soft_dice: `[num_classes]`; None where there are no probabilities.
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
        scores: Any number of volumes; a resolution that no score has is left out, and
            so is one without the metric.
        classes: Names of the classes, background first.
        metric: "dice", "hd95_mm", "assd_mm" or "soft_dice".

    Returns:
        The summary of each resolution.
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


def left_out(
    scores: Sequence[VolumeScore], *, classes: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Counts the volumes whose distance is not defined, by foreground class.

    Returns:
        "in_one_only" counts volumes in which the network missed or invented the class,
        which a mean distance therefore does not punish; "in_neither" those without it.
    """
    measured = [score for score in scores if score.hd95_mm is not None]
    counts = {}
    for name in display_order(classes)[:-1]:
        value = list(classes).index(name)
        neither = sum(bool(np.isnan(score.dice[value])) for score in measured)
        undefined = sum(bool(np.isnan(score.hd95_mm[value])) for score in measured)
        counts[name] = {"in_one_only": undefined - neither, "in_neither": neither}
    return counts


def names_of(metric: str, classes: Sequence[str]) -> list[str]:
    """Lists what a metric has values of: structures in the paper's order, and means.

    Args:
        metric: "dice", "soft_dice", "hd95_mm" or "assd_mm". Background has no surface
            to measure a distance from.
        classes: Names of the classes, background first.
    """
    order = display_order(classes)
    if metric in DISTANCES:
        return [*order[:-1], "mean_foreground"]
    return [*order, "mean", "mean_foreground"]
