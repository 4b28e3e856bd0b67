"""What an evaluation leaves behind: a table, evaluation.json and per_volume.csv."""

import csv
import dataclasses
import functools
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pix2rep_jax.metrics import Summary, summarise

__all__ = [
    "VolumeScore",
    "evaluation",
    "per_volume_csv",
    "summaries",
    "table",
    "write_evaluation",
]

RESOLUTIONS = ("native", "network")
"""The scan's own grid, which counts, and the grid the network sees."""

GROUND_TRUTH_NOTE = (
    "These numbers use the ground truth: every test slice was cropped to the box of "
    "its expert mask (data.crop=mask_box)."
)

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
    """

    volume_id: str
    patient: str
    phase: str
    group: str
    resolution: str
    dice: np.ndarray


def summaries(
    scores: Sequence[VolumeScore], *, classes: Sequence[str]
) -> dict[str, Summary]:
    """Summarises volumes by resolution, native first.

    Args:
        scores: Any number of volumes; a resolution that no score has is left out.
        classes: Names of the classes, background first.

    Returns:
        The Dice summary of each resolution.
    """
    by_resolution = {
        resolution: [s.dice for s in scores if s.resolution == resolution]
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


def table(
    by_resolution: Mapping[str, Summary],
    *,
    classes: Sequence[str],
    uses_ground_truth: bool = False,
) -> str:
    """Renders the summaries as text, one row a resolution.

    Args:
        by_resolution: From `summaries`.
        classes: Names of the classes, background first.
        uses_ground_truth: Whether the crop saw the test labels; the table says so.

    Returns:
        Lines of equal columns: mean ± standard deviation over the volumes.
    """
    names = [*display_order(classes), "mean", "mean_foreground"]
    titles = [*display_order(classes), "mean", "mean foreground"]
    rows = [["resolution", *titles]]
    for resolution, summary in by_resolution.items():
        cells = [_cell(summary.mean[name], summary.std[name]) for name in names]
        rows.append([resolution, *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    num_volumes = max((s.num_volumes for s in by_resolution.values()), default=0)
    noun = "volume" if num_volumes == 1 else "volumes"
    title = f"3D Dice of {num_volumes} {noun}, mean ± standard deviation over volumes"
    lines = [title, "", *lines]
    if uses_ground_truth:
        lines += ["", GROUND_TRUTH_NOTE]
    return "\n".join(line.rstrip() for line in lines)


def evaluation(
    by_resolution: Mapping[str, Summary],
    *,
    classes: Sequence[str],
    uses_ground_truth: bool = False,
    details: Mapping[str, Any] | None = None,
    others: Mapping[str, Mapping[str, Summary]] | None = None,
) -> dict[str, Any]:
    """Lays out the content of evaluation.json.

    Args:
        by_resolution: From `summaries`. The first, native where there is one, stands
            at the top; another is nested under its name in the same layout. A
            further metric takes its place beside "dice", as "hd95_mm" would.
        classes: Names of the classes, background first.
        uses_ground_truth: Whether the crop saw the test labels.
        details: More to record at the top, such as the mode.
        others: The summaries of further networks of the run by name; each stands
            under its name, in the same layout.

    Returns:
        A tree that JSON can hold: what is not a number is null.

    Raises:
        ValueError: If there is no summary.
    """
    first, nested = _blocks(by_resolution, classes)
    beside = {name: _blocks(own, classes) for name, own in (others or {}).items()}
    return {
        **first,
        "uses_ground_truth": uses_ground_truth,
        **(details or {}),
        **nested,
        **{name: top | rest for name, (top, rest) in beside.items()},
    }


def _blocks(by_resolution: Mapping[str, Summary], classes: Sequence[str]):
    """The numbers of the first resolution, and those of the others by its name."""
    order = [*display_order(classes), "mean", "mean_foreground"]
    blocks = [
        {
            "dice": {name: _number(summary.mean[name]) for name in order},
            "dice_std": {name: _number(summary.std[name]) for name in order},
            "resolution": resolution,
            "num_volumes": summary.num_volumes,
        }
        for resolution, summary in by_resolution.items()
    ]
    if not blocks:
        raise ValueError("there is no score to report")
    return blocks[0], {block["resolution"]: block for block in blocks[1:]}


def per_volume_csv(scores: Sequence[VolumeScore], *, classes: Sequence[str]) -> str:
    """Renders one line a volume and resolution; an absent class is an empty cell.

    Args:
        scores: In the order of the lines.
        classes: Names of the classes, background first.

    Returns:
        CSV with a header: volume_id, patient, phase, group, resolution and a column
        `dice_NAME` a class, and `dice_mean`, `dice_mean_foreground`.
    """
    order = display_order(classes)
    averages = ("mean", "mean_foreground")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["volume_id", "patient", "phase", "group", "resolution"]
        + [f"dice_{name}" for name in (*order, *averages)]
    )
    for score in scores:
        own = summarise(score.dice[None], classes=classes).mean
        cells = [own[name] for name in (*order, *averages)]
        writer.writerow(
            [score.volume_id, score.patient, score.phase, score.group]
            + [score.resolution]
            + ["" if math.isnan(cell) else f"{cell:.6f}" for cell in cells]
        )
    return text.getvalue()


def write_evaluation(
    folder: Path,
    scores: Sequence[VolumeScore],
    *,
    classes: Sequence[str],
    uses_ground_truth: bool = False,
    details: Mapping[str, Any] | None = None,
    others: Mapping[str, Sequence[VolumeScore]] | None = None,
) -> str:
    """Writes evaluation.json and per_volume.csv into a run's folder.

    Args:
        folder: Exists. Earlier files of these names are replaced, each in one go.
        scores: Of every test volume, at one or both resolutions.
        classes: Names of the classes, background first.
        uses_ground_truth: Whether the crop saw the test labels.
        details: More to record at the top of evaluation.json.
        others: Scores of further networks of the run by name, for evaluation.json and
            the table; per_volume.csv is of `scores` alone.

    Returns:
        The table to print, and those of `others` below it.
    """
    by_resolution = summaries(scores, classes=classes)
    beside = {
        name: summaries(own, classes=classes) for name, own in (others or {}).items()
    }
    content = evaluation(
        by_resolution,
        classes=classes,
        uses_ground_truth=uses_ground_truth,
        details=details,
        others=beside,
    )
    _replace(
        folder / "evaluation.json",
        json.dumps(content, indent=2, allow_nan=False) + "\n",
    )
    _replace(folder / "per_volume.csv", per_volume_csv(scores, classes=classes))
    render = functools.partial(
        table, classes=classes, uses_ground_truth=uses_ground_truth
    )
    below = [f"The {name}: {render(own)}" for name, own in beside.items()]
    return "\n\n".join([render(by_resolution), *below])


def _cell(mean: float, std: float) -> str:
    """A table's cell; a class that no volume has is a dash."""
    return "-" if math.isnan(mean) else f"{mean:.3f} ± {std:.3f}"


def _number(value: float) -> float | None:
    """A number as JSON holds it: NaN is null."""
    return None if math.isnan(value) else round(value, 6)


def _replace(path: Path, text: str) -> None:
    """Writes a file so that nobody ever reads half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
