"""Seeded draws of labelled patients, and of the slices that validate."""

import collections
import itertools

import numpy as np
import pytest

from pix2rep_jax.data.few_shot import few_shot, split_slices
from tests.support.patients import (
    GROUPS,
    patient,
    refuse,
)


def balanced(number=40) -> dict[str, str]:
    return {patient(k): GROUPS[k % 5] for k in range(1, number + 1)}


@pytest.mark.parametrize("draw", range(5))
def test_draws_are_nested(draw):
    """More labelled patients are those of fewer and some more."""
    longest = few_shot(balanced(), num_labeled=40, draw=draw)
    assert sorted(longest) == sorted(balanced())
    for number in (1, 2, 5, 7, 10, 39):
        assert few_shot(balanced(), num_labeled=number, draw=draw) == longest[:number]


@pytest.mark.parametrize("sizes", [(8, 8, 8), (2, 9, 5), (1, 1, 20), (6,)])
def test_draws_are_balanced_over_the_groups(sizes):
    """Numbers of two groups differ by one at most until the smaller is used up."""
    groups = {
        f"{name}{k}": name for name, size in enumerate(sizes) for k in range(size)
    }
    for draw, number in itertools.product(range(3), range(1, sum(sizes) + 1)):
        drawn = few_shot(groups, num_labeled=number, draw=draw)
        counts = collections.Counter(groups[each] for each in drawn)
        most = max(counts.values())
        for name, size in enumerate(sizes):
            assert counts[name] >= min(size, most - 1)


def test_draws_depend_on_seed_and_number_alone():
    """Not on the order in which patients are listed; another number is another draw."""
    options = dict(num_labeled=5, draw=2)
    first = few_shot(balanced(), **options)
    backwards = dict(reversed(balanced().items()))
    assert few_shot(backwards, **options) == first
    others = {few_shot(balanced(), num_labeled=5, draw=draw) for draw in range(20)}
    assert len(others) == 20 and first in others
    assert few_shot(balanced(), seed=1, **options) not in others


def test_every_patient_may_be_drawn():
    """One labelled patient of 20 is each of them about as often."""
    counts = collections.Counter(
        few_shot(balanced(20), num_labeled=1, draw=draw)[0] for draw in range(600)
    )
    # Binomial with a mean of 30 and a deviation of 5.3.
    assert len(counts) == 20 and min(counts.values()) > 12
    assert max(counts.values()) < 50


def test_second_of_two_equal_scans_comes_last_of_its_group():
    """A labelled patient more should be a scan more, for as long as there are any."""
    groups = {patient(k): "NOR" if k > 70 else "RV" for k in range(67, 80)}
    normal = [each for each in groups if groups[each] == "NOR"]
    for draw in range(30):
        drawn = few_shot(groups, num_labeled=len(groups), draw=draw)
        own = [each for each in drawn if each in normal]
        assert own[-1] == "patient076"
    drawn = {few_shot(groups, num_labeled=1, draw=draw)[0] for draw in range(300)}
    assert drawn == set(groups) - {"patient076"}
    # Where its twin cannot be drawn, it is a patient like any other.
    del groups["patient074"]
    drawn = {few_shot(groups, num_labeled=1, draw=draw)[0] for draw in range(300)}
    assert drawn == set(groups)


def test_draws_that_cannot_be_made_are_said():
    """Too many patients, none, and a draw below the first."""
    refuse(
        r"data\.num_labeled",
        lambda: few_shot(balanced(), num_labeled=41, draw=0),
    )
    refuse(
        r"data\.num_labeled",
        lambda: few_shot({}, num_labeled=1, draw=0),
    )
    for number, draw in ((0, 0), (-3, 0), (1, -1)):
        refuse(
            r"data\.(num_labeled|draw)",
            lambda number=number, draw=draw: few_shot(
                balanced(), num_labeled=number, draw=draw
            ),
        )


# Slices that train and slices that validate.


@pytest.mark.parametrize("number", [2, 3, 9, 10, 15, 104, 1000])
@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.99])
def test_slices_are_divided_by_the_fraction(number, fraction):
    """Each is on one side, the nearest number validates, and neither side is empty."""
    train, val = split_slices(range(number), val_fraction=fraction)
    np.testing.assert_array_equal(np.sort(np.r_[train, val]), np.arange(number))
    assert (np.diff(train) > 0).all() and (np.diff(val) > 0).all()
    assert len(train) and len(val)
    if 1 < number * fraction < number - 1:
        assert abs(len(val) - number * fraction) <= 0.5


def test_a_tenth_validates_unless_said_otherwise():
    """90 / 10, at random but for the seed."""
    train, val = split_slices(range(200))
    assert (len(train), len(val)) == (180, 20)
    np.testing.assert_array_equal(split_slices(range(200))[1], val)
    others = [split_slices(range(200), seed=seed)[1].tolist() for seed in range(1, 9)]
    others += [split_slices(range(200), seed=(0, draw))[1].tolist() for draw in (0, 1)]
    assert len({tuple(each) for each in others}) == 10
    assert max(val) > 100 > min(val)


@pytest.mark.parametrize("seed", range(10))
def test_equal_slices_stay_together(seed):
    """A slice that is shown twice would be learned and then asked."""
    shown = [f"slice{k % 30}" for k in range(50)]
    train, val = split_slices(shown, val_fraction=0.3, seed=seed)
    assert not {shown[k] for k in train} & {shown[k] for k in val}
    assert len({shown[k] for k in val}) == 9 and len(train) + len(val) == 50


@pytest.mark.parametrize("slices", [["a"], ["a", "a"]])
def test_a_single_picture_trains(slices):
    """A patient with one picture is enough; then nothing is left to validate."""
    train, val = split_slices(slices)
    np.testing.assert_array_equal(train, np.arange(len(slices)))
    assert not len(val)


def test_slices_that_cannot_be_divided_are_said():
    """No slice at all, and fractions that leave one side without any."""
    refuse(r"data\.num_labeled", lambda: split_slices([]))
    for fraction in (0, 1, -0.1, 1.5, float("nan")):
        refuse(
            r"data\.val_fraction",
            lambda fraction=fraction: split_slices(range(9), val_fraction=fraction),
        )
