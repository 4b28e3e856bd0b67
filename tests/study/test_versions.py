"""Runs of another version: never finished runs of this program, and still drawn."""

import csv
import re

import pytest

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.run_record import VERSION
from pix2rep_jax.study import command, job_key
from pix2rep_jax.study.jobs import list_cells
from tests.support.plans import finish_by_hand, plan_config
from tests.support.published import RESULTS, TABLES, published_config


def finished(path):
    with path.open(newline="") as file:
        return [x for x in csv.DictReader(file) if x["status"] == "finished"]


def drawn(config, workdir):
    """The lines of tables.md that name a version, and the rows of its tables."""
    config.study.tables_only = True
    assert command.run(config, workdir) == 0
    text = (workdir / "study" / "tables.md").read_text()
    rows = [x for x in text.splitlines() if x.startswith("|")]
    return re.findall(r"^(\d+) .*version (\d+)", text, flags=re.M), rows


@pytest.fixture
def old(tmp_path):
    """A study.csv of version 2, which had no column of versions: one run of two."""
    config = plan_config("baseline", labeled=(1,), draws=1)
    (cell,) = list_cells(config, tmp_path / "old" / "study")
    finish_by_hand(cell.job)
    drawn(config, tmp_path / "old")
    path = tmp_path / "old" / "study" / "study.csv"
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        assert line.pop("version") == str(VERSION)
        line["key"] = "0123456789ab"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    return path


def test_the_published_runs_are_counted_with_their_version():
    """In the table of results/README.md: every file, its runs, one version a file."""
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| `(\w+)\.csv` \|.*\| (\d+) \| (\d+) \|$", text, re.M)
    assert {name for name, *_ in table} == {file for file, *_ in TABLES.values()}
    files = {path.stem: path.read_text("utf-8") for path in RESULTS.glob("*.csv")}
    studies = {name for name, text in files.items() if ",version," in text}
    assert {name for name, *_ in table} == studies
    assert all(f"`{name}.csv`" in text for name in files)
    for name, number, version in table:
        runs = finished(RESULTS / f"{name}.csv")
        assert len(runs) == int(number)
        assert {x["version"] for x in runs} == {version}


def test_a_key_follows_the_version(monkeypatch):
    """So a cell of an earlier version is another cell, in another folder."""
    config = plan_config("proposed").to_dict()
    before = job_key.job_key(config, mode="finetune", home="")
    monkeypatch.setattr(job_key, "VERSION", VERSION + 1)
    assert job_key.job_key(config, mode="finetune", home="") != before


def test_published_tables_outlive_a_change_of_the_settings(tmp_path):
    """A setting with another value changes every key, and not one row."""
    config = published_config("study_paper")
    said, rows = drawn(config, tmp_path / "a")
    config.data.percentiles = (0.5, 99.5)
    said_later, rows_later = drawn(config, tmp_path / "b")
    assert said == said_later == [("14", "2")]
    assert rows == rows_later


def test_no_study_goes_on_from_runs_of_another_version(tmp_path, old):
    """Neither from a file of them nor in their folder, and their rows stay there."""
    config, before = plan_config("baseline", labeled=(1,), draws=2), old.read_text()
    config.study.records = str(old)
    for dry_run in (False, True):
        config.study.dry_run = dry_run
        with pytest.raises(InputError, match=r"version 2.*tables_only"):
            command.run(config, tmp_path / "new")
    config.study.records = ""
    with pytest.raises(InputError, match=r"version 2.*--workdir"):
        command.run(config, tmp_path / "old")
    assert old.read_text() == before and not (tmp_path / "new").exists()


def test_an_earlier_folder_still_draws_its_tables(tmp_path, old):
    """From its own study.csv, as often as it is asked."""
    config = plan_config("baseline", labeled=(1,), draws=2)
    config.pretrain.temperature = config.finetune.learning_rate = 0.7
    for _ in range(2):
        said, rows = drawn(config, tmp_path / "old")
        assert said == [("1", "2")]
        assert any("[1 of 2 runs]" in row for row in rows)
    assert [x["key"] for x in finished(old)] == ["0123456789ab"]


def test_a_run_of_the_plan_comes_before_one_of_its_place(tmp_path, old):
    """In a file that holds both, such as an old and a new one joined by hand."""
    config = plan_config("baseline", labeled=(1,), draws=1)
    (cell,) = list_cells(config, tmp_path)
    (line,) = finished(old)
    new = line | {"version": VERSION, "key": cell.job.key, "dice_mean": "0.25"}
    for place, lines in enumerate(([line, new], [new, line])):
        path = tmp_path / f"{place}.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, new)
            writer.writeheader()
            writer.writerows(lines)
        config.study.records = str(path)
        said, rows = drawn(config, tmp_path / str(place))
        assert said == [] and any("25.0" in row for row in rows)


def test_runs_of_other_settings_are_told_from_those_of_the_command(tmp_path):
    """Tables may show them, and say so; a study that goes on has none of them."""
    config = plan_config("baseline", labeled=(1,), draws=1)
    (cell,) = list_cells(config, tmp_path / "a" / "study")
    finish_by_hand(cell.job)
    drawn(config, tmp_path / "a")
    config.study.records = str(tmp_path / "a" / "study" / "study.csv")
    config.finetune.num_steps += 1
    drawn(config, tmp_path / "b")
    text = (tmp_path / "b" / "study" / "tables.md").read_text()
    assert "1 of the finished runs had other settings" in text
    config.study.tables_only = False
    with pytest.raises(InputError, match=r"study\.records="):
        command.run(config, tmp_path / "c")
