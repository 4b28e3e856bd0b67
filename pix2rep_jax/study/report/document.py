"""tables.md: what a study found, in the order of the paper's tables."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict
from tqdm import tqdm

from pix2rep_jax.evaluation.report import GROUND_TRUTH_NOTE
from pix2rep_jax.evaluation.volume_score import DISTANCES, display_order
from pix2rep_jax.methods.downstream.teacher import NETWORKS
from pix2rep_jax.runs.run_record import VERSION
from pix2rep_jax.study.jobs import stages
from pix2rep_jax.study.report.difference_table import difference_table
from pix2rep_jax.study.report.results import (
    RELEASED,
    Result,
    count_backbones,
    score_columns,
    test_patients,
)
from pix2rep_jax.study.report.tables import method_table
from pix2rep_jax.wording import count

__all__ = ["make_document"]

HEADINGS = {
    1: "Table 1: comparison with the state of the art",
    2: "Table 2: ablation",
    3: "Table 3: Pix2Rep-v2",
    4: "Table 4: Pix2Rep-v2 and Mean Teacher",
    0: "Beyond the paper",
}
"""Headings by the number of the paper's table, in the order of tables.md."""

STRUCTURE_TABLES = {"LV": 5, "RV": 6, "MYO": 7, "BG": 8}
"""Numbers of the paper's tables of single structures."""

SCORED_AT = {
    "last": "Each run is scored at its last step.",
    "best": "Each run is scored at the checkpoint with the best Dice on its own "
    "validation slices.",
}
"""What `segmentation.keep` means to a reader of the tables."""


def make_document(
    config: ConfigDict, results: Sequence[Result], *, command: str = ""
) -> str:
    """Writes up a study in Markdown.

    Args:
        config: The study's configuration.
        results: Results of all its cells.
        command: The command that runs it, if it was started by one.

    Returns:
        Tables 1 to 4 in both averages, one table per structure, distances, differences
        from the reference method, and what is missing. All numbers follow one
        protocol, which is named.
    """
    study = config.study.to_dict()
    rows = {name: study["rows"][name] for name in study["methods"]}
    columns = score_columns(config.data.classes, crop=config.data.crop)
    sizes = {"labeled": study["labeled"], "runs": study["draws"] * study["seeds"]}
    show_paper = _is_the_papers_data(config)
    num_patients = len(test_patients(results))
    lines = opening(config, results, num_patients=num_patients)
    if command:
        lines += ["", "Command:", "", f"    {command}"]
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
        lines += difference_table(config, results, num_patients=num_patients)
    return "\n".join([*lines, *missing_lines(results, rows)]) + "\n"


def opening(
    config: ConfigDict, results: Sequence[Result], *, num_patients: int
) -> list[str]:
    """Says what was compared on which data by which protocol, and how to read it."""
    finished = sum(each.status == "finished" for each in results)
    if config.data.crop == RELEASED:
        protocol = (
            "that of the released code: one crop per volume, to the box of the "
            "expert's mask and 10 px more; slices without a mask left out; soft Dice "
            f"at {config.data.size} x {config.data.size}. "
            f"{GROUND_TRUTH_NOTE}"
        )
    else:
        protocol = (
            "centre crop, hard 3D Dice per volume on the scan's own grid. Test labels "
            "are used for scoring only."
        )
    brackets = (
        " Numbers in brackets are the paper's, which has another protocol, network and "
        "split; it prints none for single structures."
        if _is_the_papers_data(config)
        else ""
    )
    return [
        "# Results of the study",
        "",
        f"Data: `{config.data.name}`, size `{config.variant}`, {finished} of "
        f"{len(results)} cells finished. Protocol: {protocol}",
        "",
        "Numbers are means ± standard deviations (of the sample) over "
        f"{averaged_over(config.study)}. The best of a column is **bold**, the second "
        f"<u>underlined</u>; cells with missing runs are not ranked.{brackets} "
        "study.csv has one line per run.",
        "",
        f"{scored_on(num_patients)} "
        f"{SCORED_AT[config.segmentation.keep]} {about_seeds(config)}",
        *about_versions(results, crop=config.data.crop),
    ]


def about_versions(results: Sequence[Result], *, crop: str) -> list[str]:
    """Says, in one line per version, which runs are known by their place alone."""
    versions = Counter(each.version for each in results if each.keys is not None)
    lines = []
    for version, number in sorted(versions.items()):
        what = f"came from version {version} of this program, which now has {VERSION}"
        if version == VERSION:
            what = "had other settings than this command"
        line = (
            f"{number} of the finished runs {what}. Each was found by method, labelled "
            "patients, draw and seed alone."
        )
        if version < 3:
            line += " Their draws share the first weights, orders and augmentations."
            line += " Each slice had a crop of its own." * (crop == RELEASED)
        lines += ["", line]
    return lines


def averaged_over(study: ConfigDict) -> str:
    """Says which runs a number of a table averages."""
    draws = count(study.draws, "few-shot draw")
    return draws if study.seeds == 1 else f"{draws} of {study.seeds} seeds each"


def about_seeds(config: ConfigDict) -> str:
    """Says what rows and draws share, and so what the deviations cover."""
    own = (
        "Each draw has its own labelled patients, and downstream its own first "
        "weights, order of the slices and augmentation. All rows share a draw's "
        "patients and random numbers."
    )
    if config.study.seeds == 1:
        return (
            f"All runs have seed {config.seed}. All draws of a row share one "
            f"pretraining. {own} So the deviations cover the labelled patients and the "
            "chance of training downstream, not the chance of pretraining."
        )
    last = config.seed + config.study.seeds - 1
    return (
        f"The runs have the seeds {config.seed} to {last}. A row has one pretraining "
        f"per seed, which all draws of that seed share. {own}"
    )


def scored_on(num_patients: int) -> str:
    """Says on how many patients the finished cells were scored; 0 is unknown."""
    if not num_patients:
        return "Scored on all volumes of the test patients."
    return f"Scored on all volumes of {count(num_patients, 'test patient')}."


def other_networks(
    results: Sequence[Result],
    rows: Mapping[str, Any],
    column: str,
    sizes: Mapping[str, Any],
) -> list[str]:
    """Renders the tables of Mean Teacher's networks that are not the result."""
    lines = []
    for name in NETWORKS:
        having = {x.cell.method for x in results if f"{name}_{column}" in x.scores}
        own = {method: row for method, row in rows.items() if method in having}
        if own:
            lines += [
                "",
                f"## Mean Teacher's {name}",
                "",
                "Dice (%), mean of the foreground structures. The tables above show "
                "the other network.",
                "",
                *method_table(results, own, f"{name}_{column}", **sizes),
            ]
    return lines


def distance_tables(
    results: Sequence[Result], rows: Mapping[str, Any], sizes: Mapping[str, Any]
) -> list[str]:
    """Renders the tables of the mean foreground distances, in mm."""
    lines = []
    for metric, title in DISTANCES.items():
        lines += [
            "",
            f"## {title}, mean of the foreground structures",
            "",
            "Lower is better. If a structure is missing in the mask or in the "
            "prediction, there is no distance. study.csv counts these cases in "
            "distances_left_out; runs with many of them look better here than they "
            "are.",
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
    """Lists notices, failures and open cells, and the wall time of all runs."""
    titles = {name: row["title"] for name, row in rows.items()}
    notices: dict[tuple[str, str], str] = {}
    for each in results:
        if each.notice:
            job = each.cell.pretraining or each.cell.job
            notices.setdefault((job.key, each.notice), titles[each.cell.method])
    lines = [f"- {title}: {notice}" for (_, notice), title in notices.items()]
    for method, number in count_backbones(results).items():
        if number > 1:
            lines.append(
                f"- {titles[method]}: its runs of one seed come from {number} "
                "pretraining runs by the same recipe"
            )
    for each in results:
        if each.status == "failed":
            cell = each.cell
            lines.append(
                f"- {titles[cell.method]}, {cell.num_labeled} labelled, draw "
                f"{cell.draw}, seed {cell.seed}: failed ({each.reason})"
            )
    if unfinished := sum(x.status in ("pending", "interrupted") for x in results):
        lines.append(f"- {count(unfinished, 'cell')} did not run to the end yet")
    head = ["", "## Notes", ""] if lines else []
    time = tqdm.format_interval(total_seconds(results))
    return [*head, *lines, "", f"Wall time of all runs together: {time}."]


def total_seconds(results: Sequence[Result]) -> float:
    """Adds up the wall time of all runs (s). A shared pretraining counts once."""
    times = {each.cell.job.key: each.seconds for each in results}
    for each in results:
        jobs = stages(each.cell.pretraining)
        for job, seconds in zip(jobs, each.stage_seconds, strict=True):
            # A cell that is not finished may know nothing of a published pretraining.
            times[job.key] = max(seconds, times.get(job.key, 0.0))
    return math.fsum(times.values())  # Python 3.12 sums in another way than 3.11


def _is_the_papers_data(config: ConfigDict) -> bool:
    """Whether the paper's numbers may stand beside: its data, and a split like its."""
    return config.data.name == "acdc" and config.data.split == "auto"
