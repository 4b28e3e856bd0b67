"""The report of an evaluation: a table, evaluation.json and per_volume.csv."""

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
    count_undefined,
    display_order,
    score_names,
    summaries,
)
from pix2rep_jax.runtime.atomic_file import write_whole
from pix2rep_jax.wording import count

__all__ = [
    "GROUND_TRUTH_NOTE",
    "evaluation",
    "per_volume_csv",
    "read_foreground_dice",
    "table",
    "write_evaluation",
]

GROUND_TRUTH_NOTE = (
    "These numbers use the ground truth: each test volume was cropped to the box of "
    "its expert mask (data.crop=mask_box)."
)

_TITLES = {"last": "last step", "best": "best validation step"}


def table(
    scores: Sequence[VolumeScore],
    *,
    classes: Sequence[str],
    uses_ground_truth: bool = False,
) -> str:
    """Renders scores as text: one row of Dice per resolution, and distances below.

    Args:
        scores: The scores of every volume.
        classes: Names of the classes, background first.
        uses_ground_truth: Whether the crop used the test labels; the table says so.

    Returns:
        Lines with aligned columns: mean ± standard deviation over the volumes.
    """
    by_resolution = summaries(scores, classes=classes)
    order = display_order(classes)
    names = score_names("dice", classes)
    rows = [["resolution", *order, "mean", "mean foreground"]]
    for resolution, summary in by_resolution.items():
        cells = [_cell(summary.mean[name], summary.std[name]) for name in names]
        rows.append([resolution, *cells])
    num_volumes = max((s.num_volumes for s in by_resolution.values()), default=0)
    scored = count(num_volumes, "volume")
    title = f"3D Dice of {scored}, mean ± standard deviation over volumes"
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
        scores: The scores of every volume. Native resolution, if there is one, stands
            at the top level. The other one is nested under its name.
        classes: Names of the classes, background first.
        uses_ground_truth: Whether the crop used the test labels.
        details: Further entries for the top level, such as the mode.
        others: Scores of the run's further networks by name. Each is nested under its
            name, in the same layout.

    Returns:
        A tree that JSON can hold, with NaN as None. Each metric stands under its name,
        and its standard deviation over the volumes under `NAME_std`.

    Raises:
        ValueError: If there is no score.
    """
    first, nested = _blocks(scores, classes)
    beside = {
        name: _blocks(other_scores, classes)
        for name, other_scores in (others or {}).items()
    }
    return {
        **first,
        "uses_ground_truth": uses_ground_truth,
        **(details or {}),
        **nested,
        **{name: top | rest for name, (top, rest) in beside.items()},
    }


def _blocks(
    scores: Sequence[VolumeScore], classes: Sequence[str]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Collects the numbers of the first resolution, and of the others by name."""
    blocks: dict[str, dict[str, Any]] = {}
    for metric in METRICS:
        by_resolution = summaries(scores, classes=classes, metric=metric)
        names = score_names(metric, classes)
        for resolution, summary in by_resolution.items():
            block = blocks.setdefault(resolution, {})
            for suffix, values in (("", summary.mean), ("_std", summary.std)):
                block[metric + suffix] = {name: _number(values[name]) for name in names}
            block["resolution"] = resolution
            block["num_volumes"] = summary.num_volumes
            if metric in DISTANCES:
                block["distances_left_out"] = count_undefined(scores, classes=classes)
    if not blocks:
        raise ValueError("there is no score to report")
    first, *others = blocks
    return blocks[first], {name: blocks[name] for name in others}


def per_volume_csv(scores: Sequence[VolumeScore], *, classes: Sequence[str]) -> str:
    """Renders one line per volume and resolution.

    Args:
        scores: The scores, in the order of the lines.
        classes: Names of the classes, background first.

    Returns:
        CSV with the header volume_id, patient, phase, group, resolution. Then follows
        one column `METRIC_NAME` per metric and class or average. A cell is empty if the
        class is absent, or if the line's resolution does not have the metric.
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
            for name in score_names(metric, classes)
        ]
    )
    for score in scores:
        cells = []
        for metric in metrics:
            values = getattr(score, metric)
            if values is None:
                values = np.full(len(classes), np.nan)
            by_name = summarise(values[None], classes=classes).mean
            cells += [by_name[name] for name in score_names(metric, classes)]
        writer.writerow(
            [score.volume_id, score.patient, score.phase, score.group]
            + [score.resolution]
            + ["" if math.isnan(cell) else f"{cell:.6f}" for cell in cells]
        )
    return text.getvalue()


def read_foreground_dice(path: Path) -> dict[str, float]:
    """Reads the mean foreground Dice at native resolution from a per_volume.csv.

    Args:
        path: The file that `write_evaluation` wrote.

    Returns:
        The Dice coefficients by volume id. A volume without any foreground is left out.
    """
    with path.open(encoding="utf-8", newline="") as file:
        return {
            row["volume_id"]: float(row["dice_mean_foreground"])
            for row in csv.DictReader(file)
            if row["resolution"] == "native" and row["dice_mean_foreground"]
        }


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
        folder: An existing folder. Earlier files are replaced atomically.
        scores: The scores of every test volume, at one or both resolutions.
        classes: Names of the classes, background first.
        uses_ground_truth: Whether the crop used the test labels.
        details: Further entries for the top level of evaluation.json.
        others: Scores of the run's further networks by name. They go into
            evaluation.json and the table; per_volume.csv holds `scores` only.

    Returns:
        The table to print, followed by those of `others`.
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
    below = [
        f"The {_TITLES.get(name, name)}: {render(other_scores)}"
        for name, other_scores in (others or {}).items()
    ]
    return "\n\n".join([render(scores), *below])


def _distance_lines(scores: Sequence[VolumeScore], classes: Sequence[str]) -> list[str]:
    """Renders the table of distances, if any, with the counts of undefined ones."""
    names = score_names("hd95_mm", classes)
    rows = [["native", *names[:-1], "mean foreground"]]
    for metric, title in DISTANCES.items():
        for summary in summaries(scores, classes=classes, metric=metric).values():
            cells = [_cell(summary.mean[n], summary.std[n], digits=2) for n in names]
            rows.append([title, *cells])
    if len(rows) == 1:
        return []
    counts = count_undefined(scores, classes=classes)
    for key in ("in_one_only", "in_neither"):
        cells = [str(counts[name][key]) for name in names[:-1]]
        rows.append([key.replace("_", " "), *cells, ""])
    title = (
        "Surface distances where expert and network both drew the structure (other "
        "volumes are counted below)"
    )
    return ["", title, "", *_columns(rows)]


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Renders rows as lines with aligned columns, the first one underlined."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return [line.rstrip() for line in lines]


def _cell(mean: float, std: float, *, digits: int = 3) -> str:
    """Renders a table's cell; a class that no volume has is a dash."""
    return "-" if math.isnan(mean) else f"{mean:.{digits}f} ± {std:.{digits}f}"


def _number(value: float) -> float | None:
    """Converts a number to what JSON can hold: NaN becomes None."""
    return None if math.isnan(value) else round(value, 6)
