"""--mode study: the paper's tables and its Figure 3, from one resumable command."""

import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError
from pix2rep_jax.figures.drawing import save
from pix2rep_jax.runs.manifest import check_place
from pix2rep_jax.runtime.atomic_file import write_whole
from pix2rep_jax.runtime.command_line import next_command
from pix2rep_jax.study.data_identity import check_scans, write_scans
from pix2rep_jax.study.estimate import NOTHING, Guess, guess_left, time_jobs
from pix2rep_jax.study.job_record import read_record
from pix2rep_jax.study.plan import Cell, distinct_jobs, make_plan
from pix2rep_jax.study.report.dice_by_patients import draw_dice
from pix2rep_jax.study.report.document import make_document
from pix2rep_jax.study.report.paper_numbers import LABELED, find_number
from pix2rep_jax.study.report.results import (
    Result,
    read_results,
    score_columns,
    study_csv,
)
from pix2rep_jax.study.report.tables import values_of
from pix2rep_jax.study.runner import run_cells

__all__ = ["run"]


def run(config: ConfigDict, workdir: Path) -> int:
    """Runs what a study lacks, and writes its tables and its figure.

    Args:
        config: With a section `study`, as configs/study.py makes it.
        workdir: The run's folder; this mode's part is `<workdir>/study`.

    Returns:
        The exit status: 1 if a cell failed.

    Raises:
        InputError: If the plan makes no sense, or the folder cannot be written.
        SystemExit: If a signal came, once all is saved.
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
    cells = make_plan(config, folder)
    check_protocol(folder, config.data.crop)
    check_place(folder)
    scans = {} if config.study.tables_only else check_scans(config, cells, folder)
    if config.study.dry_run:
        print(
            f"{len(cells)} cells; a few steps of each kind of run are timed where none "
            "is finished, which takes minutes",
            file=sys.stderr,
        )
        print(describe(config, cells))
        return 0
    write = write_results if config.study.tables_only else run_all
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "protocol", config.data.crop + "\n")
        write_scans(folder, scans)
        results = write(config, cells, folder)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror or error}): free some space "
            "or name another --workdir"
        ) from error
    failed = sum(each.status == "failed" for each in results)
    print((folder / "tables.md").read_text(encoding="utf-8"))
    print(f"the results are in {folder}")
    if failed:
        print(f"{failed} cells failed: the same command tries them again")
    return int(failed > 0)


def run_all(config: ConfigDict, cells: Sequence[Cell], folder: Path) -> list[Result]:
    """Runs the cells, and leaves the results up to date however it ends."""
    try:
        for cell in run_cells(cells):
            write_table(config, read_results(cells), folder)
            print(progress_line(config, cells, cell), flush=True)
    except KeyboardInterrupt:
        print("study: stopped; the same command goes on from there", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        results = write_results(config, cells, folder)
    return results


def check_protocol(folder: Path, crop: str) -> None:
    """Checks that a folder's results are of the same protocol.

    Raises:
        InputError: If they are not: scores with and without the test labels in the
            input are never in one table.
    """
    try:
        theirs = (folder / "protocol").read_text(encoding="utf-8").strip()
    except OSError:
        return
    if theirs and theirs != crop:
        raise InputError(
            f"the study in {folder} was made with data.crop={theirs}, and this one has "
            f"{crop}: name another --workdir"
        )


def describe(config: ConfigDict, cells: Sequence[Cell]) -> str:
    """Says what a study will run, and about how long it takes."""
    study = config.study
    with tempfile.TemporaryDirectory(prefix="pix2rep-study-") as folder:
        guesses = guess_left(cells, timer=partial(time_jobs, folder=Path(folder)))
    runs = [job for _, job in distinct_jobs(cells) if job.mode == "pretrain"]
    lines = [
        f"methods {len(study.methods)} x numbers of labelled patients "
        f"{len(study.labeled)} x draws {study.draws} x seeds {study.seeds} = "
        f"{len(cells)} cells, on {len(runs)} pretraining run(s)",
        "",
    ]
    for guess in guesses:
        if guess.job.mode == "pretrain":
            stage = ", second stage" if guess.job.start else ""
            lines.append(
                f"pretraining for {guess.name}{stage}: {_time(guess.seconds)}, from "
                + guess.source
            )
    for method in study.methods:
        own = [cell for cell in cells if cell.method == method]
        states = [read_record(cell.job).status for cell in own]
        left = [g for g in guesses if g.name == method and g.job.mode != "pretrain"]
        line = f"{study.rows[method].title}: {len(own)} cells"
        for status in ("finished", "failed", "interrupted"):
            if status in states:
                line += f", {states.count(status)} {status}"
        if left:
            sources = " and ".join(dict.fromkeys(guess.source for guess in left))
            line += f"; {_time(sum(g.seconds for g in left))} left, from {sources}"
        lines.append(line)
    return "\n".join([*lines, "", time_left(guesses)])


def time_left(guesses: Sequence[Guess]) -> str:
    """Says how long a study will still take, and what is not counted in it."""
    text = f"about {_time(sum(guess.seconds for guess in guesses))} left"
    unknown = sum(guess.source == NOTHING for guess in guesses)
    return text + (f", and {unknown} runs of unknown length" if unknown else "")


def progress_line(config: ConfigDict, cells: Sequence[Cell], cell: Cell) -> str:
    """Says what has just ended, and where the study stands."""
    states = [read_record(each.job).status for each in cells]
    own = read_record(cell.job)
    line = (
        f"study: {config.study.rows[cell.method].title}, {cell.num_labeled} labelled, "
        f"draw {cell.draw}, seed {cell.seed} {own.status} after {_time(own.seconds)}"
    )
    if own.reason:
        line += f" ({own.reason})"
    done, failed = states.count("finished"), states.count("failed")
    line += f"; {done} of {len(cells)} cells finished"
    line += f", {failed} failed" if failed else ""
    return f"{line}; {time_left(guess_left(cells))} (from finished runs)"


def write_results(
    config: ConfigDict, cells: Sequence[Cell], folder: Path
) -> list[Result]:
    """Writes study.csv, tables.md and figure3 from what there is."""
    results = read_results(cells)
    write_table(config, results, folder)
    document = make_document(config, results, command=own_command(sys.argv))
    write_whole(folder / "tables.md", document)
    if any(
        each.scores and each.cell.method in config.study.figure3 for each in results
    ):
        save(draw_figure3(config, results), folder / "figure3")
    return results


def own_command(argv: Sequence[str]) -> str:
    """The command that runs this study; empty where it was called from Python."""
    if Path(argv[0]).name != "main.py":
        return ""
    looks = ("config.study.tables_only", "config.study.dry_run")
    words = [word for word in argv if not word.lstrip("-").startswith(looks)]
    return next_command(words, mode="study")


def write_table(config: ConfigDict, results: Sequence[Result], folder: Path) -> None:
    """Writes study.csv."""
    titles = {name: config.study.rows[name].title for name in config.study.methods}
    write_whole(folder / "study.csv", study_csv(results, titles=titles))


def draw_figure3(config: ConfigDict, results: Sequence[Result]):
    """Draws the paper's Figure 3 in both averages."""
    columns = score_columns(config.data.classes, crop=config.data.crop)
    chosen = [config.study.rows[name] for name in config.study.figure3]
    panels = {}
    for name, title in (
        ("mean", "mean of the four structures"),
        ("mean_foreground", "mean of the foreground structures"),
    ):
        values = values_of(results, columns[name])
        panels[title] = {
            row.title: {n: own for (who, n), own in values.items() if who == method}
            for method, row in zip(config.study.figure3, chosen, strict=True)
        }
    paper = {}
    if config.data.name == "acdc":
        for row in chosen:
            found = {
                n: find_number(row.table, row.title, num_labeled=n) for n in LABELED
            }
            paper[row.title] = {n: float(text) for n, text in found.items() if text}
    return draw_dice(panels, paper=paper)


def _time(seconds: float) -> str:
    """Prints a time as people say it: 41 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
