"""What a run of a study has shown: its scores, its time and where it comes from."""

import csv
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from pix2rep_jax.errors import InputError
from pix2rep_jax.evaluation.volume_score import DISTANCES, score_names
from pix2rep_jax.methods.downstream.teacher import NETWORKS
from pix2rep_jax.runs.run_record import VERSION
from pix2rep_jax.study.job_record import read_evaluation, read_record
from pix2rep_jax.study.jobs import Cell, Job, stages

__all__ = [
    "RELEASED",
    "Result",
    "count_backbones",
    "read_results",
    "score_columns",
    "test_patients",
]

NOTHING: Mapping = MappingProxyType({})

RELEASED = "mask_box"
"""`data.crop` of the released code's protocol, which uses the test labels."""


class Result(NamedTuple):
    """What is known of a cell.

    Attributes:
        cell: The cell.
        status: "pending", "interrupted", "failed" or "finished".
        reason: Why it failed.
        notice: What a reader of its numbers has to know.
        seconds: Wall time of probing or fine-tuning, with scoring (s).
        stage_seconds: Wall time of each stage of its pretraining (s), which it may
            share with other cells.
        scores: By name, such as "dice_LV"; fractions, or mm. The scores of Mean
            Teacher's other network begin with its name: "student_dice_LV".
        patients: Foreground Dice of each test patient, the mean over the patient's
            volumes; NaN without any.
        scored_step: Step of the checkpoint that was scored.
        hardware: The devices it ran on.
        backbone: Digest of the pretrained network; empty if there is none, or no
            record of it.
        scans: Digest of the scans it used; empty if unknown.
        version: Version of the program that made the run.
        keys: Keys of the run and of its pretraining, where it is known by its place in
            the plan alone; None where it has the cell's version and settings.
    """

    cell: Cell
    status: str
    reason: str = ""
    notice: str = ""
    seconds: float = 0.0
    stage_seconds: tuple[float, ...] = ()
    scores: Mapping[str, float] = NOTHING
    patients: Mapping[str, float] = NOTHING
    scored_step: str = ""
    hardware: str = ""
    backbone: str = ""
    scans: str = ""
    version: int = VERSION
    keys: tuple[str, str] | None = None


def read_results(
    cells: Sequence[Cell],
    *,
    published: Mapping[str, Result] = NOTHING,
    scans: Mapping[str, str] = NOTHING,
) -> list[Result]:
    """Reads what the cells of a plan have left in their folders.

    Args:
        cells: From `list_cells`.
        published: Finished results by the key of their job, from `read_runs`. They
            count for cells that have not finished in their folder.
        scans: Digests of the scans by the data key of a job.
    """
    results = []
    for cell in cells:
        record = read_record(cell.job)
        if record.status != "finished" and cell.job.key in published:
            results.append(published[cell.job.key]._replace(cell=cell))
            continue
        before = [read_record(job) for job in stages(cell.pretraining)]
        notices = [each.notice for each in (*before, record) if each.notice]
        result = Result(
            cell=cell,
            status=record.status,
            reason=record.reason,
            notice="; ".join(notices),
            seconds=record.seconds,
            stage_seconds=tuple(each.seconds for each in before),
            hardware=record.hardware,
        )
        if record.status == "finished":
            digest = scans.get(cell.job.data_key, "")
            result = add_scores(result._replace(scans=digest))
        results.append(result)
    return results


def add_scores(result: Result) -> Result:
    """Adds the scores in the folder of a finished cell; without them it has failed."""
    job = result.cell.job
    try:
        content = read_evaluation(job)
        return result._replace(
            scores=take_scores(content, crop=job.config.data.crop),
            patients=read_patients(job, content),
            # "best_step" is its earlier name.
            scored_step=str(content.get("scored_step", content.get("best_step", ""))),
            backbone=content.get("pretrained_digest", ""),
        )
    except (OSError, ValueError, KeyError) as error:
        reason = f"its evaluation lacks a score: {error}"
        return result._replace(status="failed", reason=reason)


def take_scores(content: Mapping[str, Any], *, crop: str) -> dict[str, float]:
    """Takes the native scores from evaluation.json, and soft Dice where it counts."""
    blocks = _metrics(content, crop=crop)
    for name in NETWORKS:  # the network that is not the result
        if name in content:
            other = _metrics(content[name], crop=crop)
            blocks |= {f"{name}_{metric}": block for metric, block in other.items()}
    missed = sum(x["in_one_only"] for x in content["distances_left_out"].values())
    blocks["distances"] = {"left_out": missed}
    return {
        f"{metric}_{name}": math.nan if value is None else value
        for metric, block in blocks.items()
        for name, value in block.items()
    }


def read_patients(job: Job, content: Mapping[str, Any]) -> dict[str, float]:
    """Reads the foreground Dice of each test patient from per_volume.csv."""
    with (job.workdir / job.mode / "per_volume.csv").open(
        encoding="utf-8", newline=""
    ) as file:
        lines = list(csv.DictReader(file))
    released = job.config.data.crop == RELEASED
    resolution = "network" if released else "native"
    column = score_columns((), crop=job.config.data.crop)["mean_foreground"]
    values: dict[str, list[float]] = {x: [] for x in content.get("test_patients", ())}
    for line in lines:
        if line["resolution"] == resolution and line[column]:
            values.setdefault(line["patient"], []).append(float(line[column]))
    return {
        patient: sum(scores) / len(scores) if scores else math.nan
        for patient, scores in values.items()
    }


def test_patients(results: Sequence[Result]) -> tuple[str, ...]:
    """Lists the patients whom the finished cells were scored on.

    Raises:
        InputError: If two cells were scored on different patients.
    """
    finished = [each for each in results if each.status == "finished"]
    for each in finished:
        if each.patients.keys() != finished[0].patients.keys():
            raise InputError(
                f"{each.cell.job.workdir} was scored on other test patients than "
                f"{finished[0].cell.job.workdir}, and one table cannot hold both: move "
                "the cells of one of them to another --workdir"
            )
    return tuple(finished[0].patients) if finished else ()


def count_backbones(results: Sequence[Result]) -> dict[str, int]:
    """Counts the pretrained networks behind a method's finished runs of one seed.

    There is one, unless the pretraining was repeated between the runs. Runs without a
    record of their network do not count.

    Returns:
        The largest number over the seeds, by method.
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


def score_columns(classes: Sequence[str], *, crop: str) -> dict[str, str]:
    """Names the Dice columns that a protocol counts, by structure or average."""
    metric = "soft_dice" if crop == RELEASED else "dice"
    names = score_names(metric, classes) if classes else ("mean", "mean_foreground")
    return {name: f"{metric}_{name}" for name in names}


def _metrics(content: Mapping[str, Any], *, crop: str) -> dict[str, dict[str, Any]]:
    """Takes the scores of one network that a protocol counts, by metric."""
    blocks = {metric: content[metric] for metric in ("dice", *DISTANCES)}
    if crop == RELEASED:
        blocks["soft_dice"] = content["network"]["soft_dice"]
    return blocks
