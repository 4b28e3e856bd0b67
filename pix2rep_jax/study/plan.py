"""Which runs a study needs: one pretraining for all cells that can share it."""

import difflib
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError, check_choice
from pix2rep_jax.modes import pretrain
from pix2rep_jax.runtime.config_checks import check_settings, walk
from pix2rep_jax.study.fingerprint import fingerprint, sections_of

__all__ = [
    "Cell",
    "Job",
    "backbone_key",
    "distinct_jobs",
    "make_plan",
    "merged",
    "pretrainings",
]

MODES = ("probe", "finetune")
"""What can follow a pretraining."""


class Job(NamedTuple):
    """One run of one mode.

    Attributes:
        mode: "pretrain", "probe" or "finetune".
        config: Resolved; a user can run the mode with it alone.
        key: Fingerprint of what its numbers depend on.
        workdir: Its folder; the mode's own part is `<workdir>/<mode>`.
        start: The pretraining that a pretraining goes on from, if any.
    """

    mode: str
    config: ConfigDict
    key: str
    workdir: Path
    start: "Job | None" = None


class Cell(NamedTuple):
    """A method, trained on so many labelled patients of one few-shot draw.

    Attributes:
        method: Its name in `study.rows`.
        num_labeled: Labelled patients.
        draw: Which few-shot draw.
        seed: Of its run, and of the pretraining it starts from.
        pretraining: The run it starts from, or None.
        job: The run that is scored.
    """

    method: str
    num_labeled: int
    draw: int
    seed: int
    pretraining: Job | None
    job: Job


def make_plan(config: ConfigDict, folder: Path) -> list[Cell]:
    """Lists the cells of a study: of one seed after another, in its methods' order.

    Equal jobs have equal keys and lie in one folder, whichever method or study asks
    for them.

    Args:
        config: A base configuration with a `study` section, as configs/study.py.
        folder: Of the study.

    Raises:
        InputError: If the plan names what does not exist, or makes no sense.
    """
    study = config.study.to_dict()
    check_study(study)
    base = {name: part for name, part in config.to_dict().items() if name != "study"}
    if base["init"]["checkpoint"]:
        raise InputError(
            "init.checkpoint is set for a whole study, whose rows pretrain themselves: "
            "set it in the downstream part of the row that it belongs to"
        )
    cells, home = [], base["data"]["root"]
    seeds = range(base["seed"], base["seed"] + study["seeds"])
    for seed, method in itertools.product(seeds, study["methods"]):
        where, row = f"study.rows.{method}", study["rows"][method]
        seeded = {**base, "seed": seed}
        shared = merged(seeded, row["shared"], where=f"{where}.shared")
        origin = merged(shared, row["pretraining"], where=f"{where}.pretraining")
        target = merged(shared, row["downstream"], where=f"{where}.downstream")
        if {origin["data"]["crop"], target["data"]["crop"]} != {base["data"]["crop"]}:
            raise InputError(
                f"{where} sets data.crop, and scores with and without the test labels "
                "in the input are never in one table: set --config.data.crop for all "
                "rows, with a --workdir of its own"
            )
        if {origin["seed"], target["seed"]} != {seed}:
            raise InputError(
                f"{where} sets seed, which study.seeds counts from the configuration's "
                "own: set --config.seed for all rows"
            )
        pretraining = None
        if not target["init"]["checkpoint"]:
            pretraining = make_pretraining(origin, folder, home=home)
            if row["then"]:
                second = merged(origin, row["then"], where=f"{where}.then")
                pretraining = make_pretraining(
                    second, folder, home=home, start=pretraining
                )
        for num_labeled in study["labeled"]:
            for draw in range(study["draws"]):
                drawn = {"data": {"num_labeled": num_labeled, "draw": draw}}
                settings = _merged(target, drawn)
                job = make_job(row["mode"], settings, pretraining, folder, home=home)
                cells.append(Cell(method, num_labeled, draw, seed, pretraining, job))
    return cells


def make_pretraining(
    settings: Mapping[str, Any], folder: Path, *, home: str, start: Job | None = None
) -> Job:
    """Describes a pretraining run; labels play no part in its key."""
    check_settings(settings)
    if start is not None:
        settings = _merged(settings, {"init": {"checkpoint": str(start.workdir)}})
    named = settings["init"]["checkpoint"]
    outside = "" if named == "none" else named
    key = fingerprint(
        settings,
        sections=sections_of("pretrain", settings),
        neutral=pretrain.NEUTRAL,
        home=home,
        origin=start.key if start else outside,
    )
    workdir = folder / "pretraining" / key
    return Job("pretrain", ConfigDict(settings), key, workdir, start)


def make_job(
    mode: str,
    settings: Mapping[str, Any],
    pretraining: Job | None,
    folder: Path,
    *,
    home: str,
) -> Job:
    """Describes a probing or fine-tuning run."""
    check_settings(settings)
    origin = settings["init"]["checkpoint"]
    if pretraining is not None:
        started = {"init": {"checkpoint": str(pretraining.workdir)}}
        settings, origin = _merged(settings, started), pretraining.key
    # Where the pretraining lies is no part of the key, but what it is.
    key = fingerprint(
        settings,
        sections=sections_of(mode, settings),
        neutral=("init.checkpoint",),
        home=home,
        origin=origin,
    )
    data = settings["data"]
    name = f"{mode}-{data['num_labeled']}-{data['draw']}-{key}"
    return Job(mode, ConfigDict(settings), key, folder / "cells" / name)


def distinct_jobs(cells: Iterable[Cell]) -> list[tuple[Cell, Job]]:
    """Lists every job once with the first cell that needs it, pretraining first."""
    cells = list(cells)
    pairs = [(cell, job) for cell in cells for job in pretrainings(cell.pretraining)]
    pairs += [(cell, cell.job) for cell in cells]
    jobs: dict[Path, tuple[Cell, Job]] = {}
    for cell, job in pairs:
        jobs.setdefault(job.workdir, (cell, job))
    return list(jobs.values())


def pretrainings(job: Job | None) -> list[Job]:
    """Lists a pretraining behind those that it goes on from."""
    return [] if job is None else [*pretrainings(job.start), job]


def backbone_key(cell: Cell) -> str:
    """Names what a frozen backbone's features of a slice depend on."""
    return fingerprint(
        cell.job.config,
        sections=("seed", "data", "model", "init"),
        neutral=(*pretrain.NEUTRAL, "init.checkpoint"),
        origin=cell.pretraining.key if cell.pretraining else str(cell.job.workdir),
    )


def merged(
    base: Mapping[str, Any], overrides: Mapping[str, Any], *, where: str
) -> dict[str, Any]:
    """Sets some values of a nested dictionary, without changing it.

    Args:
        base: All settings.
        overrides: Some of them, nested alike.
        where: Who sets them, for a complaint.

    Raises:
        InputError: If there is no such setting; names the nearest one.
    """
    known = {name for name, _ in walk(base)}
    for name, _ in walk(overrides):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise InputError(
                f"{where} sets {name}, and there is no such setting: did you mean "
                f"{near[0]}?"
            )
    return _merged(base, overrides)


def check_study(study: Mapping[str, Any]) -> None:
    """Raises InputError where a plan names what is not there."""
    rows = study["rows"]
    named = {
        "methods": study["methods"],
        "figure3": study["figure3"],
        "reference": (study["reference"],) if study["reference"] else (),
    }
    for setting, names in named.items():
        for name in names:
            if name not in rows:
                raise InputError(
                    f"study.{setting} names {name!r}, and study.rows has "
                    + ", ".join(rows)
                    + ": correct the name or add the row"
                )
    for setting in ("methods", "labeled"):
        if len(set(study[setting])) < len(study[setting]):
            raise InputError(
                f"study.{setting}={study[setting]} names one twice: name each once"
            )
    for name in study["methods"]:
        check_choice(f"study.rows.{name}.mode", rows[name]["mode"], MODES)
    counts = ("draws", "seeds", "resamples")
    numbers = (*study["labeled"], *(study[name] for name in counts))
    if not 0 < study["confidence"] < 1:
        raise InputError(
            f"study.confidence is {study['confidence']}: it must be between 0 and 1"
        )
    if not (study["methods"] and study["labeled"] and all(x > 0 for x in numbers)):
        raise InputError(
            f"study.methods={study['methods']}, study.labeled={study['labeled']}, "
            + ", ".join(f"study.{name}={study[name]}" for name in counts)
            + ": name one method and one number of patients at least, all above 0"
        )


def _merged(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The dictionary with its leaves replaced; every level is a new one."""
    return {
        name: _merged(value, overrides.get(name, {}))
        if isinstance(value, Mapping)
        else overrides.get(name, value)
        for name, value in base.items()
    }
