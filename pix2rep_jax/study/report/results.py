"""What the runs of a study say: study.csv, and scores by method and patients."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pix2rep_jax.errors import InputError
from pix2rep_jax.evaluation.volume_score import DISTANCES, names_of
from pix2rep_jax.methods.downstream.mean_teacher import NETWORKS
from pix2rep_jax.study.job_record import read_evaluation, read_record
from pix2rep_jax.study.plan import Cell, pretrainings

__all__ = [
    "RELEASED",
    "Result",
    "count_backbones",
    "read_patients",
    "read_results",
    "read_test_patients",
    "score_columns",
    "study_csv",
]

RELEASED = "mask_box"
"""The released code's protocol, as `data.crop` names it: it sees the test labels."""


class Result(NamedTuple):
    """What is known of a cell.

    Attributes:
        cell: The cell.
        status: "pending", "interrupted", "failed" or "finished".
        reason: Why it failed.
        seconds: Wall time of probing or fine-tuning, scoring included (s).
        pretraining_seconds: Of the pretraining, in all its stages, that it may share
            with others (s).
        scores: By column of study.csv, such as "dice_LV"; a fraction, or mm. Those of
            Mean Teacher's other network begin with its name: "student_dice_LV".
        backbone: Digest of the pretrained network it comes from; empty where there is
            none, or no record of it.
    """

    cell: Cell
    status: str
    reason: str
    seconds: float
    pretraining_seconds: float
    scores: dict[str, float]
    backbone: str = ""


def read_results(cells: Sequence[Cell]) -> list[Result]:
    """Reads what the cells of a plan have left in their folders."""
    results = []
    for cell in cells:
        record = read_record(cell.job)
        before = [read_record(job) for job in pretrainings(cell.pretraining)]
        status, reason, scores, content = record.status, record.reason, {}, {}
        if status == "finished":
            try:
                content = read_evaluation(cell.job)
                scores = take_scores(content, crop=cell.job.config.data.crop)
            except (OSError, ValueError, KeyError) as error:
                status, reason = "failed", f"its evaluation lacks a score: {error}"
        results.append(
            Result(
                cell=cell,
                status=status,
                reason=reason,
                seconds=record.seconds,
                pretraining_seconds=sum(each.seconds for each in before),
                scores=scores,
                backbone=content.get("pretrained_digest", ""),
            )
        )
    return results


def take_scores(content: Mapping[str, Any], *, crop: str) -> dict[str, float]:
    """Takes from evaluation.json the native scores, and soft Dice where it counts."""
    blocks = _metrics(content, crop=crop)
    for name in NETWORKS:  # the one that is not the result
        if name in content:
            own = _metrics(content[name], crop=crop)
            blocks |= {f"{name}_{metric}": block for metric, block in own.items()}
    missed = sum(x["in_one_only"] for x in content["distances_left_out"].values())
    blocks["distances"] = {"left_out": missed}
    return {
        f"{metric}_{name}": math.nan if value is None else value
        for metric, block in blocks.items()
        for name, value in block.items()
    }


def read_test_patients(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Reads which patients the finished cells were scored on; none if none is finished.

    Raises:
        InputError: If they are not all of the same ones.
    """
    first: tuple[Cell, tuple[str, ...]] | None = None
    for cell in cells:
        if read_record(cell.job).status == "finished":
            own = tuple(read_evaluation(cell.job).get("test_patients", ()))
            first = first or (cell, own)
            if own != first[1]:
                raise InputError(
                    f"{cell.job.workdir} was scored on other test patients than "
                    f"{first[0].job.workdir}, and one table does not hold both: move "
                    "the cells of one of the two to another --workdir"
                )
    return first[1] if first else ()


def count_backbones(results: Sequence[Result]) -> dict[str, int]:
    """Counts the pretrained networks that a method's finished runs of a seed come from.

    It is one, unless the pretraining was run anew between them: where its record came
    from another machine without its network.

    Args:
        results: Of any methods and seeds.

    Returns:
        The largest number over the seeds, by method; runs without a record of where
        they come from do not count.
    """
    found: dict[tuple[str, int], set[str]] = {}
    for each in results:
        if each.status == "finished" and each.backbone:
            place = each.cell.method, each.cell.seed
            found.setdefault(place, set()).add(each.backbone)
    counts: dict[str, int] = {}
    for (method, _), digests in found.items():
        counts[method] = max(counts.get(method, 0), len(digests))
    return counts


def read_patients(result: Result, *, column: str) -> dict[str, float]:
    """Reads each test patient's own score, the mean over their volumes.

    Args:
        result: Of a finished cell.
        column: Of per_volume.csv, such as "dice_mean_foreground".

    Returns:
        By patient; one whose every cell is empty is left out.
    """
    path = result.cell.job.workdir / result.cell.job.mode / "per_volume.csv"
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    resolution = "network" if column.startswith("soft_dice") else "native"
    values: dict[str, list[float]] = {}
    for line in lines:
        if line["resolution"] == resolution and line[column]:
            values.setdefault(line["patient"], []).append(float(line[column]))
    return {patient: sum(own) / len(own) for patient, own in values.items()}


def study_csv(results: Sequence[Result], *, titles: dict[str, str]) -> str:
    """Renders one line a cell; what is not known is empty.

    Args:
        results: From `read_results`.
        titles: Of the methods, by their names.

    Returns:
        CSV with a header: what was run, what became of it, the scores (Dice as
        fractions, distances in mm), wall times (s), and hashes of the configurations.
    """
    columns = list(dict.fromkeys(name for each in results for name in each.scores))
    columns = columns or ["dice_mean", "dice_mean_foreground"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    fixed = ["method", "title", "protocol", "mode", "num_labeled", "draw", "seed"]
    timing = ["seconds", "pretraining_seconds", "config_hash", "pretraining_hash"]
    writer.writerow([*fixed, "status", *columns, *timing, "folder", "reason"])
    for each in results:
        cell = each.cell
        scores = [each.scores.get(name, math.nan) for name in columns]
        writer.writerow(
            [cell.method, titles[cell.method], cell.job.config.data.crop]
            + [cell.job.mode, cell.num_labeled, cell.draw, cell.seed, each.status]
            + ["" if math.isnan(score) else f"{score:.6f}" for score in scores]
            + [each.seconds or "", each.pretraining_seconds or "", cell.job.key]
            + [cell.pretraining.key if cell.pretraining else ""]
            + [_place(cell), each.reason]
        )
    return text.getvalue()


def score_columns(classes: Sequence[str], *, crop: str) -> dict[str, str]:
    """Names the Dice that a protocol counts: column by what it is of."""
    metric = "soft_dice" if crop == RELEASED else "dice"
    names = names_of(metric, classes)
    return {name: f"{metric}_{name}" for name in names}


def _metrics(content: Mapping[str, Any], *, crop: str) -> dict[str, dict[str, Any]]:
    """A network's scores that a protocol counts, by metric."""
    blocks = {metric: content[metric] for metric in ("dice", *DISTANCES)}
    if crop == RELEASED:
        blocks["soft_dice"] = content["network"]["soft_dice"]
    return blocks


def _place(cell: Cell) -> str:
    """Where a cell lies, relative to the study's folder."""
    return str(Path(*cell.job.workdir.parts[-2:]))
