"""From a plan to finished runs: each job once, whatever becomes of the others."""

import contextlib
import importlib
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax

from pix2rep_jax.errors import InputError, explain_memory
from pix2rep_jax.study.plan import Cell, Job, backbone_key
from pix2rep_jax.study.records import (
    Record,
    read_own_record,
    read_record,
    write_record,
)
from pix2rep_jax.study.shared import SharedBackbone

__all__ = ["in_running_order", "run_cells", "run_job"]


def in_running_order(cells: Sequence[Cell]) -> list[Cell]:
    """Orders cells so that those of one backbone follow each other."""
    first: dict[str, int] = {}
    for place, cell in enumerate(cells):
        first.setdefault(_origin(cell), place)
    return sorted(cells, key=lambda cell: first[_origin(cell)])  # stable


def run_cells(cells: Sequence[Cell]) -> Iterator[Cell]:
    """Runs what is not finished, and yields each cell that it has dealt with.

    A job that fails is recorded, and so are the cells that need it; the next start
    tries again. Finished jobs are not touched.

    Args:
        cells: From `make_plan`.

    Raises:
        SystemExit: If a signal came, once the job under way has saved.
    """
    shared, shared_key = None, ""
    tried: dict[Path, Record] = {}  # a pretraining that failed is not tried twice
    for cell in in_running_order(cells):
        if read_record(cell.job).status == "finished":
            continue
        pretraining, options = cell.pretraining, {}
        if pretraining is not None:
            outcome = run_pretraining(pretraining, tried)
            if outcome.status == "failed":
                reason = f"its pretraining failed: {outcome.reason}"
                cell.job.workdir.mkdir(parents=True, exist_ok=True)
                write_record(cell.job, Record("failed", reason=reason))
                yield cell
                continue
            if backbone_key(cell) != shared_key:
                budget = cell.job.config.probe.feature_budget_mb
                shared = SharedBackbone(budget_mb=budget)
                shared_key = backbone_key(cell)
            options["measure"] = shared.measure
            if cell.job.mode == "probe":
                options["compute"] = shared.compute
        run_job(cell.job, **options)
        yield cell


def run_pretraining(job: Job, tried: dict[Path, Record]) -> Record:
    """Runs a pretraining, and before it the one that it goes on from, if any.

    Args:
        job: The pretraining.
        tried: What became of those that were run before; it is added there.

    Returns:
        The record of the first one that failed, or else its own.
    """
    if job.start is not None:
        first = run_pretraining(job.start, tried)
        if first.status == "failed":
            return first
    if job.workdir not in tried:
        tried[job.workdir] = run_job(job)
    return tried[job.workdir]


def run_job(job: Job, **options: Callable) -> Record:
    """Runs a job to its end, unless it is there, and keeps a record of it.

    What it prints goes to `output.txt` in its folder.

    Args:
        job: The job.
        options: Further arguments of the mode's `run`.

    Returns:
        The record: finished or failed.
    """
    before = read_own_record(job)
    if before.status == "finished":
        return before
    job.workdir.mkdir(parents=True, exist_ok=True)
    mode = importlib.import_module(f"pix2rep_jax.modes.{job.mode}")
    started, status, reason = time.monotonic(), "interrupted", ""
    try:
        with (
            (job.workdir / "output.txt").open("a", encoding="utf-8") as output,
            contextlib.redirect_stdout(output),
        ):
            mode.run(job.config, job.workdir, **options)
        status = "finished"
    except InputError as error:
        status, reason = "failed", str(error)
    except Exception as error:  # such as no memory left for this one
        status = "failed"
        reason = explain_memory(error) or f"{type(error).__name__}: {error}"
        with (job.workdir / "output.txt").open("a", encoding="utf-8") as output:
            traceback.print_exc(file=output)
    finally:
        seconds = before.seconds + time.monotonic() - started
        record = Record(status, round(seconds, 1), " ".join(reason.split()))
        write_record(job, record)
        jax.clear_caches()  # its programs: no other job has the same closures
    return record


def _origin(cell: Cell) -> str:
    """What a cell starts from."""
    return cell.pretraining.key if cell.pretraining else ""
