"""The files in results/: the published tables and figure come from them alone."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pix2rep_jax.study import command
from pix2rep_jax.study.data_identity import check_scans
from pix2rep_jax.study.jobs import list_cells
from pix2rep_jax.study.report.dice_by_patients import draw_figure3
from pix2rep_jax.study.report.document import make_document, total_seconds
from pix2rep_jax.study.report.results import count_backbones, read_results
from pix2rep_jax.study.report.run_table import read_runs, run_table
from tests.support.program import ROOT, launch, succeed
from tests.support.published import (
    RESULTS,
    TABLES,
    numbers_of,
    published_config,
    published_results,
)

TABLES_FILE = Path(__file__).with_name("published_tables.txt")
"""Every number of the published tables, one line per row, as of their first print."""


def as_printed(name):
    """The rows and the wall time (h:mm:ss) of a study as they were published."""
    parts = TABLES_FILE.read_text(encoding="utf-8").split("# ")[1:]
    (own,) = (part for part in parts if part.split()[0] == name)
    heading, *rows = own.splitlines()
    return rows, heading.split()[1]


@pytest.mark.parametrize("name", TABLES)
def test_the_published_tables_are_drawn_from_their_csv(name):
    """Every number: means, deviations, the paper's, intervals, runs, wall time."""
    config, results = published_results(name)
    document = make_document(config, results)
    rows, time = as_printed(name)
    assert len(rows) > 10 and numbers_of(document) == rows
    assert time in document


@pytest.mark.parametrize("name", sorted({file for file, *_ in TABLES.values()}))
def test_every_published_run_is_a_cell_of_its_plan(name):
    """Whatever its configuration has become since: the place in the plan counts."""
    config = published_config(name)
    if name == "study_cpu":
        config.study.seeds = 2
    cells = list_cells(config, Path("/nowhere"))
    published = read_runs(config.study.records, cells)
    text = (RESULTS / f"{name}.csv").read_text(encoding="utf-8")
    assert len(published) == len(text.splitlines()) - 1
    assert all(len(each.patients) == 20 for each in published.values())
    # Reading and writing lose nothing.
    results = [x for x in read_results(cells, published=published) if x.scores]
    titles = {key: row.title for key, row in config.study.rows.items()}
    assert run_table(results, titles=titles) == text


def test_the_step_that_was_scored_is_the_one_that_the_command_keeps():
    """The last of every run, or of some an earlier one."""
    for name in TABLES:
        config, results = published_results(name)
        found = [x for x in results if x.scored_step]  # nothing trains in context
        modes = {x.cell.job.mode for x in found} if config.variant == "small" else ()
        for mode in modes:
            own = [x for x in found if x.cell.job.mode == mode]
            last = [
                int(x.scored_step) == x.cell.job.config[mode].num_steps for x in own
            ]
            assert all(last) == (config.segmentation.keep == "last"), (name, mode)


def test_files_with_the_earlier_name_of_the_step_are_read(tmp_path):
    """It was called "best_step", also where the last step was scored."""
    text = (RESULTS / "wide_small.csv").read_text(encoding="utf-8")
    earlier = text.replace(",scored_step,", ",best_step,", 1)
    assert earlier != text
    (tmp_path / "study.csv").write_text(earlier, encoding="utf-8")
    cells = list_cells(published_config("wide_small"), Path("/nowhere"))
    expected = read_runs(RESULTS / "wide_small.csv", cells)
    assert read_runs(tmp_path / "study.csv", cells) == expected


def test_the_figure_is_drawn_from_the_csv():
    """Both averages, and the paper's numbers in the first."""
    config, results = published_results("study_paper")
    config.study.figure3 = config.study.methods
    first, second = draw_figure3(config, results).axes
    labels = first.get_legend_handles_labels()[1]
    assert len(labels) == 6 and len(second.get_legend_handles_labels()[1]) == 3


def test_runs_of_two_pretrainings_are_told_apart():
    """Some rows of the study at `small` have runs on a GPU and on CPU cores."""
    _, results = published_results("study_small")
    counts = count_backbones(results)
    assert counts["proposed"] == 1 and counts["v2_mean_teacher"] == 3
    assert total_seconds(results) == pytest.approx(13 * 3600 + 32 * 60 + 48, abs=1)


def test_the_tables_of_published_runs_can_be_written_anew(tmp_path, capsys):
    """In a folder that holds nothing; a larger plan lacks some of them."""
    config = published_config("study_paper")
    config.study.tables_only = True
    assert command.run(config, tmp_path) == 0
    again = (tmp_path / "study" / "study.csv").read_text(encoding="utf-8")
    own = [line for line in again.splitlines() if ",finished," in line]
    published = (RESULTS / "study_paper.csv").read_text(encoding="utf-8")
    assert own == published.splitlines()[1:]
    # What a study writes can be read in turn.
    config.study.records = str(tmp_path / "study" / "study.csv")
    assert command.run(config, tmp_path / "copy") == 0
    capsys.readouterr()
    config.study.draws = 4
    command.run(config, tmp_path / "copy")
    assert "14 of 24 cells" in capsys.readouterr().out


def published_commands():
    """The commands of results/README.md, as words."""
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    assert 'S="python main.py' in script
    script = script.replace('S="python', 'S="echo python')
    words = ["bash", "-c", script]
    echoed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return [line.split() for line in echoed.splitlines()]


def test_the_commands_that_draw_published_tables_run(tmp_path):
    """Each file has one. The quickest is run as it is typed."""
    commands = published_commands()
    files = {file for file, *_ in TABLES.values()}
    named = {
        Path(word.partition("=")[2]).stem
        for words in commands
        for word in words
        if word.startswith("--config.study.records=")
    }
    assert named == files
    for words in commands:  # as the tables are drawn
        (file,) = [x for x in words if x.startswith("--config.study.records=")]
        config = published_config(Path(file.partition("=")[2]).stem)
        is_best = "--config.segmentation.keep=best" in words
        assert is_best == (config.segmentation.keep == "best")
    (words,) = [each for each in commands if each[-1] == "runs/constant"]
    words = [sys.executable, str(ROOT / "main.py"), *words[2:-1], str(tmp_path)]
    succeed(launch(words))
    assert (tmp_path / "study" / "tables.md").is_file()


@pytest.mark.slow
@pytest.mark.acdc
@pytest.mark.parametrize("name", ["study_small", "study_cpu", "ablation_small"])
def test_the_published_runs_are_of_acdc(name, acdc_root, cache):
    """Whoever goes on from them has the same scans, or is told that they differ."""
    config = published_config(name)
    config.data.update({"root": str(acdc_root), "cache_dir": str(cache)})
    config.study.draws = 4
    cells = list_cells(config, Path("/nowhere"))
    published = read_runs(config.study.records, cells)
    results = read_results(cells, published=published)
    assert check_scans(results, Path("/nowhere")).keys() == {cells[0].job.data_key}
