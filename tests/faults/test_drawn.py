"""The short form of what hypothesis draws; the long form is in tests/faults/long."""

import logging

import pytest

hypothesis = pytest.importorskip("hypothesis", reason="pip install hypothesis")

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
    _, shown, _ = long_form.PAGE.read_text("utf-8").split(long_form.MARK)
    assert shown.strip() == record.table(record.read(long_form.FILE)).strip()


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
