"""--mode study: the paper's tables and its Figure 3, from one resumable command."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

import jax
from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError
from pix2rep_jax.figures.drawing import save
from pix2rep_jax.runs.manifest import check_place
from pix2rep_jax.runs.run_record import VERSION
from pix2rep_jax.runtime.atomic_file import write_whole
from pix2rep_jax.runtime.command_line import next_command
from pix2rep_jax.study.data_identity import (
    check_scans,
    read_scans,
    scan_digests,
    write_scans,
)
from pix2rep_jax.study.jobs import Cell, list_cells
from pix2rep_jax.study.report.dice_by_patients import draw_figure3
from pix2rep_jax.study.report.document import make_document
from pix2rep_jax.study.report.results import Result, read_results
from pix2rep_jax.study.report.run_table import read_kind, read_runs, run_table
from pix2rep_jax.study.runner import run_cells
from pix2rep_jax.wording import count

__all__ = ["run"]


def run(config: ConfigDict, workdir: Path, *, command: Sequence[str] = ()) -> int:
    """Runs what a study lacks, and writes its tables and its figure.

    Args:
        config: A configuration with a section `study`, as in configs/study.py.
        workdir: The run's folder. This mode's part is `<workdir>/study`.
        command: The words of the command line; none from Python.

    Returns:
        The exit status: 1 if a cell failed.

    Raises:
        InputError: If the plan makes no sense, or the folder cannot be written.
        SystemExit: If a signal came, once everything is saved.
    """
    if "study" not in config:
        raise InputError(
            "this configuration has no plan: use --config configs/study.py or "
            "configs/ablation.py, with the size behind a colon"
        )
    if jax.process_count() > 1:
        raise InputError(
            "a study runs in one process, on all devices of one host: start it "
            "without --coordinator"
        )
    folder = Path(workdir) / "study"
    cells = list_cells(config, folder)
    check_kind(folder, config)
    check_place(folder)
    published = read_published(config, cells, folder)
    results = current_results(cells, folder, published)
    scans = {} if config.study.tables_only else check_scans(results, folder)
    if config.study.dry_run:
        print(describe(config, results))
        return 0
    write = write_results if config.study.tables_only else run_all
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_scans(folder, scans)
        results = write(config, cells, folder, published, command=command)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror or error}): free some space "
            "or name another --workdir"
        ) from error
    failed = sum(each.status == "failed" for each in results)
    print((folder / "tables.md").read_text(encoding="utf-8"))
    print(f"the results are in {folder}")
    if failed:
        print(f"{count(failed, 'cell')} failed: the same command tries again")
    return int(failed > 0)


def read_published(
    config: ConfigDict, cells: Sequence[Cell], folder: Path
) -> dict[str, Result]:
    """Reads the finished runs that `study.records` names, by the key of their job.

    Runs of another version or of other settings count in the tables alone.

    Raises:
        InputError: If it has no run of the plan, or if a study cannot go on from them.
    """
    study, own = config.study, folder / "study.csv"
    kind = read_kind(own)
    is_old = study.tables_only and kind is not None and kind[1] != VERSION
    path = study.records or (own if is_old else "")
    if not path:
        return {}
    published = read_runs(path, cells)
    if not study.tables_only:
        if other := {x.version for x in published.values()} - {VERSION}:
            raise InputError(
                f"study.records={path} has runs of version {min(other)}, and this "
                f"program is version {VERSION}: add --config.study.tables_only=True "
                "for their tables, or leave --config.study.records out to run them anew"
            )
        published = {key: x for key, x in published.items() if x.keys is None}
    if not published:
        raise InputError(
            f"study.records={path} has no run of this plan: use the configuration and "
            "the overrides that its runs had (results/README.md)"
        )
    print(f"study: {count(len(published), 'finished run')} came from {path}")
    return published


def current_results(
    cells: Sequence[Cell], folder: Path, published: Mapping[str, Result]
) -> list[Result]:
    """Reads what is known of all cells now."""
    scans = scan_digests(read_scans(folder))
    return read_results(cells, published=published, scans=scans)


def run_all(
    config: ConfigDict,
    cells: Sequence[Cell],
    folder: Path,
    published: Mapping[str, Result],
    *,
    command: Sequence[str],
) -> list[Result]:
    """Runs the cells that are not published; writes the results however it ends."""
    left = [cell for cell in cells if cell.job.key not in published]
    try:
        for cell in run_cells(left):
            results = current_results(cells, folder, published)
            write_table(config, results, folder)
            print(progress_line(config, results, cell), flush=True)
    except KeyboardInterrupt:
        print("study: stopped; the same command goes on from there", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        results = write_results(config, cells, folder, published, command=command)
    return results


def check_kind(folder: Path, config: ConfigDict) -> None:
    """Raises InputError where the folder has results of another protocol or version."""
    if (found := read_kind(folder / "study.csv")) is None:
        return
    crop, version = found
    if crop != config.data.crop:
        raise InputError(
            f"the study in {folder} was made with data.crop={crop}, and this one has "
            f"{config.data.crop}: name another --workdir"
        )
    if version != VERSION and not config.study.tables_only:
        raise InputError(
            f"the study in {folder} has runs of version {version}, and this program "
            f"is version {VERSION}: name another --workdir, or add "
            "--config.study.tables_only=True for its tables"
        )


def describe(config: ConfigDict, results: Sequence[Result]) -> str:
    """Lists what a study will run, what is finished, and about how long it takes."""
    study = config.study
    runs = {x.cell.pretraining.key for x in results if x.cell.pretraining}
    lines = [
        f"methods {len(study.methods)} x numbers of labelled patients "
        f"{len(study.labeled)} x draws {study.draws} x seeds {study.seeds} = "
        f"{count(len(results), 'cell')}, from {count(len(runs), 'pretrained network')}",
        "",
    ]
    for method in study.methods:
        states = [each.status for each in results if each.cell.method == method]
        parts = [f"{study.rows[method].title}: {count(len(states), 'cell')}"]
        for status in ("finished", "failed", "interrupted"):
            if status in states:
                parts.append(f"{states.count(status)} {status}")
        lines.append(", ".join(parts))
    return "\n".join([*lines, "", time_left(results)])


def time_left(results: Sequence[Result]) -> str:
    """Guesses from the finished runs how long a study will still take."""
    known: dict[tuple, list[float]] = {}
    open_cells = [each for each in results if each.status != "finished"]
    for each in results:
        if each.status == "finished":
            for group in speed_groups(each):
                known.setdefault(group, []).append(each.seconds)
    guesses = [
        next((fmean(known[x]) for x in speed_groups(each) if x in known), None)
        for each in open_cells
    ]
    seconds = sum(guess for guess in guesses if guess is not None)
    left = count(len(open_cells), "cell")
    text = f"{left} left, about {_time(seconds)} from finished runs"
    unknown = guesses.count(None)
    return text + (f", without {unknown} of unknown length" if unknown else "")


def speed_groups(result: Result) -> Iterable[tuple]:
    """Lists the groups of runs that take about as long as this one, closest first."""
    cell = result.cell
    return (cell.method, cell.num_labeled), (cell.method,), (cell.job.mode,)


def progress_line(config: ConfigDict, results: Sequence[Result], cell: Cell) -> str:
    """Says what has just ended, and where the study stands."""
    states = [each.status for each in results]
    (last, *_) = (each for each in results if each.cell is cell)
    line = (
        f"study: {config.study.rows[cell.method].title}, {cell.num_labeled} labelled, "
        f"draw {cell.draw}, seed {cell.seed} {last.status} after {_time(last.seconds)}"
    )
    line += f" ({last.reason})" if last.reason else ""
    line += f"; {states.count('finished')} of {len(states)} cells finished"
    failed = states.count("failed")
    return line + (f", {failed} failed; " if failed else "; ") + time_left(results)


def write_results(
    config: ConfigDict,
    cells: Sequence[Cell],
    folder: Path,
    published: Mapping[str, Result],
    *,
    command: Sequence[str],
) -> list[Result]:
    """Writes study.csv, tables.md and figure3 from what there is."""
    results = current_results(cells, folder, published)
    write_table(config, results, folder)
    document = make_document(config, results, command=own_command(command))
    write_whole(folder / "tables.md", document)
    if any(x.scores and x.cell.method in config.study.figure3 for x in results):
        save(draw_figure3(config, results), folder / "figure3")
    return results


def write_table(config: ConfigDict, results: Sequence[Result], folder: Path) -> None:
    """Writes study.csv."""
    titles = {name: config.study.rows[name].title for name in config.study.methods}
    write_whole(folder / "study.csv", run_table(results, titles=titles))


def own_command(command: Sequence[str]) -> str:
    """Returns the command that runs this study; empty if it was called from Python."""
    if not command:
        return ""
    looks = ("config.study.tables_only", "config.study.dry_run")
    words = [word for word in command if not word.lstrip("-").startswith(looks)]
    return next_command(words, mode="study")


def _time(seconds: float) -> str:
    """Prints a time as people say it: 41 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
