"""The table of docs/results/four-sets.md: four data sets, four ways to a segmenter.

`python -m tests.support.four_sets` writes it into the page.
"""

from statistics import fmean, stdev

from benchmarks.csv_file import put_table, read_rows
from tests.support.before_after import DRAWS, LABELED, lead, results_of
from tests.support.published import RESULTS

PAGE = RESULTS.parent / "docs" / "results" / "four-sets.md"
PLAIN = RESULTS / "plain_unet.csv"
SETS = {
    "ACDC": "study_cpu_3",
    "Hippocampus": "hippocampus_small",
    "FetalHead": "fetal_head_small",
    "phantom": "phantom_small",
}
"""Each data set, and the name of its file of runs."""

METHODS = {
    "plain U-Net": "plain_unet",
    "from scratch": "baseline",
    "pretrained": "proposed",
    "linear probe": "proposed_probe",
}
"""Each row's title, and its name in the file."""

MINUTES = {
    "plain U-Net": "4.8",
    "from scratch": "4.8",
    "pretrained": "11 + 4.8",
    "linear probe": "11 + 0.5",
}
"""What a run takes one idle core, that of the pretraining first."""

MARK = "<!-- four sets -->\n"
"""Stands above and below the table in the page."""


def runs_of(title, method):
    """The finished runs of one method on one data set."""
    if method == "plain_unet":
        return [row for row in read_rows(PLAIN) if row["set"] == title]
    rows = read_rows(RESULTS / f"{SETS[title]}.csv")
    return [
        row for row in rows if row["method"] == method and row["status"] == "finished"
    ]


def cell(runs, column, *, scale):
    """The mean over the draws, ± their standard deviation."""
    values = [scale * float(row[column]) for row in runs if row[column]]
    if not values:
        return "–"
    spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    few = f" ({len(values)} draws)" if len(values) < DRAWS else ""
    return f"{fmean(values):.1f}{spread}{few}"


def table():
    """Foreground Dice in % and HD95 in mm, and the paired lead of pretraining."""
    titles = [f"{n}, {what}" for n in LABELED for what in ("Dice", "HD95")]
    lines = [
        f"| labelled patients | | {' | '.join(titles)} | minutes |",
        "|---" * (3 + len(titles)) + "|",
    ]
    for name, file in SETS.items():
        for title, method in METHODS.items():
            if not (runs := runs_of(name, method)):
                continue
            cells = []
            for number in LABELED:
                own = [row for row in runs if row["num_labeled"] == str(number)]
                cells += [
                    cell(own, "dice_mean_foreground", scale=100.0),
                    cell(own, "hd95_mm_mean_foreground", scale=1.0),
                ]
            lines.append(
                f"| {name} | {title} | {' | '.join(cells)} | {MINUTES[title]} |"
            )
        if (path := RESULTS / f"{file}.csv").exists():
            leads = [lead(results_of(path), number) for number in LABELED]
            cells = " | | ".join(leads)
            lines.append(f"| {name} | pretrained - from scratch | {cells} | | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    put_table(PAGE, MARK, table())
