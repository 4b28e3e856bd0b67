"""What the trial of rates publishes."""

import json

import pytest

from benchmarks import rates
from benchmarks.csv_file import read_rows, read_table


def test_the_last_steps_scores_are_listed(tmp_path):
    place = tmp_path / "ACDC-1-0-tenth" / "finetune"
    place.mkdir(parents=True)
    scores = {"dice": {"mean_foreground": 0.7}, "hd95_mm": {"mean_foreground": 9.0}}
    (place / "evaluation.json").write_text(json.dumps(scores))
    (line,) = rates.list_scores(tmp_path)
    assert rates.Trial(*(line[x] for x in rates.Trial._fields)) == (
        rates.Trial("ACDC", "1", "0", "tenth")
    )
    assert float(line["dice"]) == 0.7 and float(line["hd95_mm"]) == 9.0


def test_a_mean_needs_every_column():
    lines = [
        {"set": name, "num_labeled": "1", "draw": "0", "setting": x, "dice": dice}
        for name, x, dice in (
            ("ACDC", "scratch", "0.5"),
            ("FetalHead", "scratch", "0.7"),
            ("ACDC", "tenth", "0.6"),
        )
    ]
    rows = [line.split("|")[1:-1] for line in rates.table(lines).splitlines()[2:]]
    assert [[cell.strip() for cell in row] for row in rows] == [
        [rates.SETTINGS["scratch"][0], "50.0", "70.0", "60.0"],
        [rates.SETTINGS["tenth"][0], "60.0", "", ""],
    ]


def test_the_page_shows_the_published_scores():
    if not rates.TABLE.exists():
        pytest.skip("no trial of rates is published yet")
    shown = read_table(rates.PAGE, rates.MARK)
    assert shown == rates.table(read_rows(rates.TABLE))
