"""From a plan to finished runs: each job once, whatever becomes of the others."""

import contextlib
import importlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence

import jax

from pix2rep_jax.errors import InputError, explain_memory
from pix2rep_jax.methods.pretraining import load_method
from pix2rep_jax.modes.pretrain import describe_collapse
from pix2rep_jax.runs.lock import hold
from pix2rep_jax.study.job_record import (
    Record,
    read_own_record,
    read_record,
    write_record,
)
from pix2rep_jax.study.plan import Cell, Job, backbone_key
from pix2rep_jax.study.shared import SharedBackbone

__all__ = ["in_running_order", "run_cells", "run_job"]

ELSEWHERE = Record("elsewhere")
"""Of a job that another process has in hand."""

_PAUSE = 5.0  # s between two looks at what others have in hand


def in_running_order(cells: Sequence[Cell]) -> list[Cell]:
    """Orders cells so that those of one seed and one backbone follow each other."""
    first: dict[tuple[int, str], int] = {}
    for place, cell in enumerate(cells):
        first.setdefault(_origin(cell), place)
    return sorted(cells, key=lambda cell: first[_origin(cell)])  # stable


def run_cells(cells: Sequence[Cell]) -> Iterator[Cell]:
    """Runs what is not finished, and yields each cell that it has dealt with.

    A job that fails is recorded, and so are the cells that need it; the next start
    tries again, whichever of several processes it failed in. Finished jobs are not
    touched. What another process has in hand is left to it, and looked at again when
    nothing else is left to do.

    Args:
        cells: From `make_plan`.

    Raises:
        SystemExit: If a signal came, once the job under way has saved.
    """
    shared: dict[str, SharedBackbone] = {}
    left, told, started = in_running_order(cells), False, time.time()
    while left:
        elsewhere = []
        for cell in left:
            if read_record(cell.job).status == "finished":
                continue
            if run_cell(cell, shared, started=started) == ELSEWHERE:
                elsewhere.append(cell)
            else:
                yield cell
        if len(elsewhere) == len(left):
            if not told:
                print(
                    f"study: another process is at the last {len(left)} of its cells; "
                    "waiting for it",
                    file=sys.stderr,
                )
            told = True
            time.sleep(_PAUSE)
        left = elsewhere


def run_cell(
    cell: Cell, shared: dict[str, SharedBackbone], *, started: float
) -> Record:
    """Runs a cell, and before it what it starts from.

    Args:
        cell: Not finished.
        shared: What the cells of the present backbone have in common, by its key.
        started: As for `run_job`.

    Returns:
        As `run_job`.
    """
    if cell.pretraining is None:
        return run_job(cell.job, started=started)
    outcome = run_pretraining(cell.pretraining, started=started)
    if outcome == ELSEWHERE:
        return outcome
    if outcome.status == "failed":
        reason = f"its pretraining failed: {outcome.reason}"
        with hold(cell.job.workdir) as free:
            if not free:
                return ELSEWHERE
            record = Record("failed", read_record(cell.job).seconds, reason)
            write_record(cell.job, record)
        return record
    key = backbone_key(cell)
    if key not in shared:
        shared.clear()
        budget = cell.job.config.probe.feature_budget_mb
        shared[key] = SharedBackbone(budget_mb=budget)
    if cell.job.mode == "probe":
        return run_job(
            cell.job,
            started=started,
            measure=shared[key].measure,
            compute=shared[key].compute,
        )
    return run_job(cell.job, started=started, measure=shared[key].measure)


def run_pretraining(job: Job, *, started: float) -> Record:
    """Runs a pretraining, and before it the one that it goes on from, if any.

    Args:
        job: The pretraining.
        started: As for `run_job`.

    Returns:
        The record of the first one that failed or is in another process's hands, or
        else its own.
    """
    if job.start is not None:
        first = run_pretraining(job.start, started=started)
        if first.status != "finished":
            return first
    return run_job(job, started=started)


def run_job(job: Job, *, started: float, **options: Callable) -> Record:
    """Runs a job to its end, unless it is there, and keeps a record of it.

    What it prints goes to `output.txt` in its folder.

    Args:
        job: The job.
        started: When the study was started (s since the epoch): what has failed since,
            in whichever process, is not tried again.
        options: Further arguments of the mode's `run`.

    Returns:
        The record, finished or failed; `ELSEWHERE` where nothing was done.
    """
    before = read_own_record(job)
    if before.status == "finished":
        return before
    with hold(job.workdir) as free:
        if not free:
            return ELSEWHERE
        before = read_own_record(job)  # it may have ended while nobody looked
        failed = before.status == "failed" and before.ended >= started
        if failed or before.status == "finished":
            return before
        return _run(job, before, options)


def _run(job: Job, before: Record, options: dict[str, Callable]) -> Record:
    """Runs a job that is this process's alone, and not finished."""
    # However this one ends, even without a chance to say so, it is not finished.
    write_record(job, Record("interrupted", before.seconds))
    mode = importlib.import_module(f"pix2rep_jax.modes.{job.mode}")
    started, status, reason, notice = time.monotonic(), "interrupted", "", ""
    try:
        with (
            (job.workdir / "output.txt").open("a", encoding="utf-8") as output,
            contextlib.redirect_stdout(output),
        ):
            mode.run(job.config, job.workdir, **options)
            if job.mode == "pretrain":
                method = load_method(job.config)
                notice = describe_collapse(job.config, method, job.workdir / "pretrain")
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
        reason = " ".join(reason.split())
        record = Record(status, round(seconds, 1), reason, notice, time.time())
        write_record(job, record)
        jax.clear_caches()  # its programs: no other job has the same closures
    return record


def _origin(cell: Cell) -> tuple[int, str]:
    """What a cell starts from."""
    return cell.seed, cell.pretraining.key if cell.pretraining else ""
