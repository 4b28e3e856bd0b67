"""The pages of docs/results: which version their runs are of, and their figures."""

import csv
import re

import pytest

from benchmarks.csv_file import read_table
from pix2rep_jax.runs.run_record import VERSION
from tests.support import four_sets
from tests.support.before_after import (
    BEFORE,
    MARK,
    PAGE,
    before_and_after,
    section,
)
from tests.support.published import RESULTS

PAGES = sorted(PAGE.parent.glob("*.md"))


def versions_of(path):
    """Those of the runs; files of another form are of the present one."""
    with path.open(newline="") as file:
        return {line.get("version", str(VERSION)) for line in csv.DictReader(file)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_says_that_its_runs_are_of_an_earlier_version(page):
    """Those of the files that it links to, beside the tables."""
    text = page.read_text(encoding="utf-8")
    linked = re.findall(r"\]\(\.\./\.\./results/(\w+)\.csv\)", text)
    assert linked
    versions = set().union(*(versions_of(RESULTS / f"{x}.csv") for x in linked))
    said = set(re.findall(r"version (\d+)\s+of\s+the\s+program", text))
    assert versions - {str(VERSION)} <= said


def test_the_table_of_two_versions_has_the_means_of_their_files():
    """Against a plain mean over the lines of the file."""
    first, *_, last = before_and_after(after=BEFORE).splitlines()[2:]
    with BEFORE.open(newline="") as file:
        dice = [
            100 * float(line["dice_mean_foreground"])
            for line in csv.DictReader(file)
            if (line["method"], line["num_labeled"], line["seed"])
            == ("baseline", "5", "0")
        ]
    assert len(dice) == 3
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert cells[3] == cells[4] and cells[3].split()[0] == f"{sum(dice) / 3:.1f}"
    assert last.count("+1.8 [+0.9, +3.0]") == 2  # as docs/results/notes.md has it


def test_the_page_has_the_table_of_two_versions():
    """As `python -m tests.support.before_after` writes it."""
    assert read_table(PAGE, MARK) == section()


def test_the_page_of_four_sets_has_their_table():
    """As `python -m tests.support.four_sets` writes it."""
    assert read_table(four_sets.PAGE, four_sets.MARK) == four_sets.table()


def test_the_table_of_four_sets_has_the_means_of_the_files():
    """Against a plain mean over the lines of a file."""
    with (RESULTS / "hippocampus_small.csv").open(newline="") as file:
        dice = [
            100 * float(line["dice_mean_foreground"])
            for line in csv.DictReader(file)
            if (line["method"], line["num_labeled"]) == ("baseline", "5")
        ]
    assert len(dice) == 3
    (row,) = re.findall(
        r"^\| Hippocampus \| from scratch \|.*$", four_sets.table(), re.M
    )
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[4].split()[0] == f"{sum(dice) / 3:.1f}"
