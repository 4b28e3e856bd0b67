"""Which runs a study needs: one pretraining for all cells that can share it."""

import difflib
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from pix2rep_jax.data.named_split import check_labeled
from pix2rep_jax.errors import InputError, check_choice
from pix2rep_jax.modes.settings import check_settings
from pix2rep_jax.runtime.config_checks import (
    above_zero,
    all_of,
    anything,
    between,
    check_values,
    share,
    walk,
    whole_numbers,
    words,
)
from pix2rep_jax.study.job_key import job_key
from pix2rep_jax.wording import count

__all__ = ["Cell", "Job", "distinct_jobs", "list_cells", "stages"]

COUNT = all_of(whole_numbers, above_zero)

SETTINGS = {
    "methods": words,
    "figure3": words,
    "labeled": COUNT,
    "draws": all_of(COUNT, between(1, 1000, "each is a run of every row")),
    "seeds": all_of(COUNT, between(1, 1000, "each is a run of every row")),
    "reference": anything,
    "confidence": all_of(above_zero, share),
    "resamples": all_of(COUNT, between(1, 1e6, "more change no digit that is shown")),
    "records": anything,
    "dry_run": anything,
    "tables_only": anything,
}
"""The section `study`, besides its rows."""

MODES = ("probe", "finetune", "context")
"""What can follow a pretraining."""


class Job(NamedTuple):
    """One run of one mode.

    Attributes:
        mode: "pretrain", "probe" or "finetune".
        config: The resolved configuration, with which a user can run the mode alone.
        key: Hash of the settings that its numbers depend on.
        data_key: Hash of the settings that its slices depend on.
        workdir: Its folder. The mode's own part is `<workdir>/<mode>`.
        start: The pretraining that it starts from, if any.
    """

    mode: str
    config: ConfigDict
    key: str
    data_key: str
    workdir: Path
    start: "Job | None" = None


class Cell(NamedTuple):
    """One method with one number of labelled patients, few-shot draw and seed.

    Attributes:
        method: Its name in `study.rows`.
        num_labeled: Labelled patients.
        draw: Number of the few-shot draw.
        seed: Seed of the run and of its pretraining.
        job: The run that is scored.
    """

    method: str
    num_labeled: int
    draw: int
    seed: int
    job: Job

    @property
    def pretraining(self) -> Job | None:
        """The pretraining that the run starts from, if any."""
        return self.job.start


def list_cells(config: ConfigDict, folder: Path) -> list[Cell]:
    """Lists the cells of a study, seed by seed, in the order of its methods.

    Equal jobs have one key and one folder, whichever method or study needs them.

    Args:
        config: A configuration with a section `study`, as in configs/study.py.
        folder: The study's folder.

    Raises:
        InputError: If the study names something that does not exist, or makes no sense.
    """
    study = config.study.to_dict()
    check_study(study)
    base = {name: part for name, part in config.to_dict().items() if name != "study"}
    if base["init"]["checkpoint"]:
        raise InputError(
            "init.checkpoint is set for a whole study, whose rows pretrain themselves: "
            "set it in the downstream part of the row that it belongs to"
        )
    cells, place = [], {"folder": folder, "home": base["data"]["root"]}
    seeds = range(base["seed"], base["seed"] + study["seeds"])
    for seed, method in itertools.product(seeds, study["methods"]):
        where, row = f"study.rows.{method}", study["rows"][method]
        shared = merged({**base, "seed": seed}, row["shared"], where=f"{where}.shared")
        origin = merged(shared, row["pretraining"], where=f"{where}.pretraining")
        target = merged(shared, row["downstream"], where=f"{where}.downstream")
        check_row(where, origin, target, crop=base["data"]["crop"], seed=seed)
        check_named(target["data"], study)
        pretraining = None
        if not target["init"]["checkpoint"]:
            pretraining = make_job("pretrain", origin, **place)
            if row["then"]:
                second = merged(origin, row["then"], where=f"{where}.then")
                pretraining = make_job("pretrain", second, start=pretraining, **place)
        drawn = itertools.product(study["labeled"], range(study["draws"]))
        for num_labeled, draw in drawn:
            data = {"data": {"num_labeled": num_labeled, "draw": draw}}
            settings = merged(target, data, where="study")
            job = make_job(row["mode"], settings, start=pretraining, **place)
            cells.append(Cell(method, num_labeled, draw, seed, job))
    return cells


def make_job(
    mode: str,
    settings: Mapping[str, Any],
    *,
    start: Job | None = None,
    folder: Path,
    home: str,
) -> Job:
    """Describes a run. Labels do not count in the key of a pretraining.

    Args:
        mode: As in `Job`.
        settings: The whole configuration, but for the pretraining to start from.
        start: That pretraining, if it is of this study.
        folder: The study's folder.
        home: As for `job_key`.
    """
    check_settings(settings)
    origin = settings["init"]["checkpoint"]
    if start is not None:
        origin, checkpoint = start.key, {"init": {"checkpoint": str(start.workdir)}}
        settings = merged(settings, checkpoint, where="study")
    elif mode == "pretrain" and origin == "none":
        origin = ""
    key = job_key(settings, mode=mode, home=home, origin=origin)
    data_key = job_key(settings, mode="data", home=home)
    data, workdir = settings["data"], folder / "pretraining" / key
    if mode != "pretrain":
        name = f"{mode}-{data['num_labeled']}-{data['draw']}-{key}"
        workdir = folder / "cells" / name
    return Job(mode, ConfigDict(settings), key, data_key, workdir, start)


def distinct_jobs(cells: Iterable[Cell]) -> list[Job]:
    """Lists every job once, each after those that it starts from."""
    jobs = [job for cell in cells for job in stages(cell.job)]
    return list({job.workdir: job for job in jobs}.values())


def stages(job: Job | None) -> list[Job]:
    """Lists a job after those that it starts from."""
    return [] if job is None else [*stages(job.start), job]


def merged(
    base: Mapping[str, Any], overrides: Mapping[str, Any], *, where: str
) -> dict[str, Any]:
    """Sets some values of a nested dictionary, without changing it.

    Args:
        base: All settings.
        overrides: Some of them, nested in the same way.
        where: The part of the configuration that sets them, for the message.

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


def check_row(
    where: str,
    origin: Mapping[str, Any],
    target: Mapping[str, Any],
    *,
    crop: str,
    seed: int,
) -> None:
    """Raises InputError where a row sets what is one for the whole study."""
    if {origin["data"]["crop"], target["data"]["crop"]} != {crop}:
        raise InputError(
            f"{where} sets data.crop, and one table cannot hold scores with and "
            "without the test labels in the input: set --config.data.crop for all "
            "rows, with a --workdir of its own"
        )
    if {origin["seed"], target["seed"]} != {seed}:
        raise InputError(
            f"{where} sets seed, which study.seeds counts from the configuration's "
            "own: set --config.seed for all rows"
        )


def check_named(data: Mapping[str, Any], study: Mapping[str, Any]) -> None:
    """Raises InputError where a study draws patients who are named already.

    A named split and a list of names leave nothing to draw, so further draws would
    count the same patients twice.
    """
    if data["split"] == "auto" and not data["labeled"]:
        return
    if study["draws"] != 1:
        raise InputError(
            f"study.draws is {study['draws']}, but data.split or data.labeled names "
            "the labelled patients: set --config.study.draws=1, and for more runs "
            "raise --config.study.seeds"
        )
    wanted = len(data["labeled"])
    if wanted and tuple(study["labeled"]) != (wanted,):
        shown = ",".join(map(str, study["labeled"]))
        raise InputError(
            f"study.labeled is {shown}, but data.labeled names "
            f"{count(wanted, 'patient')}: set --config.study.labeled={wanted},"
        )
    for number in () if wanted else study["labeled"]:
        check_labeled(data["split"], number)


def check_study(study: Mapping[str, Any]) -> None:
    """Raises InputError where a value makes no sense, or names what is not there."""
    rows, checks = study["rows"], {f"study.{x}": y for x, y in SETTINGS.items()}
    check_values({f"study.{name}": study[name] for name in SETTINGS}, checks)
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
        if not len(set(study[setting])) == len(study[setting]) > 0:
            raise InputError(
                f"study.{setting}={study[setting]} names none, or one twice: name at "
                "least one, and each once"
            )
    for name in study["methods"]:
        check_choice(f"study.rows.{name}.mode", rows[name]["mode"], MODES)


def _merged(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces leaves of a nested dictionary. Every level is a new dictionary."""
    return {
        name: _merged(value, overrides.get(name, {}))
        if isinstance(value, Mapping)
        else overrides.get(name, value)
        for name, value in base.items()
    }
