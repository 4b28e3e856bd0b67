"""How far each method of a study is from the reference, as a table in Markdown."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from pix2rep_jax.study.report.paired_bootstrap import Difference, paired_difference
from pix2rep_jax.study.report.results import Result, read_patients

__all__ = ["difference_table"]


def difference_table(
    config: ConfigDict, results: Sequence[Result], *, column: str, num_patients: int
) -> list[str]:
    """Renders each method's difference from the reference in Markdown.

    Args:
        config: The study's.
        results: Of all its cells.
        column: The score, as in per_volume.csv; a fraction.
        num_patients: Test patients of all cells; a difference of fewer says so.

    Returns:
        Lines: a heading, what the differences are, and the table.
    """
    study = config.study
    scores = patient_scores(results, column=column)
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
    results: Sequence[Result], *, column: str
) -> dict[tuple[str, int], dict[tuple[int, int], dict[str, float]]]:
    """Collects the test patients' scores by method and number of labelled patients.

    Args:
        results: Of all cells.
        column: As for `read_patients`.

    Returns:
        Of each, by (draw, seed), the scores by test patient.
    """
    scores: dict[tuple[str, int], dict[tuple[int, int], dict[str, float]]] = {}
    for each in results:
        if each.status == "finished":
            place = each.cell.method, each.cell.num_labeled
            own = read_patients(each, column=column)
            scores.setdefault(place, {})[each.cell.draw, each.cell.seed] = own
    return scores


def about_differences(study: ConfigDict) -> str:
    """Says what the differences are, and what their intervals hold."""
    several = study.seeds > 1
    text = (
        "Points of foreground Dice over the same test patients and draws, with the "
        f"{study.confidence:.0%} interval of a bootstrap over patients"
    )
    text += " and seeds" if several else ""
    text += f" ({study.resamples} resamples). It says how much the choice of "
    if not several:
        return text + (
            "test patients matters, not the choice of labelled ones or of the seed."
        )
    return text + (
        "test patients and of the seed matters (of the seed less than it does, where "
        "there are few), not the choice of labelled ones. Behind it each seed's own "
        "difference."
    )


def difference_text(
    difference: Difference | None, *, runs: int, seeds: int, patients: int
) -> str:
    """Prints a difference in points, its interval, and what runs or patients it lacks.

    With several seeds, each one's own difference stands behind it.
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
