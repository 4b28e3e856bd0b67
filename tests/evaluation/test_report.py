import csv
import dataclasses
import json

import numpy as np
import pytest

from pix2rep_jax.evaluation import report
from pix2rep_jax.evaluation.volume_score import VolumeScore, display_order

CLASSES = ("BG", "RV", "MYO", "LV")
NAMES = ["LV", "RV", "MYO", "BG", "mean", "mean_foreground"]


def score(volume_id, resolution, dice):
    patient, phase = volume_id.split("_")
    return VolumeScore(volume_id, patient, phase, "DCM", resolution, np.array(dice))


SCORES = [
    score("patient001_ED", "native", [0.9, 0.3, 0.4, 0.5]),
    score("patient001_ED", "network", [0.8, 0.3, 0.4, 0.5]),
    score("patient001_ES", "native", [1.0, np.nan, 0.6, 0.7]),
    score("patient001_ES", "network", [0.8, np.nan, 0.4, 0.5]),
]


def test_evaluation_json_has_the_layout_of_the_contract(tmp_path):
    """Native stands at the top, network nested, with the paper's names and order."""
    report.write_evaluation(
        tmp_path, SCORES, classes=CLASSES, details={"mode": "probe", "num_labeled": 5}
    )
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert list(content["dice"]) == NAMES
    assert content["dice"] == pytest.approx(
        {
            "LV": 0.6,
            "RV": 0.3,
            "MYO": 0.5,
            "BG": 0.95,
            "mean": (0.6 + 0.3 + 0.5 + 0.95) / 4,
            "mean_foreground": (0.6 + 0.3 + 0.5) / 3,
        },
        abs=1e-6,
    )
    assert content["dice_std"]["LV"] == pytest.approx(0.1)
    assert content["resolution"] == "native"
    assert content["num_volumes"] == 2
    assert content["uses_ground_truth"] is False
    assert content["mode"] == "probe"
    assert content["network"]["resolution"] == "network"
    assert content["network"]["dice"]["BG"] == pytest.approx(0.8)
    assert list(content["network"]["dice_std"]) == NAMES
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "evaluation.json",
        "per_volume.csv",
    ]


def test_evaluation_json_holds_null_for_what_no_volume_has(tmp_path):
    """NaN is no JSON: a structure nobody drew is null, and the rest is averaged."""
    lone = [score("a_ED", "native", [1.0, np.nan, 0.5, 0.5])]
    text = report.write_evaluation(tmp_path, lone, classes=CLASSES)
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["dice"]["RV"] is None
    assert content["dice"]["mean_foreground"] == 0.5
    assert "network" not in content
    assert "3D Dice of 1 volume," in text


def test_per_volume_csv_is_read_back_equal(tmp_path):
    """One line a volume and resolution with its ids; an absent class is empty."""
    report.write_evaluation(tmp_path, SCORES, classes=CLASSES)
    with open(tmp_path / "per_volume.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == [
        "volume_id",
        "patient",
        "phase",
        "group",
        "resolution",
        *(f"dice_{name}" for name in NAMES),
    ]
    assert [(r["volume_id"], r["resolution"]) for r in lines] == [
        (s.volume_id, s.resolution) for s in SCORES
    ]
    assert lines[2]["patient"] == "patient001"
    assert lines[2]["phase"] == "ES"
    assert lines[2]["group"] == "DCM"
    assert lines[2]["dice_RV"] == ""
    assert float(lines[2]["dice_mean_foreground"]) == pytest.approx(0.65)
    for line, expected in zip(lines, SCORES, strict=True):
        for index, name in enumerate(CLASSES):
            value = float(line[f"dice_{name}"] or "nan")
            np.testing.assert_allclose(value, expected.dice[index], atol=1e-6)


def test_table_shows_mean_and_deviation_of_each_structure():
    """The table is the paper's: LV, RV, MYO, BG, both means, both resolutions."""
    lines = report.table(SCORES, classes=CLASSES).splitlines()
    assert lines[0] == ("3D Dice of 2 volumes, mean ± standard deviation over volumes")
    assert lines[2].split() == [
        *["resolution", "LV", "RV", "MYO", "BG", "mean", "mean", "foreground"]
    ]
    cells = lines[4].split("  ")
    assert cells[0].strip() == "native"
    assert "0.600 ± 0.100" in cells
    assert "0.950 ± 0.050" in cells
    assert lines[5].startswith("network")
    starts = [lines[i].find(" ± ") for i in (4, 5)]
    assert starts[0] == starts[1], "columns line up"


def test_table_marks_the_protocol_that_sees_the_ground_truth(tmp_path):
    """Numbers of data.crop=mask_box never appear without saying what they used."""
    text = report.write_evaluation(
        tmp_path, SCORES, classes=CLASSES, uses_ground_truth=True
    )
    assert "ground truth" in text
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["uses_ground_truth"] is True
    honest = report.write_evaluation(tmp_path, SCORES, classes=CLASSES)
    assert "ground truth" not in honest


def test_display_order_keeps_other_structures_in_the_order_of_the_config():
    """Names the paper does not have come in their own order, background last."""
    assert display_order(("none", "liver", "LV", "spleen")) == [
        *["LV", "liver", "spleen", "none"]
    ]


def test_evaluation_without_scores_is_an_error():
    """An empty test set is not a result."""
    with pytest.raises(ValueError, match="no score"):
        report.evaluation([], classes=CLASSES)


def measured(volume_id, dice, hd95):
    base = score(volume_id, "native", dice)
    hd95 = np.array(hd95)
    return dataclasses.replace(base, hd95_mm=hd95, assd_mm=hd95 / 2)


NAN = float("nan")
MEASURED = [
    measured("a_ED", [1, 0.8, 0.8, 0.8], [NAN, 4, 2, 6]),
    measured("a_ES", [1, 0.0, 0.8, 0.8], [NAN, NAN, 4, 8]),  # RV missed or invented
    measured("b_ED", [1, NAN, 0.8, 0.0], [NAN, NAN, 6, NAN]),  # no RV at all
]


def test_distances_stand_beside_dice_and_say_what_they_leave_out(tmp_path):
    """A structure that one or both lack is out of the mean, and counted."""
    text = report.write_evaluation(tmp_path, MEASURED, classes=CLASSES)
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["hd95_mm"] == {"LV": 7, "RV": 4, "MYO": 4, "mean_foreground": 5}
    assert content["assd_mm"]["LV"] == 3.5
    assert content["hd95_mm_std"]["LV"] == 1
    assert content["distances_left_out"] == {
        "LV": {"in_one_only": 1, "in_neither": 0},
        "RV": {"in_one_only": 1, "in_neither": 1},
        "MYO": {"in_one_only": 0, "in_neither": 0},
    }
    rows = {x.split("  ")[0]: x.split()[-4:] for x in text.splitlines()[6:]}
    assert rows["in one only"][-3:] == ["1", "1", "0"]
    assert rows["in neither"][-3:] == ["0", "1", "0"]
    assert "7.00 ± 1.00" in text and "3.50 ± 0.50" in text


def test_distances_of_each_volume_are_in_the_csv(tmp_path):
    """Empty where not defined, and in lines of a resolution that has none."""
    report.write_evaluation(tmp_path, [*MEASURED, SCORES[1]], classes=CLASSES)
    with open(tmp_path / "per_volume.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["hd95_mm_RV"] for line in lines] == ["4.000000", "", "", ""]
    assert float(lines[1]["hd95_mm_mean_foreground"]) == 6
    assert float(lines[1]["assd_mm_MYO"]) == 2
    assert "hd95_mm_BG" not in lines[0]
    assert lines[3]["dice_LV"] and not lines[3]["assd_mm_LV"]


def test_soft_dice_stands_in_its_own_resolution(tmp_path):
    """It has the layout of Dice, and is not among the native numbers."""
    soft = dataclasses.replace(SCORES[1], soft_dice=np.array([0.9, 0.2, 0.3, 0.4]))
    report.write_evaluation(tmp_path, [SCORES[0], soft], classes=CLASSES)
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert "soft_dice" not in content
    assert content["network"]["soft_dice"]["mean_foreground"] == pytest.approx(0.3)
