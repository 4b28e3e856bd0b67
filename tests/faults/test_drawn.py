"""The short form of what hypothesis draws; the long form is in tests/faults/long."""

import io
import logging

import pytest

hypothesis = pytest.importorskip("hypothesis", reason="pip install hypothesis")

from tests.faults.long import drawn, record  # noqa: E402

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
    assert io.StringIO(record.table([])).read().count("\n") == 2
