"""What an evaluation leaves behind: a table, evaluation.json and per_volume.csv."""

import csv
import functools
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pix2rep_jax.evaluation.dice import summarise
from pix2rep_jax.evaluation.volume_score import (
    DISTANCES,
    METRICS,
    VolumeScore,
    display_order,
    left_out,
    names_of,
    summaries,
)
from pix2rep_jax.runtime.atomic_file import write_whole

__all__ = [
    "GROUND_TRUTH_NOTE",
    "evaluation",
    "per_volume_csv",
    "table",
    "write_evaluation",
]

GROUND_TRUTH_NOTE = (
    "These numbers use the ground truth: every test slice was cropped to the box of "
    "its expert mask (data.crop=mask_box)."
)


def table(
    scores: Sequence[VolumeScore],
    *,
    classes: Sequence[str],
    uses_ground_truth: bool = False,
) -> str:
    """Renders scores as text: Dice, one row a resolution, and distances below.

    Args:
        scores: Of every volume.
        classes: Names of the classes, background first.
        uses_ground_truth: Whether the crop saw the test labels; the table says so.

    Returns:
        Lines of equal columns: mean ± standard deviation over the volumes.
    """
    by_resolution = summaries(scores, classes=classes)
    order = display_order(classes)
    names = names_of("dice", classes)
    rows = [["resolution", *order, "mean", "mean foreground"]]
    for resolution, summary in by_resolution.items():
        cells = [_cell(summary.mean[name], summary.std[name]) for name in names]
        rows.append([resolution, *cells])
    num_volumes = max((s.num_volumes for s in by_resolution.values()), default=0)
    noun = "volume" if num_volumes == 1 else "volumes"
    title = f"3D Dice of {num_volumes} {noun}, mean ± standard deviation over volumes"
    lines = [title, "", *_columns(rows), *_distance_lines(scores, classes)]
    if uses_ground_truth:
        lines += ["", GROUND_TRUTH_NOTE]
    return "\n".join(lines)


def evaluation(
    scores: Sequence[VolumeScore],
    *,
    classes: Sequence[str],
    uses_ground_truth: bool = False,
    details: Mapping[str, Any] | None = None,
    others: Mapping[str, Sequence[VolumeScore]] | None = None,
) -> dict[str, Any]:
    """Lays out the content of evaluation.json.

    Args:
        scores: Of every volume. Native resolution, where there is one, stands at the
            top; another is nested under its name in the same layout.
        classes: Names of the classes, background first.
        uses_ground_truth: Whether the crop saw the test labels.
        details: More to record at the top, such as the mode.
        others: Scores of further networks of the run by name; each stands under its
            name, in the same layout.

    Returns:
        A tree that JSON can hold: what is not a number is null. A metric stands beside
        "dice", with its standard deviation over the volumes under `NAME_std`.

    Raises:
        ValueError: If there is no score.
    """
    first, nested = _blocks(scores, classes)
    beside = {name: _blocks(own, classes) for name, own in (others or {}).items()}
    return {
        **first,
        "uses_ground_truth": uses_ground_truth,
        **(details or {}),
        **nested,
        **{name: top | rest for name, (top, rest) in beside.items()},
    }


def _blocks(scores: Sequence[VolumeScore], classes: Sequence[str]):
    """The numbers of the first resolution, and those of the others by its name."""
    blocks: dict[str, dict[str, Any]] = {}
    for metric in METRICS:
        by_resolution = summaries(scores, classes=classes, metric=metric)
        names = names_of(metric, classes)
        for resolution, summary in by_resolution.items():
            block = blocks.setdefault(resolution, {})
            for suffix, values in (("", summary.mean), ("_std", summary.std)):
                block[metric + suffix] = {name: _number(values[name]) for name in names}
            block["resolution"] = resolution
            block["num_volumes"] = summary.num_volumes
            if metric in DISTANCES:
                block["distances_left_out"] = left_out(scores, classes=classes)
    if not blocks:
        raise ValueError("there is no score to report")
    first, *others = blocks
    return blocks[first], {name: blocks[name] for name in others}


def per_volume_csv(scores: Sequence[VolumeScore], *, classes: Sequence[str]) -> str:
    """Renders one line a volume and resolution; an absent class is an empty cell.

    Args:
        scores: In the order of the lines.
        classes: Names of the classes, background first.

    Returns:
        CSV with a header: volume_id, patient, phase, group, resolution and a column
        `METRIC_NAME` a class and average, of every metric that a score has; empty in
        the lines of a resolution without it.
    """
    metrics = [
        metric
        for metric in METRICS
        if any(getattr(score, metric) is not None for score in scores)
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["volume_id", "patient", "phase", "group", "resolution"]
        + [
            f"{metric}_{name}"
            for metric in metrics
            for name in names_of(metric, classes)
        ]
    )
    for score in scores:
        cells = []
        for metric in metrics:
            values = getattr(score, metric)
            if values is None:
                values = np.full(len(classes), np.nan)
            own = summarise(values[None], classes=classes).mean
            cells += [own[name] for name in names_of(metric, classes)]
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
    content = evaluation(
        scores,
        classes=classes,
        uses_ground_truth=uses_ground_truth,
        details=details,
        others=others,
    )
    write_whole(
        folder / "evaluation.json",
        json.dumps(content, indent=2, allow_nan=False) + "\n",
    )
    write_whole(folder / "per_volume.csv", per_volume_csv(scores, classes=classes))
    render = functools.partial(
        table, classes=classes, uses_ground_truth=uses_ground_truth
    )
    below = [f"The {name}: {render(own)}" for name, own in (others or {}).items()]
    return "\n\n".join([render(scores), *below])


def _distance_lines(scores: Sequence[VolumeScore], classes: Sequence[str]) -> list[str]:
    """The table of distances, with what it leaves out; nothing where none is."""
    names = names_of("hd95_mm", classes)
    rows = [["native", *names[:-1], "mean foreground"]]
    for metric, title in DISTANCES.items():
        for summary in summaries(scores, classes=classes, metric=metric).values():
            cells = [_cell(summary.mean[n], summary.std[n], digits=2) for n in names]
            rows.append([title, *cells])
    if len(rows) == 1:
        return []
    counts = left_out(scores, classes=classes)
    for key in ("in_one_only", "in_neither"):
        cells = [str(counts[name][key]) for name in names[:-1]]
        rows.append([key.replace("_", " "), *cells, ""])
    title = (
        "Surface distances, over the volumes in which expert and network both have the "
        "structure; the others are counted"
    )
    return ["", title, "", *_columns(rows)]


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of equal columns, the first one underlined."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return [line.rstrip() for line in lines]


def _cell(mean: float, std: float, *, digits: int = 3) -> str:
    """A table's cell; a class that no volume has is a dash."""
    return "-" if math.isnan(mean) else f"{mean:.{digits}f} ± {std:.{digits}f}"


def _number(value: float) -> float | None:
    """A number as JSON holds it: NaN is null."""
    return None if math.isnan(value) else round(value, 6)
