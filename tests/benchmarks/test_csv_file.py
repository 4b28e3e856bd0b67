"""Tables of results outlive the folders of their runs."""

from benchmarks.csv_file import keep_others, read_rows, write_rows


def test_lines_of_other_runs_stay_and_the_same_run_is_replaced(tmp_path):
    path = tmp_path / "scores.csv"
    write_rows(
        path, [{"set": x, "draw": "0", "dice": "0.5"} for x in ("FetalHead", "ACDC")]
    )
    new = [{"set": "FetalHead", "draw": x, "dice": "0.6"} for x in "10"]
    joined = keep_others(path, new, ("set", "draw"))
    write_rows(path, joined)
    found = [tuple(line.values()) for line in read_rows(path)]
    assert found == [
        ("ACDC", "0", "0.5"),
        ("FetalHead", "0", "0.6"),
        ("FetalHead", "1", "0.6"),
    ]
