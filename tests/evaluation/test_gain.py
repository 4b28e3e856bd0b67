"""Dice of patients with intervals, and what one network gains over another."""

import json
import math

import numpy as np
import pytest

from pix2rep_jax.errors import InputError
from pix2rep_jax.evaluation.gain import LEAST_PATIENTS, describe_gain, measure_gain
from pix2rep_jax.evaluation.paired_bootstrap import Difference
from pix2rep_jax.evaluation.patient_dice import mean_dice, read_dice

TABLE = """volume_id,patient,phase,group,resolution,dice_LV,dice_BG,dice_mean_foreground
a_ED,a,ED,NOR,native,0.8,1.0,0.8
a_ED,a,ED,NOR,network,0.1,0.1,0.1
a_ES,a,ES,NOR,native,0.6,1.0,0.6
b_ED,b,ED,DCM,native,,1.0,
"""


def test_a_patient_has_the_mean_of_its_volumes(tmp_path):
    """On the scans' own grids; a class that no volume has is NaN."""
    (tmp_path / "per_volume.csv").write_text(TABLE)
    found = read_dice(tmp_path / "per_volume.csv")
    assert list(found) == ["a", "b"]
    assert found["a"] == pytest.approx({"LV": 0.7, "BG": 1.0, "mean_foreground": 0.7})
    assert math.isnan(found["b"]["LV"]) and found["b"]["BG"] == 1.0
    assert mean_dice(found, "LV") == pytest.approx((0.7, 0.7, 0.7))
    assert math.isnan(mean_dice({}, "LV").mean)


def test_a_table_that_is_not_one_is_said(tmp_path):
    """By its path."""
    for text in ("patient\na\n", TABLE.replace("0.6,1.0", "x,1.0")):
        (tmp_path / "per_volume.csv").write_text(text)
        with pytest.raises(InputError, match=r"per_volume\.csv"):
            read_dice(tmp_path / "per_volume.csv")


def test_a_table_that_lost_a_line_is_said(tmp_path):
    """Its means are then not those of evaluation.json."""
    (tmp_path / "per_volume.csv").write_text(TABLE)
    means = {"LV": 0.7, "BG": 1.0, "mean_foreground": 0.7, "never": None}
    (tmp_path / "evaluation.json").write_text(json.dumps({"dice": means}))
    assert list(read_dice(tmp_path / "per_volume.csv")) == ["a", "b"]
    lines = TABLE.splitlines(keepends=True)
    (tmp_path / "per_volume.csv").write_text("".join(lines[:3] + lines[4:]))
    with pytest.raises(InputError, match=r"evaluation\.json"):
        read_dice(tmp_path / "per_volume.csv")


def test_the_gain_is_that_of_the_plain_formula():
    """Its interval is the bootstrap of the patients' differences, in NumPy's terms."""
    draw = np.random.default_rng(0)
    ours = draw.uniform(0.6, 0.9, 12)
    theirs = ours - draw.normal(0.03, 0.02, 12)
    both = [
        {(0, 0): {str(i): {"mean_foreground": x} for i, x in enumerate(each)}}
        for each in (ours, theirs)
    ]
    both[1][0, 0]["4"]["mean_foreground"] = math.nan  # so neither counts
    gain = measure_gain(*both)
    differences = np.delete(ours - theirs, 4)
    assert gain.num_patients == 11
    assert gain.mean == pytest.approx(differences.mean())
    drawn = np.random.default_rng(7).integers(0, 11, (20_000, 11))
    ends = np.quantile(differences[drawn].mean(1), [0.025, 0.975])
    assert (gain.low, gain.high) == pytest.approx(ends, abs=1e-3)


@pytest.mark.parametrize(
    ("numbers", "said", "not_said"),
    [
        ((0.031, 0.004, 0.056, 20), ("gains 3.1", "0.4 to 5.6"), "No difference"),
        ((-0.031, -0.056, -0.004, 20), ("costs 3.1", "0.4 to 5.6"), "gains"),
        ((0.012, -0.008, 0.031, 20), ("No difference", "-0.8 to 3.1"), "gains"),
        (
            (0.031, 0.004, 0.056, LEAST_PATIENTS - 1),
            (f"{LEAST_PATIENTS - 1} test patients", "+3.1"),
            "gains",
        ),
    ],
)
def test_the_sentence_says_no_more_than_the_interval(numbers, said, not_said):
    """A gain is one only if the interval leaves out 0; few patients tell nothing."""
    mean, low, high, patients = numbers
    gain = Difference(mean, low, high, 1, patients, by_seed=(mean,))
    sentence = describe_gain(gain, num_labeled=5)
    assert all(part in sentence for part in (*said, "5 labelled patients"))
    assert not_said not in sentence
