"""The checks of single values, and lists of words on a command line."""

import sys

import pytest
from absl import flags
from ml_collections import config_flags

from pix2rep_jax.cli.config_file import split_words
from pix2rep_jax.errors import InputError
from pix2rep_jax.modes.settings import CHECKS
from pix2rep_jax.runtime import config_checks as checks
from tests.support.program import ROOT

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (checks.anything, ["", "a", True, 0, (1, 2), None], [NAN, (1.0, INFINITY)]),
        (checks.above_zero, [1, 0.1, (1, 2)], [0, -1, (1, 0), NAN, INFINITY, "a"]),
        (checks.not_below_zero, [0, 0.1, (0, 2)], [-1, (1, -0.1), INFINITY]),
        (checks.at_least_two, [2, (2, 5), ()], [1, (5, 1)]),
        (checks.share, [0, 0.5, 1], [-0.1, 1.1, NAN]),
        (checks.seed, [0, 2**32 - 1], [-1, 2**32]),
        (checks.whole_numbers, [1, (1, 2), ()], [1.0, (1, 2.0), (True,), "1"]),
        (checks.pair, [(1, 2.0)], [(1,), (1, 2, 3), 1, ("a", "b"), (True, 1)]),
        (checks.ascending, [(1, 2), (1, 1)], [(2, 1)]),
        (checks.choice("a", "b"), ["a", "b"], ["c", ""]),
        (checks.choice("a", 0, 1), ["a", 0, 1], [2, "1", True, False, 1.0, (1,)]),
        (checks.all_of(checks.pair, checks.ascending), [(1, 2)], [1, (2, 1)]),
    ],
)
def test_a_check_says_nothing_of_what_is_right(check, right, wrong):
    """And of everything else what it must be."""
    assert [check(value) for value in right] == [""] * len(right)
    assert all(check(value) for value in wrong)


def test_several_checks_answer_in_their_order():
    """The first that refuses is the one that is told."""
    check = checks.all_of(checks.pair, checks.above_zero, checks.ascending)
    answers = {check((1,)), check((1, 0)), check((2, 1))}
    assert answers == {checks.pair(1), checks.above_zero(0), checks.ascending((2, 1))}


def test_a_value_is_refused_by_its_name():
    """A value that nothing is declared of must be finite."""
    own = {"a.size": checks.above_zero}
    checks.check_values({"a.size": 1, "b.size": 0}, own)
    with pytest.raises(InputError, match=r"^a\.size is 0"):
        checks.check_values({"b.size": 0, "a.size": 0}, own)
    with pytest.raises(InputError, match=r"^b\.size is nan"):
        checks.check_values({"b.size": NAN}, own)


@pytest.mark.filterwarnings("ignore:the load_module")  # of ml_collections
@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("p1", ("p1",)),
        ("p1,p2", ("p1", "p2")),
        ("p1, p2,", ("p1", "p2")),
        ("('p1','p2')", ("p1", "p2")),
        ("()", ()),
        ("101,102", ("101", "102")),
        ("('a, b','c')", ("a, b", "c")),
    ],
)
def test_words_are_written_like_numbers(monkeypatch, written, read):
    """By commas alone, or as a tuple of Python's."""
    argv = ["", "--config", str(ROOT / "configs" / "pix2rep.py")]
    argv += [f"--config.data.exclude={written}", "--config.model.channels=2,4"]
    monkeypatch.setattr(sys, "argv", argv)  # where the parser looks for settings
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", flag_values=values)
    values(argv)
    split_words(holder.value, CHECKS)
    assert holder.value.data.exclude == read
    assert holder.value.model.channels == (2, 4)
    assert holder.value.data.patient_regex == "auto"
