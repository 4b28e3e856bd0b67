"""The CSV file of a study: one line per run, to read, to publish and to go on from."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from pix2rep_jax.errors import InputError
from pix2rep_jax.study.jobs import Cell, stages
from pix2rep_jax.study.report.results import Result

__all__ = ["PATIENT", "read_kind", "read_runs", "run_table"]

PATIENT = "patient:"
"""Before a test patient's name: the column of that patient's foreground Dice."""

WHAT = ("method", "title", "protocol", "mode", "num_labeled", "draw", "seed", "status")

PLACE = ("method", "protocol", "mode", "num_labeled", "draw", "seed")
"""What a run of another version, or of other settings, is known by."""

HOW = (
    "scored_step",
    "seconds",
    "pretraining_seconds",
    "first_stage_seconds",
    "hardware",
    "pretrained_digest",
    "scans",
    "version",
    "key",
    "pretraining_key",
    "reason",
    "notice",
)

EARLIER_NAMES = {"best_step": "scored_step"}
"""Columns that files of earlier runs name otherwise."""


def run_table(results: Sequence[Result], *, titles: Mapping[str, str]) -> str:
    """Renders one line per cell. What is not known is empty.

    Args:
        results: From `read_results`.
        titles: Titles of the methods, by name.

    Returns:
        CSV with a header. The columns say what was run, what became of it, its scores
        (Dice as fractions, distances in mm), how it was run (times in s), and each
        test patient's foreground Dice.
    """
    scores = list(dict.fromkeys(name for each in results for name in each.scores))
    patients = list(dict.fromkeys(name for each in results for name in each.patients))
    text = io.StringIO()
    names = [*WHAT, *scores, *HOW, *(PATIENT + name for name in patients)]
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    for each in results:
        cell, times = each.cell, each.stage_seconds
        keys = cell.job.key, cell.pretraining.key if cell.pretraining else ""
        key, pretraining_key = each.keys or keys
        line = {
            "method": cell.method,
            "title": titles[cell.method],
            "protocol": cell.job.config.data.crop,
            "mode": cell.job.mode,
            "num_labeled": cell.num_labeled,
            "draw": cell.draw,
            "seed": cell.seed,
            "status": each.status,
            "scored_step": each.scored_step,
            "seconds": each.seconds or "",
            "pretraining_seconds": round(sum(times), 1) or "",
            "first_stage_seconds": times[0] if len(times) > 1 else "",
            "hardware": each.hardware,
            "pretrained_digest": each.backbone,
            "scans": each.scans,
            "version": each.version,
            "key": key,
            "pretraining_key": pretraining_key,
            "reason": each.reason,
            "notice": each.notice,
        }
        numbers = {**each.scores} | {PATIENT + x: y for x, y in each.patients.items()}
        writer.writerow(line | {name: _print(x) for name, x in numbers.items()})
    return text.getvalue()


def read_runs(path: str | Path, cells: Sequence[Cell]) -> dict[str, Result]:
    """Reads the finished runs of a plan from a file that `run_table` has rendered.

    A run that no key of the plan fits is known by its place: method, mode, protocol,
    number of labelled patients, draw and seed. Its result has `keys`.

    Args:
        path: The file.
        cells: From `list_cells`. Runs of other cells are left out.

    Returns:
        The results by the key of the plan's job.

    Raises:
        InputError: If the file cannot be read, or has other columns.
    """
    by_key = {cell.job.key: cell for cell in cells}
    by_place = {_place(cell): cell for cell in cells}
    found: dict[str, Result] = {}
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            lines = [
                {EARLIER_NAMES.get(name, name): text for name, text in line.items()}
                for line in csv.DictReader(file)
            ]
        for line in lines:
            place = tuple(line[name] for name in PLACE)
            cell = by_key.get(line["key"]) or by_place.get(place)
            if line["status"] == "finished" and cell is not None:
                result = _read_line(line, cell)
                if result.keys is None or cell.job.key not in found:
                    found[cell.job.key] = result
        return found
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise InputError(
            f"study.records={path} cannot be read ({error}): name the study.csv of a "
            "study, or one of the files in results/"
        ) from error


def read_kind(path: Path) -> tuple[str, int] | None:
    """Reads `data.crop` and the version of the runs in a study.csv; None if unknown."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            line = next(csv.DictReader(file))
        return line["protocol"], _version(line)
    except (OSError, KeyError, StopIteration, csv.Error, ValueError):
        return None


def _print(number: float) -> str:
    """Prints six digits behind the point, without zeros at the end; NaN is empty."""
    return "" if math.isnan(number) else f"{number:.6f}".rstrip("0").rstrip(".")


def _place(cell: Cell) -> tuple[str, ...]:
    """The place of a cell in its plan, as the columns `PLACE` hold it."""
    job = cell.job
    numbers = cell.num_labeled, cell.draw, cell.seed
    return cell.method, job.config.data.crop, job.mode, *map(str, numbers)


def _version(line: Mapping[str, str]) -> int:
    """The version of a line's run. The column is younger than version 2."""
    return int(line.get("version") or 2)


def _read_line(line: Mapping[str, str], cell: Cell) -> Result:
    """Reads what a line says of a finished cell."""
    numbers = {x: y for x, y in line.items() if x not in (*WHAT, *HOW)}
    first = float(line["first_stage_seconds"] or 0)
    whole = float(line["pretraining_seconds"] or 0)
    times = ((), (whole,), (first, round(whole - first, 1)))
    keys = line["key"], line["pretraining_key"]
    return Result(
        cell=cell,
        status="finished",
        notice=line["notice"],
        seconds=float(line["seconds"] or 0),
        stage_seconds=times[len(stages(cell.pretraining))],
        scores={
            name: float(text)
            for name, text in numbers.items()
            if text and not name.startswith(PATIENT)
        },
        patients={
            name.removeprefix(PATIENT): float(text) if text else math.nan
            for name, text in numbers.items()
            if name.startswith(PATIENT)
        },
        scored_step=line["scored_step"],
        hardware=line["hardware"],
        backbone=line["pretrained_digest"],
        scans=line["scans"],
        version=_version(line),
        keys=keys if keys[0] != cell.job.key else None,
    )
