"""One score of several methods as a Markdown table, laid out like the paper's."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from pix2rep_jax.study.report.paper_numbers import find_number
from pix2rep_jax.study.report.results import Result

__all__ = ["method_table", "rank_marks", "values_of"]


def values_of(results: Sequence[Result], column: str) -> dict[tuple[str, int], list]:
    """Collects finite scores by method and number of labelled patients."""
    values: dict[tuple[str, int], list[float]] = {}
    for each in results:
        score = each.scores.get(column, math.nan)
        if not math.isnan(score):
            place = each.cell.method, each.cell.num_labeled
            values.setdefault(place, []).append(score)
    return values


def method_table(
    results: Sequence[Result],
    rows: Mapping[str, Mapping[str, Any]],
    column: str,
    *,
    labeled: Sequence[int],
    runs: int,
    scale: float = 100.0,
    higher_is_better: bool = True,
    show_paper: bool = False,
) -> list[str]:
    """Renders one score of several methods in Markdown.

    Args:
        results: Results of any cells. Those of other methods are ignored.
        rows: The methods in their order, with "title", "group" and "table".
        column: The score, as in study.csv.
        labeled: Numbers of labelled patients, one per column.
        runs: Runs of a cell (draws times seeds). A cell with fewer says so.
        scale: Factor for the scores.
        higher_is_better: False for distances.
        show_paper: Whether the paper's numbers follow in brackets.

    Returns:
        Lines with mean ± standard deviation (of the sample) over the runs. The best
        mean of a column is bold, the second underlined. A group's name stands above
        its methods.
    """
    values = values_of(results, column)
    shown = {
        name: [values.get((name, number), []) for number in labeled] for name in rows
    }
    marks = {}
    for place in range(len(labeled)):
        means = {
            name: f"{scale * fmean(cells[place]):.1f}"
            for name, cells in shown.items()
            if len(cells[place]) == runs  # an average over fewer runs cannot be ranked
        }
        marks[place] = rank_marks(means, higher_is_better=higher_is_better)
    lines = [
        f"| Method, labelled patients: | {' | '.join(map(str, labeled))} |",
        "|---" * (1 + len(labeled)) + "|",
    ]
    group = None
    for name, row in rows.items():
        if row["group"] != group:
            group = row["group"]
            lines.append(f"| *{group}* |" + " |" * len(labeled))
        cells = []
        for place, number in enumerate(labeled):
            text = cell_text(shown[name][place], runs=runs, scale=scale)
            mark = marks[place].get(name, "{}")
            if not text:
                text = gap_text(results, name, number)
            paper = find_number(row["table"], row["title"], num_labeled=number)
            beside = f" ({paper})" if show_paper and paper else ""
            cells.append(mark.format(text) + beside)
        lines.append(f"| {row['title']} | {' | '.join(cells)} |")
    return lines


def rank_marks(means: Mapping[str, str], *, higher_is_better: bool) -> dict[str, str]:
    """Marks the best and the second best. Means that print equal are equal.

    Args:
        means: Printed means by name.
        higher_is_better: False for distances.

    Returns:
        Format strings of the two best by name; none for fewer than two means.
    """
    if len(means) < 2:
        return {}
    ranks = sorted({float(text) for text in means.values()}, reverse=higher_is_better)
    formats = dict(zip(ranks[:2], ("**{}**", "<u>{}</u>"), strict=False))
    return {
        name: formats[float(text)]
        for name, text in means.items()
        if float(text) in formats
    }


def cell_text(scores: Sequence[float], *, runs: int, scale: float) -> str:
    """Prints mean ± standard deviation over runs; empty without a score."""
    if not scores:
        return ""
    text = f"{scale * fmean(scores):.1f}"
    if len(scores) > 1:
        text += f" ± {scale * stdev(scores):.1f}"
    return text if len(scores) == runs else f"{text} [{len(scores)} of {runs} runs]"


def gap_text(results: Sequence[Result], method: str, num_labeled: int) -> str:
    """Says why a cell has no number: "failed", "none" or "not run"."""
    states = {
        each.status
        for each in results
        if (each.cell.method, each.cell.num_labeled) == (method, num_labeled)
    }
    if "failed" in states:
        return "failed"
    # Without the structure in any volume there is no distance.
    return "none" if states == {"finished"} else "not run"
