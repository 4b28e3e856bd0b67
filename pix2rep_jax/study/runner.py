"""From a plan to finished runs: each job runs once, whatever becomes of the others."""

import contextlib
import sys
import time
import traceback
from collections.abc import Iterator, Sequence

import jax

from pix2rep_jax.errors import InputError, explain
from pix2rep_jax.methods.pretraining import load_method
from pix2rep_jax.modes import context, finetune, pretrain, probe
from pix2rep_jax.runs.lock import hold
from pix2rep_jax.study.job_record import Record, read_record, write_record
from pix2rep_jax.study.jobs import Cell, Job, stages
from pix2rep_jax.wording import count

__all__ = ["run_cells"]

MODES = {
    "pretrain": pretrain,
    "probe": probe,
    "finetune": finetune,
    "context": context,
}

ELSEWHERE = Record("elsewhere")
"""Stands for a job that another process is running."""

_PAUSE = 5.0  # s between two looks at the jobs of other processes


def run_cells(cells: Sequence[Cell]) -> Iterator[Cell]:
    """Runs what is not finished, and yields each cell that it has dealt with.

    A job that fails is recorded, and so are the cells that need it. The next start
    tries it again, whichever of several processes it failed in. Jobs of another
    process are left to it, and looked at again when nothing else is left to do.

    Args:
        cells: From `list_cells`.

    Raises:
        SystemExit: If a signal came, once the present job has saved.
    """
    left, told, started = list(cells), False, time.time()
    while left:
        elsewhere = []
        for cell in left:
            if read_record(cell.job).status == "finished":
                continue
            if run_cell(cell, started=started) == ELSEWHERE:
                elsewhere.append(cell)
            else:
                yield cell
        if len(elsewhere) == len(left):
            if not told:
                print(
                    "study: waiting for another process, which is running what is "
                    f"left: {count(len(left), 'cell')}",
                    file=sys.stderr,
                )
            told = True
            time.sleep(_PAUSE)
        left = elsewhere


def run_cell(cell: Cell, *, started: float) -> Record:
    """Runs a cell, and before it the pretraining that it starts from.

    Args:
        cell: A cell that is not finished.
        started: As for `run_job`.

    Returns:
        As `run_job`.
    """
    *before, job = stages(cell.job)
    for stage in before:
        outcome = run_job(stage, started=started)
        if outcome == ELSEWHERE:
            return outcome
        if outcome.status == "failed":
            reason = f"its pretraining failed: {outcome.reason}"
            with hold(job.workdir) as free:
                if not free:
                    return ELSEWHERE
                record = Record("failed", read_record(job).seconds, reason)
                write_record(job, record)
            return record
    return run_job(job, started=started)


def run_job(job: Job, *, started: float) -> Record:
    """Runs a job to its end, unless it has ended, and keeps a record of it.

    Its output goes to `output.txt` in its folder.

    Args:
        job: The job.
        started: When the study was started (s since the epoch). A job that has failed
            since, in whichever process, is not tried again.

    Returns:
        The record, finished or failed; `ELSEWHERE` if another process has the job.
    """
    before = read_record(job)
    if before.status == "finished":
        return before
    with hold(job.workdir) as free:
        if not free:
            return ELSEWHERE
        before = read_record(job)  # it may have ended meanwhile
        failed = before.status == "failed" and before.ended >= started
        return before if failed or before.status == "finished" else _run(job, before)


def _run(job: Job, before: Record) -> Record:
    """Runs a job that no other process has, and that is not finished."""
    # If the process is killed, this record says that the job is not finished.
    spent = 0.0 if before.status == "pending" else before.seconds
    write_record(job, Record("interrupted", spent))
    output = job.workdir / "output.txt"
    begun, status, reason, notice = time.monotonic(), "interrupted", "", ""
    try:
        with (
            output.open("a", encoding="utf-8", errors="backslashreplace") as file,
            contextlib.redirect_stdout(file),
        ):
            MODES[job.mode].run(job.config, job.workdir)
            if job.mode == "pretrain":
                method = load_method(job.config)
                folder = job.workdir / "pretrain"
                notice = pretrain.describe_collapse(job.config, method, folder)
        status = "finished"
    except InputError as error:
        status, reason = "failed", str(error)
    except Exception as error:  # out of memory, for one
        status = "failed"
        reason = explain(error) or f"{type(error).__name__}: {error}"
        with output.open("a", encoding="utf-8", errors="backslashreplace") as file:
            traceback.print_exc(file=file)
    finally:
        record = Record(
            status=status,
            seconds=round(spent + time.monotonic() - begun, 1),
            reason=" ".join(reason.split()),
            notice=notice,
            ended=time.time(),
            hardware=f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        )
        write_record(job, record)
        jax.clear_caches()  # no other job can use these programs
    return record
