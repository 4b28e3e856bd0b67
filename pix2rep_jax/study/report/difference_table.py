"""How far each method of a study is from the reference, as a Markdown table."""

import math
from collections.abc import Sequence

from ml_collections import ConfigDict

from pix2rep_jax.evaluation.paired_bootstrap import Difference, paired_difference
from pix2rep_jax.study.report.results import Result

__all__ = ["difference_table"]


def difference_table(
    config: ConfigDict, results: Sequence[Result], *, num_patients: int
) -> list[str]:
    """Renders each method's difference from the reference in Markdown.

    Args:
        config: The study's configuration.
        results: Results of all cells.
        num_patients: Number of test patients. A difference over fewer of them says so.

    Returns:
        Lines: a heading, what the differences are, and the table.
    """
    study = config.study
    scores = patient_scores(results)
    lines = [
        "",
        f"## Paired differences from {study.rows[study.reference].title}",
        "",
        about_differences(study),
        "",
        f"| Method, labelled patients: | {' | '.join(map(str, study.labeled))} |",
        "|---" * (1 + len(study.labeled)) + "|",
    ]
    for method in study.methods:
        if method == study.reference:
            continue
        cells = [
            difference_text(
                paired_difference(
                    scores.get((method, number), {}),
                    scores.get((study.reference, number), {}),
                    confidence=study.confidence,
                    resamples=study.resamples,
                ),
                runs=study.draws * study.seeds,
                seeds=study.seeds,
                patients=num_patients,
            )
            for number in study.labeled
        ]
        lines.append(f"| {study.rows[method].title} | {' | '.join(cells)} |")
    return lines


def patient_scores(
    results: Sequence[Result],
) -> dict[tuple[str, int], dict[tuple[int, int], dict[str, float]]]:
    """Collects the test patients' foreground Dice.

    Returns:
        By (method, number of labelled patients), then by (draw, seed), then by test
        patient. Patients without a score are left out.
    """
    scores: dict[tuple[str, int], dict[tuple[int, int], dict[str, float]]] = {}
    for each in results:
        if each.status == "finished":
            place = each.cell.method, each.cell.num_labeled
            scores.setdefault(place, {})[each.cell.draw, each.cell.seed] = {
                patient: score
                for patient, score in each.patients.items()
                if not math.isnan(score)
            }
    return scores


def about_differences(study: ConfigDict) -> str:
    """Says what the differences are, and what their intervals cover."""
    over, covers = "patients", "test patients"
    not_covered = "labelled patients and of the seed"
    if study.seeds > 1:
        over, covers = "patients and seeds", "test patients and of the seed"
        not_covered = "labelled patients"
    text = (
        "Points of foreground Dice over the same test patients and draws, with the "
        f"{study.confidence:.0%} interval of a bootstrap over {over} "
        f"({study.resamples} resamples). The interval covers the choice of {covers}. "
        f"It does not cover the choice of {not_covered}."
    )
    if study.seeds > 1:
        text += (
            " With few seeds it is too narrow. The numbers in round brackets are each "
            "seed's own difference."
        )
    return text


def difference_text(
    difference: Difference | None, *, runs: int, seeds: int, patients: int
) -> str:
    """Prints a difference in points, its interval, and which runs or patients it lacks.

    With several seeds, each seed's own difference follows in brackets.
    """
    if difference is None:
        return "-"
    mean, low, high = (100 * value for value in difference[:3])
    text = f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"
    if seeds > 1:
        text += " (" + ", ".join(f"{100 * x:+.1f}" for x in difference.by_seed) + ")"
    if difference.num_runs < runs:
        text += f", {difference.num_runs} of {runs} runs"
    if difference.num_patients < patients:
        text += f", {difference.num_patients} of {patients} patients"
    return text
