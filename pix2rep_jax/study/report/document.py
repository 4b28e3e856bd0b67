"""tables.md: what a study found, in the order of the paper's tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict
from tqdm import tqdm

from pix2rep_jax.evaluation.report import GROUND_TRUTH_NOTE
from pix2rep_jax.evaluation.volume_score import DISTANCES, display_order
from pix2rep_jax.methods.downstream.mean_teacher import NETWORKS
from pix2rep_jax.study.job_record import read_record
from pix2rep_jax.study.plan import distinct_jobs
from pix2rep_jax.study.report.difference_table import difference_table
from pix2rep_jax.study.report.results import (
    RELEASED,
    Result,
    count_backbones,
    read_test_patients,
    score_columns,
)
from pix2rep_jax.study.report.tables import method_table

__all__ = ["make_document"]

HEADINGS = {
    1: "Table 1: comparison with the state of the art",
    2: "Table 2: ablation",
    3: "Table 3: Pix2Rep-v2",
    4: "Table 4: Pix2Rep-v2 and Mean Teacher",
    0: "Beyond the paper",
}
"""By the number of the paper's table, in the order of tables.md."""

STRUCTURE_TABLES = {"LV": 5, "RV": 6, "MYO": 7, "BG": 8}
"""Numbers of the paper's tables of a structure each."""


def make_document(
    config: ConfigDict, results: Sequence[Result], *, command: str = ""
) -> str:
    """Writes up a study in Markdown.

    Args:
        config: The study's.
        results: Of all its cells.
        command: The one that runs it, if it was started by one.

    Returns:
        Tables 1 to 4 in both averages, a table a structure, distances, differences
        from the reference method, and what is missing. All numbers are of one
        protocol, which is named.
    """
    study = config.study.to_dict()
    rows = {name: study["rows"][name] for name in study["methods"]}
    columns = score_columns(config.data.classes, crop=config.data.crop)
    sizes = {"labeled": study["labeled"], "runs": study["draws"] * study["seeds"]}
    show_paper = config.data.name == "acdc"
    num_patients = len(read_test_patients([each.cell for each in results]))
    lines = opening(config, results, num_patients=num_patients)
    if command:
        lines += ["", "Run, or gone on with, by:", "", f"    {command}"]
    for table, heading in HEADINGS.items():
        own = {name: row for name, row in rows.items() if row["table"] == table}
        if not own:
            continue
        lines += ["", f"## {heading}"]
        for name, title in (
            ("mean", "Dice (%), mean of the four structures, as the paper averages"),
            ("mean_foreground", "Dice (%), mean of the foreground structures"),
        ):
            paper = show_paper and name == "mean"
            lines += ["", f"{title}:", ""]
            lines += method_table(
                results, own, columns[name], show_paper=paper, **sizes
            )
    for name in display_order(config.data.classes):
        number = STRUCTURE_TABLES.get(name)
        heading = f"Table {number}: {name}" if number else name
        lines += ["", f"## {heading}, Dice (%)", ""]
        lines += method_table(results, rows, columns[name], **sizes)
    lines += other_networks(results, rows, columns["mean_foreground"], sizes)
    if config.data.crop != RELEASED:
        lines += distance_tables(results, rows, sizes)
    if len(rows) > 1 and config.study.reference in rows:
        column = columns["mean_foreground"]
        lines += difference_table(
            config, results, column=column, num_patients=num_patients
        )
    return "\n".join([*lines, *missing_lines(results, rows)]) + "\n"


def opening(
    config: ConfigDict, results: Sequence[Result], *, num_patients: int
) -> list[str]:
    """What was compared, on what, by which protocol, and how to read it."""
    finished = sum(each.status == "finished" for each in results)
    if config.data.crop == RELEASED:
        protocol = (
            "the released code's: slices cropped to the box of the expert's mask, soft "
            f"Dice at {config.data.size} x {config.data.size}. {GROUND_TRUTH_NOTE}"
        )
    else:
        protocol = (
            "centre crop, hard 3D Dice a volume on the scan's own grid (nothing of a "
            "test label is used)."
        )
    brackets = (
        " The paper's own numbers stand in brackets (those of a structure each were "
        "not at hand); they are of its protocol, network and split."
        if config.data.name == "acdc"
        else ""
    )
    return [
        "# Results of the study",
        "",
        f"Data: `{config.data.name}`, size `{config.variant}`, {finished} of "
        f"{len(results)} cells finished. Protocol: {protocol}",
        "",
        "Numbers are means ± standard deviations (of the sample) over "
        f"{averaged_over(config.study)}; the best of a column is **bold**, the second "
        f"<u>underlined</u>, where all runs are there.{brackets} Every run is a line "
        "of study.csv.",
        "",
        f"{scored_on(num_patients)} Of each run the checkpoint with the best Dice on "
        f"its own validation slices is scored. {about_seeds(config)}",
    ]


def averaged_over(study: ConfigDict) -> str:
    """Says what the runs of a cell are."""
    draws = f"{study.draws} few-shot draws"
    return draws if study.seeds == 1 else f"{draws} of {study.seeds} seeds each"


def about_seeds(config: ConfigDict) -> str:
    """Says what the deviations hold of the choice of seeds."""
    if config.study.seeds == 1:
        return (
            f"All runs have seed {config.seed} and all draws of a row one pretraining, "
            "so the deviations are those of the choice of labelled slices, and hold "
            "nothing of the choice of seeds."
        )
    last = config.seed + config.study.seeds - 1
    return (
        f"The runs have the seeds {config.seed} to {last}, and a row has one "
        "pretraining a seed, which all draws of that seed share."
    )


def scored_on(num_patients: int) -> str:
    """Says on how many patients the finished cells were scored, 0 if nobody knows."""
    if not num_patients:
        return "Scored on all volumes of the test patients."
    return f"Scored on all volumes of {num_patients} test patients."


def other_networks(
    results: Sequence[Result],
    rows: Mapping[str, Any],
    column: str,
    sizes: Mapping[str, Any],
) -> list[str]:
    """Tables of those of Mean Teacher's networks that are not the result."""
    lines = []
    for name in NETWORKS:
        having = {x.cell.method for x in results if f"{name}_{column}" in x.scores}
        own = {method: row for method, row in rows.items() if method in having}
        if own:
            lines += [
                "",
                f"## Mean Teacher's {name}",
                "",
                "Dice (%), mean of the foreground structures. The tables above have "
                "the other network, which also chooses the checkpoint.",
                "",
                *method_table(results, own, f"{name}_{column}", **sizes),
            ]
    return lines


def distance_tables(
    results: Sequence[Result], rows: Mapping[str, Any], sizes: Mapping[str, Any]
) -> list[str]:
    """Tables of the mean foreground distances, in mm."""
    lines = []
    for metric, title in DISTANCES.items():
        lines += [
            "",
            f"## {title}, mean of the foreground structures",
            "",
            "Lower is better. Where a structure was missed or invented in a volume, "
            "there is no distance; study.csv counts these cases in distances_left_out, "
            "and runs with more of them look better here than they are.",
            "",
        ]
        lines += method_table(
            results,
            rows,
            f"{metric}_mean_foreground",
            scale=1.0,
            higher_is_better=False,
            **sizes,
        )
    return lines


def missing_lines(results: Sequence[Result], rows: Mapping[str, Any]) -> list[str]:
    """What a reader has to know of the runs, what is missing, and the time of all."""
    lines = []
    for cell, job in distinct_jobs(each.cell for each in results):
        if notice := read_record(job).notice:
            lines.append(f"- {rows[cell.method]['title']}: {notice}")
    for method, number in count_backbones(results).items():
        if number > 1:
            lines.append(
                f"- {rows[method]['title']}: its runs of one seed come from {number} "
                "pretraining runs by the same recipe"
            )
    for each in results:
        if each.status == "failed":
            cell, title = each.cell, rows[each.cell.method]["title"]
            lines.append(
                f"- {title}, {cell.num_labeled} labelled, draw {cell.draw}, seed "
                f"{cell.seed}: failed ({each.reason})"
            )
    if unfinished := sum(x.status in ("pending", "interrupted") for x in results):
        lines.append(f"- {unfinished} cells were not run to their end yet")
    jobs = distinct_jobs(each.cell for each in results)
    time = tqdm.format_interval(sum(read_record(job).seconds for _, job in jobs))
    head = ["", "## Notes", ""] if lines else []
    return [*head, *lines, "", f"Wall time of all runs together: {time}."]
