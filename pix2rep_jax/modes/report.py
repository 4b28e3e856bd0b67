"""--mode report: one HTML page that says whether pretraining has helped."""

import datetime
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

import pix2rep_jax
from pix2rep_jax.data.dataset import Dataset, load_dataset
from pix2rep_jax.errors import InputError
from pix2rep_jax.evaluation.report import GROUND_TRUTH_NOTE, read_foreground_dice
from pix2rep_jax.inference.anonymous_scan import ANONYMOUS_NOTE
from pix2rep_jax.inference.load_networks import load_predict
from pix2rep_jax.inference.pixel_embeddings import load_embedding
from pix2rep_jax.modes.report_names import Names, baseline_command, command_part
from pix2rep_jax.modes.report_numbers import (
    answer_part,
    curve_part,
    dice_part,
    overview,
    patient_part,
    run_part,
)
from pix2rep_jax.modes.report_scans import (
    case_part,
    doubt_part,
    doubt_scans,
    next_part,
    usable_volumes,
)
from pix2rep_jax.modes.reported_runs import (
    ReportedRun,
    find_baseline,
    find_reported,
    find_start,
    read_reported,
)
from pix2rep_jax.page.document import MARK, document, section, text
from pix2rep_jax.runs.manifest import make_folder
from pix2rep_jax.runtime.atomic_file import write_whole

__all__ = ["run"]

_NOTE = (
    "This page holds images of patients, and loads nothing from elsewhere. Give it "
    "only to those who may see the scans."
)

_LOCAL = ("root", "cache_dir", "cache_gb", "device_budget_mb")
"""Settings of the data that belong to this machine."""


def run(
    config: ConfigDict,
    workdir: Path,
    *,
    others: Sequence[Path] = (),
    output: str | Path | None = None,
    overwrite: bool = False,
    anonymise: bool = False,
    command: Sequence[str] = (),
) -> None:
    """Writes a page about the runs of a workdir, and of others beside it.

    A part that lacks something is left out, and the reason is printed.

    Args:
        config: The whole configuration; of `data` only where the scans lie is read.
        workdir: The run's folder. Its fine-tuning is what the page is about.
        others: Further workdirs, which are compared with it.
        output: The file; None is `<workdir>/report/report.html`.
        overwrite: Whether a file is replaced that is not such a page.
        anonymise: Whether numbers stand for the names of patients and folders.
        command: The words of the command line, program first.

    Raises:
        InputError: If there is no run, or the file cannot be written.
    """
    workdirs = [Path(os.path.abspath(each)) for each in (workdir, *others)]
    workdirs = list(dict.fromkeys(workdirs))
    target = Path(workdir) / "report" / "report.html"
    target = target if output is None else Path(output).expanduser()
    check_target(target, overwrite=overwrite)
    unread: list[InputError] = []
    runs = find_reported(
        workdirs, hidden=anonymise, skip=lambda folder, error: unread.append(error)
    )
    main = next((each for each in runs if each.is_pretrained), next(iter(runs), None))
    pretraining = None
    try:
        if (found := find_start(workdirs, main)) is not None:
            pretraining = read_reported(found)
    except InputError as error:
        if main is None:
            raise
        unread.append(error)
    if main is None and pretraining is None:
        raise InputError(
            f"there is nothing to report of in {workdir}: run --mode pretrain and "
            "--mode finetune there first"
        )
    make_folder(target.parent, option="--output")  # before any work
    every = [run for run in (pretraining, *runs) if run is not None]
    patients = [x for run in every for x in _patients(run)]
    names = Names(patients, hidden=anonymise)
    parts = number_parts(main, pretraining, runs, names=names, command=command)
    if main is not None:
        place = 4 if main.patients else 1
        parts[place:place] = scan_parts(config, main, pretraining, runs, names=names)
    parts += [_left_out("A run", error, names) for error in unread]
    today = datetime.date.today().isoformat()
    page = document(
        "Report" if anonymise else f"Report of {workdirs[0].name}",
        f"pix2rep-jax {pix2rep_jax.__version__}, {today}",
        filter(None, parts),
        note=_NOTE,
    )
    write_whole(target, page)
    if anonymise:
        print(ANONYMOUS_NOTE, file=sys.stderr)
    print(f"the report is in {target}")


def number_parts(
    main: ReportedRun | None,
    pretraining: ReportedRun | None,
    runs: Sequence[ReportedRun],
    *,
    names: Names,
    command: Sequence[str],
) -> list[str]:
    """Makes the parts that need no scan; "" for one that has nothing to show."""
    baseline = None if main is None else find_baseline(main, runs)
    tail = [curve_part(pretraining, runs), run_part(pretraining, runs, names=names)]
    tail.append(command_part(pretraining, runs, command, names=names))
    beside = baseline_command(main, command, names=names)
    answer = answer_part(main, baseline, runs, command=beside)
    if main is None:
        return [answer, *tail]
    numbers = [answer, overview(main), dice_part(runs)]
    numbers.append(patient_part(main, baseline, names=names))
    if main.config["data"]["crop"] == "mask_box":
        numbers.insert(1, section("", f"<p>{text(GROUND_TRUTH_NOTE)}</p>"))
    return [*numbers, *tail]


def scan_parts(
    config: ConfigDict,
    main: ReportedRun,
    pretraining: ReportedRun | None,
    runs: Sequence[ReportedRun],
    *,
    names: Names,
) -> list[str]:
    """Makes the parts that show scans; one that lacks something says why."""
    classes, split = tuple(main.config["data"]["classes"]), main.record.split
    try:
        dataset = load_scans(config.data, main)
        ours = load_predict(main.folder)
        scans = usable_volumes(
            dataset,
            [x for x in _patients(main) if x not in split.labeled_patients],
        )
        doubted = doubt_scans(ours, dataset, scans)
    except InputError as error:
        return [_left_out("Scans", error, names)]
    table = main.folder / "per_volume.csv"
    dice = read_foreground_dice(table) if main.patients else {}

    def cases() -> str:
        networks = {main.title: ours}
        baseline = find_baseline(main, runs)
        if baseline is not None and baseline.patients:
            try:
                networks[baseline.title] = load_predict(baseline.folder)
            except InputError as error:  # the other network's cases stay
                _say_left_out(f"pictures of {baseline.title}", error)
        return case_part(networks, dataset, table, classes=classes, names=names)

    def doubtful() -> str:
        return doubt_part(doubted, dataset, dice, classes=classes, names=names)

    def label_next() -> str:
        embed: Any = "there is no pretraining to embed the scans by"
        origin = main.record.origin
        if pretraining is not None:
            embed = load_embedding(pretraining.folder, "features")
        elif origin is not None and origin.weights and Path(origin.run).is_file():
            embed = load_embedding(Path(origin.run), "features")
        return next_part(doubted, embed, dataset, split, classes=classes, names=names)

    made: dict[str, Callable[[], str]] = {"Test scans": cases} if main.patients else {}
    made |= {"Look at these first": doubtful, "Which scan to label next": label_next}
    parts = []
    for title, part in made.items():
        try:
            parts.append(part())
        except InputError as error:
            parts.append(_left_out(title, error, names))
    return parts


def load_scans(data: ConfigDict, main: ReportedRun) -> Dataset:
    """Loads the scans of a run, which may have been moved.

    Args:
        data: The section of the command, which says where they lie.
        main: The run.

    Raises:
        InputError: If the scans cannot be read, or are not those of the run.
    """
    recorded: Mapping[str, Any] = main.config["data"]
    own = ConfigDict(
        {name: tuple(x) if isinstance(x, list) else x for name, x in recorded.items()}
    )
    with own.ignore_type():
        own.update({name: data[name] for name in _LOCAL if name in data})
    dataset = load_dataset(own)
    missing = {*_patients(main)} - {volume.patient for volume in dataset.volumes}
    if missing:
        raise InputError(
            f"{own.root or own.name} does not hold the scans of {min(missing)}, which "
            f"belong to the run in {main.folder}: name their --config.data.root"
        )
    return dataset


def check_target(path: Path, *, overwrite: bool) -> None:
    """Checks that a page may be written, which must not replace another file.

    Raises:
        InputError: If not.
    """
    if path.suffix.lower() not in (".html", ".htm") or path.is_dir():
        raise InputError(
            f"--output {path} is not an HTML file: name one, such as a.html"
        )
    if overwrite or not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        if MARK not in file.read(2000):
            raise InputError(
                f"{path} exists and is not a report: name another --output, or add "
                "--overwrite"
            )


def _patients(run: ReportedRun) -> list[str]:
    """Lists all patients of a run."""
    split = run.record.split
    return [*split.pretrain_patients, *split.test_patients, *split.val_patients]


def _left_out(title: str, error: Exception, names: Names) -> str:
    """Says in a part's place why it is not there; what was said may name a patient."""
    _say_left_out(title, error)
    why = "the program has said why" if names.hidden else str(error)
    return section(title, f'<p class="note">Left out: {text(why)}.</p>')


def _say_left_out(title: str, error: Exception) -> None:
    """Says on the command line what the page lacks."""
    print(f"left out of the report: {title}: {error}", file=sys.stderr)
