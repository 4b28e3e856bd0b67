"""Tables and differences of a study, against cases by hand and loops."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pix2rep_jax.evaluation.paired_bootstrap import (
    bootstrap_interval,
    paired_difference,
)
from pix2rep_jax.study.jobs import Cell
from pix2rep_jax.study.report.paper_numbers import LABELED, TABLE_1, TABLE_3, TABLE_4
from pix2rep_jax.study.report.results import Result
from pix2rep_jax.study.report.tables import method_table, rank_marks


def result(method, num_labeled, draw, dice=None, status="finished"):
    job = SimpleNamespace(workdir=Path("/x"), mode="finetune")
    scores = {} if dice is None else {"dice_mean": dice}
    cell = Cell(method, num_labeled, draw, 0, job)
    return Result(cell, status, seconds=1.0, scores=scores)


ROWS = {
    "a": {"title": "Baseline (U-Net)", "group": "Supervised", "table": 1},
    "b": {"title": "SimCLR pretraining", "group": "Pretrained", "table": 1},
    "c": {"title": "Proposed", "group": "Pretrained", "table": 1},
}
RESULTS = [
    *(result("a", 1, k, x) for k, x in enumerate((0.5, 0.6))),
    *(result("b", 1, k, x) for k, x in enumerate((0.70, 0.72))),
    *(result("c", 1, k, x) for k, x in enumerate((0.8, 0.8))),
    *(result("a", 5, k, x) for k, x in enumerate((0.9, 0.9))),
    result("b", 5, 0, 0.95),
    result("b", 5, 1, status="failed"),
    *(result("c", 5, k, status="failed") for k in range(2)),
]


def test_table_is_laid_out_as_the_papers():
    """Groups, methods down, patients across; mean ± deviation, marks, the paper's."""
    lines = method_table(
        RESULTS, ROWS, "dice_mean", labeled=(1, 5, 80), runs=2, show_paper=True
    )
    assert lines == [
        "| Method, labelled patients: | 1 | 5 | 80 |",
        "|---|---|---|---|",
        "| *Supervised* | | | |",
        "| Baseline (U-Net) | 55.0 ± 7.1 (53.5) | 90.0 ± 0.0 (79.2) | not run |",
        "| *Pretrained* | | | |",
        "| SimCLR pretraining | <u>71.0 ± 1.4</u> (63.3) "
        "| 95.0 [1 of 2 runs] (85.0) | not run |",
        "| Proposed | **80.0 ± 0.0** (84.7) | failed (90.2) | not run |",
    ]


def test_table_of_another_data_set_has_none_of_the_papers_numbers():
    """They are of ACDC; distances are lowest where they are best."""
    lines = method_table(
        RESULTS, ROWS, "dice_mean", labeled=(1,), runs=2, higher_is_better=False
    )
    assert lines[3] == "| Baseline (U-Net) | **55.0 ± 7.1** |"
    assert lines[5] == "| SimCLR pretraining | <u>71.0 ± 1.4</u> |"


def test_finished_cells_without_a_score_are_not_taken_for_open_ones():
    """Where a structure was found in no volume, there is no distance."""
    lines = method_table([result("a", 1, 0)], ROWS, "hd95", labeled=(1, 5), runs=1)
    assert lines[3] == "| Baseline (U-Net) | none | not run |"


def test_equal_numbers_are_marked_alike():
    """What is printed equal is equal; one number alone is no best."""
    marks = rank_marks(
        {"a": "80.0", "b": "80.0", "c": "79.9", "d": "9.0"}, higher_is_better=True
    )
    assert marks == {"a": "**{}**", "b": "**{}**", "c": "<u>{}</u>"}
    assert rank_marks({"a": "80.0"}, higher_is_better=True) == {}
    assert rank_marks({"a": "9.9", "b": "10.0"}, higher_is_better=True)["b"] == "**{}**"


def test_the_papers_tables_have_a_number_a_column():
    """And more labelled patients never score much less, as a slip of copying would."""
    for table in (TABLE_1, TABLE_3, TABLE_4):
        for numbers in table.values():
            assert len(numbers) == len(LABELED)
            assert all(np.diff(numbers) > -0.1)


def test_bootstrap_equals_a_loop():
    """Drawing the patients one sample after the other gives the same interval."""
    values = np.random.default_rng(1).normal(size=7)
    drawn = np.random.default_rng(3).integers(0, 7, (200, 7))
    means = sorted(sum(values[i] for i in sample) / 7 for sample in drawn)
    options = {"confidence": 0.9, "resamples": 200, "seed": 3}
    low, high = bootstrap_interval(values[:, None], **options)
    # Linear between order statistics, by hand: 0.05 and 0.95 of 199 gaps.
    for got, place in ((low, 0.05 * 199), (high, 0.95 * 199)):
        below, part = int(place), place % 1
        wanted = means[below] * (1 - part) + means[below + 1] * part
        assert got == pytest.approx(wanted)


def test_bootstrap_covers_the_mean_as_often_as_it_says():
    """For normal data the interval is about ±1.64 standard errors at 90 %."""
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap_interval(values[:, None], confidence=0.9, resamples=4000)
    error = values.std() / np.sqrt(400)
    np.testing.assert_allclose(
        [values.mean() - low, high - values.mean()], 1.645 * error, rtol=0.1
    )


def test_bootstrap_of_patients_and_seeds_holds_both_chances():
    """Where the two add up, so do the variances of what is drawn of each."""
    generator = np.random.default_rng(0)
    patients, seeds = generator.normal(size=(60, 1)), generator.normal(size=(1, 40))
    low, high = bootstrap_interval(patients + seeds, confidence=0.9, resamples=4000)
    error = np.sqrt(patients.var() / 60 + seeds.var() / 40)
    np.testing.assert_allclose((high - low) / 2, 1.645 * error, rtol=0.1)


def test_several_seeds_are_averaged_each_over_its_own_draws():
    """However many draws of a seed are there, and whichever test patients lead."""
    theirs = {(0, 5): {"p": 0.5}, (1, 5): {"p": 0.5}, (0, 6): {"p": 0.5}}
    ours = {(0, 5): {"p": 0.6}, (1, 5): {"p": 0.8}, (0, 6): {"p": 0.4}}
    got = paired_difference(ours, theirs, confidence=0.95, resamples=500)
    np.testing.assert_allclose(got.by_seed, (0.2, -0.1))
    np.testing.assert_allclose(got[:3], (0.05, -0.1, 0.2))
    assert got.num_runs == 3 and got.num_patients == 1


def test_differences_pair_patients_and_draws():
    """Only what both have; a constant lead has no width, however patients differ."""
    theirs = {0: {"p": 0.1, "q": 0.9, "r": 0.5}, 1: {"p": 0.3, "q": 0.7}, 2: {"p": 0.2}}
    theirs = {(draw, 0): own for draw, own in theirs.items()}
    ours = {
        k: {p: x + 0.05 for p, x in theirs[k].items()} for k in list(theirs) if k[0] < 2
    }
    got = paired_difference(ours, theirs, confidence=0.95, resamples=100)
    assert got.num_runs == 2 and got.num_patients == 2
    np.testing.assert_allclose(got[:3], 0.05)
    np.testing.assert_allclose(got.by_seed, [0.05])
    ours[1, 0]["q"] += 0.4
    got = paired_difference(ours, theirs, confidence=0.95, resamples=100)
    # p leads by 0.05, q by (0.05 + 0.45) / 2.
    np.testing.assert_allclose(got[:3], [0.15, 0.05, 0.25])
    assert paired_difference(ours, {}, confidence=0.95, resamples=10) is None
    other = {(0, 0): {"x": 1.0}}
    assert paired_difference(other, theirs, confidence=0.9, resamples=9) is None
