"""The runs that a report is about: found in workdirs, and read."""

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pix2rep_jax.errors import InputError
from pix2rep_jax.evaluation.gain import measure_gain
from pix2rep_jax.evaluation.paired_bootstrap import Difference
from pix2rep_jax.evaluation.patient_dice import FOREGROUND, read_dice
from pix2rep_jax.runs.checkpoint_steps import check_steps, has_checkpoint, newest_step
from pix2rep_jax.runs.data_checks import is_scored_alike
from pix2rep_jax.runs.dependencies import changed_settings
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runs.metric_log import Series, read_metrics
from pix2rep_jax.runs.run_record import RunRecord, read_run
from pix2rep_jax.runs.start import SCRATCH, SEGMENTERS, find_pretraining

__all__ = [
    "ReportedRun",
    "find_baseline",
    "find_gain",
    "find_reported",
    "find_start",
    "other_settings",
]


class ReportedRun(NamedTuple):
    """A run with all that a report says of it.

    Attributes:
        title: What it is called.
        folder: `<workdir>/<mode>`.
        config: Its whole configuration.
        record: What its run.json holds.
        series: What it has logged.
        patients: Dice by test patient and class; empty where nothing was scored.
        scored_step: The step that was scored; 0 where nothing was.
        newest_step: That of its newest checkpoint; 0 without any.
    """

    title: str
    folder: Path
    config: Mapping[str, Any]
    record: RunRecord
    series: Series
    patients: Mapping[str, Mapping[str, float]]
    scored_step: int = 0
    newest_step: int = 0

    @property
    def key(self) -> tuple[int, int]:
        """The draw of the labelled patients, and the seed."""
        return self.config["data"]["draw"], self.config["seed"]

    @property
    def is_pretrained(self) -> bool:
        """Whether it started from a pretraining, and not from a fine-tuning."""
        origin = self.record.origin
        return origin is not None and Path(origin.run).name != "finetune"


def find_reported(
    workdirs: Sequence[Path],
    *,
    hidden: bool = False,
    skip: Callable[[Path, InputError], None] | None = None,
) -> list[ReportedRun]:
    """Reads the segmentation runs of workdirs, and their baselines beside them.

    Args:
        workdirs: The folders of runs. A fine-tuning from random weights is looked for
            in `<workdir>/scratch` too.
        hidden: Whether workdirs are numbered, and not named.
        skip: Is given the folder of a run that cannot be read, and why. Only the first
            run of all must be readable. None raises for each.

    Returns:
        Fine-tuning before probing. Several workdirs are told apart in the titles.

    Raises:
        InputError: If a run cannot be read.
    """
    found: list[ReportedRun] = []
    shown = _short_names(workdirs)
    for number, workdir in enumerate(workdirs, start=1):
        called = f"run {number}" if hidden else shown[number - 1]
        places = [workdir] if workdir.name in SEGMENTERS else []
        places += [workdir / mode for mode in SEGMENTERS]
        places.insert(1, workdir / SCRATCH / "finetune")
        for folder in places:
            if (folder / "config.json").is_file():
                try:
                    run = read_reported(folder)
                except InputError as error:
                    if skip is None or not found:
                        raise
                    skip(folder, error)
                    continue
                several = f", {called}" if len(workdirs) > 1 else ""
                found.append(run._replace(title=run.title + several))
    return found


def _short_names(workdirs: Sequence[Path]) -> list[str]:
    """Names workdirs by as few parts of their paths as tell them apart."""
    parts = [Path(os.path.abspath(each)).parts for each in workdirs]
    for length in range(1, max(map(len, parts), default=1)):
        if len({own[-length:] for own in parts}) == len(set(parts)):
            break
    return [str(Path(*own[-length:])) for own in parts]


def read_reported(folder: Path) -> ReportedRun:
    """Reads a run of any mode that trains.

    Raises:
        InputError: If it cannot be read, or holds another run's checkpoints.
    """
    config, record = read_config(folder), read_run(folder)
    check_steps(folder, record.num_steps)
    title = "random weights"
    if record.origin is not None:
        goes_on = Path(record.origin.run).name == "finetune"
        title = "continued" if goes_on else "pretrained"
    title = {"probe": "linear probe", "pretrain": "pretraining"}.get(folder.name, title)
    log, table = folder / "metrics.jsonl", folder / "per_volume.csv"
    series = read_metrics(log) if log.is_file() else {}
    patients = read_dice(table) if table.is_file() else {}
    scored_step = 0
    if patients:
        try:
            content = (folder / "evaluation.json").read_text(encoding="utf-8")
            found = json.loads(content)
            scored_step = int(found.get("scored_step", found.get("best_step", 0)))
        except (OSError, ValueError, AttributeError, TypeError):
            scored_step = 0  # the scores themselves stand in the table
    newest = newest_step(folder) if has_checkpoint(folder) else 0
    return ReportedRun(
        title, folder, config, record, series, patients, scored_step, newest
    )


def find_start(workdirs: Sequence[Path], main: ReportedRun | None) -> Path | None:
    """Finds the pretraining that a report shows; None if there is none to be found.

    Args:
        workdirs: The folders of runs.
        main: The run that the report is about, which knows what it started from.
    """
    origin = None if main is None else main.record.origin
    while origin is not None and (Path(origin.run) / "config.json").is_file():
        named = Path(origin.run)
        if named.name == "pretrain":
            return named
        origin = read_run(named).origin
    for workdir in workdirs:
        try:
            return find_pretraining(workdir)
        except InputError:
            continue
    return None


def find_baseline(main: ReportedRun, runs: Sequence[ReportedRun]) -> ReportedRun | None:
    """Finds the run from random weights that a pretrained one is compared with.

    It has the same labelled and test patients. Of several the most alike is taken: one
    with scores, then with the fewest other settings, then of the same seed.
    """

    def unlike(run: ReportedRun) -> tuple[bool, int, bool]:
        return not run.patients, len(other_settings(main, run)), run.key != main.key

    found = [
        run
        for run in runs
        if main.is_pretrained
        and not run.is_pretrained
        and run.folder.name == main.folder.name
        and run.record.split.labeled_patients == main.record.split.labeled_patients
        and is_scored_alike(run.record.split, main.record.split)
    ]
    return min(found, key=unlike, default=None)


def find_gain(
    main: ReportedRun,
    baseline: ReportedRun,
    runs: Sequence[ReportedRun],
    *,
    name: str = FOREGROUND,
) -> Difference | None:
    """Measures what pretraining gains, over all draws and seeds that both arms have.

    Args:
        main: A pretrained run.
        baseline: From `find_baseline`.
        runs: All runs. Those count that are like one of the two in all but draw, seed
            and start.
        name: The class or the mean that is compared.
    """
    arms: list[dict[tuple[int, int], Mapping[str, Mapping[str, float]]]] = []
    for first in (main, baseline):
        arm: dict[tuple[int, int], Mapping[str, Mapping[str, float]]] = {}
        for run in (first, *runs):
            if (
                run.is_pretrained == first.is_pretrained
                and run.folder.name == first.folder.name
                and not other_settings(first, run)
                and is_scored_alike(run.record.split, first.record.split)
            ):
                arm.setdefault(run.key, run.patients)
        arms.append(arm)
    return measure_gain(*arms, name=name)


def other_settings(one: ReportedRun, other: ReportedRun) -> list[str]:
    """Lists settings of two runs that differ, besides draw, seed and start."""
    changed = changed_settings(one.config, other.config, one.folder.name)
    kept = [each.config["segmentation"]["keep"] for each in (one, other)]
    changed += [f"segmentation.keep: {' -> '.join(kept)}"] * (kept[0] != kept[1])
    passed = ("data.draw", "seed", "init.", "model.scratch_num_features")
    return [x for x in changed if not x.startswith(passed)]


def duration(run: ReportedRun) -> str:
    """Says about how long a run took, by the speed that it logged; "" if unknown."""
    speeds = sorted(x for x in run.series.get("steps_per_second", ([], []))[1] if x > 0)
    if not speeds:
        return ""
    seconds = run.record.num_steps / speeds[len(speeds) // 2]
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{math.ceil(seconds)} s"
