"""How long what is left of a study will take: from finished jobs, or a few steps."""

import contextlib
import io
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from ml_collections import ConfigDict
from tqdm import tqdm

from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.splits import make_split
from pix2rep_jax.errors import InputError, explain_memory
from pix2rep_jax.methods.pretraining import load_method, make_recipe, method_name
from pix2rep_jax.modes import pretrain
from pix2rep_jax.runs.metric_log import read_metrics
from pix2rep_jax.study.fingerprint import fingerprint, sections_of
from pix2rep_jax.study.job_record import read_own_record, read_record
from pix2rep_jax.study.plan import Cell, Job, distinct_jobs
from pix2rep_jax.training.optimizer import count_steps

__all__ = ["Guess", "guess_left", "time_jobs"]

FINISHED, TIMED, NOTHING = "finished runs", "timing a few steps", "nothing yet"
"""Where a guess comes from."""

_STEPS = 4  # timed; the first one compiles


class Guess(NamedTuple):
    """What is left of a job.

    Attributes:
        name: The method; of a pretraining run, the first one that needs it.
        job: The job.
        seconds: About how long it will still take (s).
        source: Where this comes from.
    """

    name: str
    job: Job
    seconds: float
    source: str


def guess_left(
    cells: Sequence[Cell],
    *,
    timer: Callable[[Sequence[tuple[Cell, Job]]], Sequence[float]] | None = None,
) -> list[Guess]:
    """Guesses the time of every job that is not finished and that a cell waits for.

    The best that there is counts: finished jobs of the same method and number of
    patients; of the same method; a timing; finished jobs of the same mode.

    Args:
        cells: From `make_plan`.
        timer: Returns the whole times of jobs, each with a cell that needs it (s), from
            a few of their steps; None does not.

    Returns:
        A guess a job, pretraining runs first.
    """
    known: dict[tuple, list[float]] = {}
    for cell, job in distinct_jobs(cells):
        record = read_record(job)
        if record.status == "finished":
            for likeness in likenesses(cell, job):
                known.setdefault(likeness, []).append(record.seconds)
    open_cells = [x for x in cells if read_record(x.job).status != "finished"]
    open_jobs = [
        (cell, job, record.seconds)
        for cell, job in distinct_jobs(open_cells)
        if (record := read_own_record(job)).status != "finished"
    ]
    strangers = [
        (cell, job)
        for cell, job, _ in open_jobs
        if known.keys().isdisjoint(likenesses(cell, job)[:-1])
    ]
    totals = {}
    if timer is not None and strangers:
        keys = [job.key for _, job in strangers]
        totals = dict(zip(keys, timer(strangers), strict=True))
    guesses = []
    for cell, job, spent in open_jobs:
        times = next((known[x] for x in likenesses(cell, job) if x in known), None)
        if job.key in totals:
            total, source = totals[job.key], TIMED
        else:
            total, source = (fmean(times), FINISHED) if times else (0.0, NOTHING)
        guesses.append(Guess(cell.method, job, max(0.0, total - spent), source))
    return guesses


def likenesses(cell: Cell, job: Job) -> list[tuple]:
    """Names the groups of jobs whose times say something of this one's."""
    if job.mode == "pretrain":
        return [("pretrain", likeness(job)), ("pretrain",)]
    return [
        (job.mode, cell.method, cell.num_labeled),
        (job.mode, cell.method),
        (job.mode,),
    ]


def time_jobs(jobs: Sequence[tuple[Cell, Job]], *, folder: Path) -> list[float]:
    """Times a few steps of jobs, once for all that are alike.

    What a job starts from has to be there in short form, and is timed with it. It says
    on stderr where it stands.

    Args:
        jobs: Each with a cell that needs it.
        folder: For the runs that are timed; nobody needs them afterwards.

    Returns:
        The whole time of each (s); 0 where neither it nor, before it, one that is alike
        could be timed: it will fail in the study too.
    """
    speeds: dict[str, tuple[float, float]] = {}
    failed: dict[str, str] = {}
    samples: dict[str, int] = {}
    kinds = {likeness(each) for pair in jobs for each in chain(*pair)}
    started = time.monotonic()

    def measure(cell: Cell, job: Job) -> tuple[float, float]:
        name = likeness(job)
        if name in speeds:
            return speeds[name]
        if job.key in failed:
            raise InputError(failed[job.key])
        config, start = short_config(job), start_of(cell, job)
        try:
            if start is not None:
                measure(cell, start)
                config.init.checkpoint = str(folder / likeness(start))
            speeds[name] = time_run(job.mode, config, folder / name)
        except Exception as error:  # it will fail in the study too, which goes on
            failed[job.key] = explain_memory(error) or str(error)
            print(f"{job.mode} of {cell.method} failed: {failed[job.key]}")
            raise InputError(failed[job.key]) from error
        left = (time.monotonic() - started) * (len(kinds) / len(speeds) - 1)
        print(
            f"timed {job.mode} of {cell.method}, {len(speeds)} of {len(kinds)}; "
            f"{tqdm.format_interval(left)} left",
            file=sys.stderr,
            flush=True,
        )
        return speeds[name]

    def total(cell: Cell, job: Job) -> float:
        try:
            overhead, seconds_a_step = measure(cell, job)
            return overhead + seconds_a_step * num_steps(job, samples)
        except InputError:
            return 0.0

    return [total(cell, job) for cell, job in jobs]


def start_of(cell: Cell, job: Job) -> Job | None:
    """Finds the pretraining that a job of a cell starts from, if any."""
    return job.start if job.mode == "pretrain" else cell.pretraining


def chain(cell: Cell, job: Job | None) -> list[Job]:
    """Lists a job and those before it that it cannot do without."""
    return [] if job is None else [*chain(cell, start_of(cell, job)), job]


def likeness(job: Job) -> str:
    """Names the speed of a job: any seed, whoever is labelled, wherever it starts."""
    if job.mode == "pretrain":
        origin = likeness(job.start) if job.start else ""
    else:
        origin = str(job.config.init.checkpoint == "none")
    return fingerprint(
        job.config,
        sections=sections_of(job.mode, job.config),
        neutral=(*pretrain.NEUTRAL, "seed", "init.checkpoint"),
        origin=origin,
    )


def short_config(job: Job) -> ConfigDict:
    """A job's configuration for a few steps, each of them logged, scored at the end."""
    config = ConfigDict(job.config.to_dict())
    config[job.mode].num_steps = _STEPS
    own = config.get(method_name(config), {})
    if job.mode == "pretrain" and "num_steps" in own:
        own.num_steps = _STEPS  # it comes before pretrain's
    config.log.metrics_every = 1
    # A validation and its checkpoint after each step would count as part of the next.
    config.log.validate_every = 0
    return config


def time_run(mode: str, config: ConfigDict, workdir: Path) -> tuple[float, float]:
    """Runs a few steps and all around them: seconds besides steps, and a step's."""
    started = time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()):
        import_module(f"pix2rep_jax.modes.{mode}").run(config, workdir)
    total = time.monotonic() - started
    logged = read_metrics(workdir / mode / "metrics.jsonl")
    speed = logged["steps_per_second"][1][-1]
    return total - _STEPS / speed, 1 / speed


def num_steps(job: Job, samples: dict[str, int]) -> int:
    """Counts a job's steps; what its epochs have to go through is kept in `samples`."""
    config, pretrains = job.config, job.mode == "pretrain"
    recipe = make_recipe(config) if pretrains else config[job.mode]
    if not recipe.num_steps and job.key not in samples:
        dataset = load_dataset(config.data)
        split = make_split(dataset, config.data, draw_labeled=not pretrains)
        if pretrains:
            slices = pretrain.list_slices(dataset, split)
            samples[job.key] = len(load_method(config).make_samples(slices)["image"])
        else:
            samples[job.key] = len(split.train_slices)
    return count_steps(recipe, num_samples=samples.get(job.key, 1))
