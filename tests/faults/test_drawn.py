"""The short form of what hypothesis draws; the long form is in tests/faults/long."""

import logging

import pytest

hypothesis = pytest.importorskip("hypothesis", reason="pip install hypothesis")

from benchmarks.csv_file import read_table  # noqa: E402
from pix2rep_jax.cli import program  # noqa: E402
from tests.faults.long import __main__ as long_form  # noqa: E402
from tests.faults.long import commands, drawn, record, scene  # noqa: E402

FEW = {"header": 60, "tree": 25, "words": 40}
"""How many are tried of each kind, the same ones each time."""


@pytest.mark.parametrize("kind", FEW)
def test_whatever_is_drawn_is_right_or_refused(kind, tmp_path):
    """Never a traceback, a hang, or a mask of another shape."""
    drawing, check = drawn.load(kind)
    found = []

    @hypothesis.settings(max_examples=FEW[kind], derandomize=True, **drawn.QUIET)
    @hypothesis.given(drawing)
    def trial(each):
        with drawn.in_time():
            found.append(check(tmp_path, each))

    logging.disable(logging.CRITICAL)  # notes on each of them
    try:
        trial()
    finally:
        logging.disable(logging.NOTSET)
    assert len(found) >= FEW[kind] and 0 < sum(found) < len(found)


def test_the_long_form_knows_every_mode():
    """Each is run in a scene, and 50 kills are shared among them."""
    assert {*scene.MODES} == {*program.MODES} == {*commands.KILLS}
    assert sum(map(sum, commands.KILLS.values())) == 50


def test_the_page_shows_the_results_that_are_published():
    """As `--write` puts them there."""
    if not long_form.FILE.exists():
        pytest.skip("no results of the long form are published yet")
    shown = read_table(long_form.PAGE, long_form.MARK)
    assert shown == record.table(record.read(long_form.FILE))


def test_publishing_keeps_the_kinds_and_draws_that_did_not_run(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(2 * long_form.MARK)
    monkeypatch.setattr(long_form, "FILE", tmp_path / "faults.csv")
    monkeypatch.setattr(long_form, "PAGE", page)
    result = record.Result("kill", "a", same=1)
    others = [result, result._replace(draw=1), result._replace(kind="disk")]
    long_form.publish(others)
    again = result._replace(case="b", sentence=1, same=0)
    long_form.publish([again])
    assert record.read(long_form.FILE) == [*others[1:], again]
    assert read_table(page, long_form.MARK) == record.table([*others[1:], again])


def test_a_summary_counts_the_lines_of_a_file(tmp_path):
    """A line that a killed process has half written does not count."""
    path = tmp_path / "cases.csv"
    record.append(path, record.Result("kill", "a", same=True, seconds=1.234))
    record.append(path, record.Result("kill", "b", failed=True, detail="a\n,b"))
    record.append(path, record.Result("header", "c", tried=250, same=90, sentence=160))
    with open(path, "a") as file:
        file.write("kill,d,1")
    found = record.read(path)
    assert [each.case for each in found] == ["a", "b", "c"]
    assert found[1].detail == "a\n,b"
    _, _, kill, header = record.table(found).splitlines()
    assert "| 2 | 1 | 0 | 1 |" in kill and "| 250 | 90 | 160 | 0 |" in header
    assert record.table([]).count("\n") == 2
