"""The paper's Figure 3: Dice against the number of labelled patients."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev

from matplotlib.figure import Figure
from ml_collections import ConfigDict

from pix2rep_jax.figures.drawing import MARKERS, PALETTE
from pix2rep_jax.study.report.paper_numbers import LABELED, find_number
from pix2rep_jax.study.report.results import Result, score_columns
from pix2rep_jax.study.report.tables import values_of

__all__ = ["draw_dice", "draw_figure3"]

_COLORS = tuple(PALETTE[i] for i in (4, 5, 2, 6, 0, 1))

_APART = 1.4  # the least ratio of two numbers below the axis


def draw_figure3(config: ConfigDict, results: Sequence[Result]) -> Figure:
    """Draws the paper's Figure 3 from a study's results, in both averages."""
    columns = score_columns(config.data.classes, crop=config.data.crop)
    rows = {name: config.study.rows[name] for name in config.study.figure3}
    panels = {}
    for name, title in (
        ("mean", "mean of the four structures"),
        ("mean_foreground", "mean of the foreground structures"),
    ):
        values = values_of(results, columns[name])
        panels[title] = {
            row.title: {n: dice for (who, n), dice in values.items() if who == method}
            for method, row in rows.items()
        }
    paper = {}
    if config.data.name == "acdc":
        for row in rows.values():
            found = {
                n: find_number(row.table, row.title, num_labeled=n) for n in LABELED
            }
            paper[row.title] = {n: float(text) for n, text in found.items() if text}
    return draw_dice(panels, paper=paper)


def draw_dice(
    panels: Mapping[str, Mapping[str, Mapping[int, Sequence[float]]]],
    *,
    paper: Mapping[str, Mapping[int, float]] | None = None,
) -> Figure:
    """Draws mean and standard deviation over few-shot draws.

    Args:
        panels: Dice of the draws (fractions), by the panel's title, then by method,
            then by number of labelled patients.
        paper: The paper's numbers (percent) by method, drawn hollow in the first
            panel.

    Returns:
        One panel per title, side by side, with one line per method on a logarithmic
        axis.

    Reference:
        Seince et al., "Dense Self-Supervised Learning for Medical Image
        Segmentation", MIDL 2024, Figure 3.
    """
    figure = Figure(figsize=(4.6 * len(panels), 3.8), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    measured = sorted(
        {n for lines in panels.values() for x in lines.values() for n in x}
    )
    for index, (ax, (title, lines)) in enumerate(
        zip(axes, panels.items(), strict=True)
    ):
        ticks = measured
        for place, (method, points) in enumerate(lines.items()):
            color, marker = _COLORS[place % len(_COLORS)], MARKERS[place % len(MARKERS)]
            if not points:
                continue
            numbers = sorted(points)
            means = [100 * fmean(points[n]) for n in numbers]
            spreads = [
                100 * stdev(points[n]) if len(points[n]) > 1 else 0.0 for n in numbers
            ]
            # Shifted a little, so that equal bars do not hide each other.
            shifted = [n * 1.03 ** (place - (len(lines) - 1) / 2) for n in numbers]
            style = {"color": color, "marker": marker, "capsize": 3, "linewidth": 1.5}
            ax.errorbar(shifted, means, spreads, label=method, **style)
            printed = (paper or {}).get(method, {}) if index == 0 else {}
            if printed:
                ax.plot(
                    list(printed),
                    list(printed.values()),
                    color=color,
                    marker=marker,
                    markerfacecolor="none",
                    linestyle=":",
                    linewidth=1,
                    label=f"{method}, in the paper",
                )
                ticks = _tell_apart(ticks, printed)
        ax.set_title(title, fontsize=10)
        ax.set_xscale("log")
        ax.set_xticks(ticks, [str(n) for n in ticks])
        ax.set_xticks([], minor=True)
        ax.set_xlabel("labelled patients")
        ax.set_ylabel("3D Dice (%)")
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8, loc="lower right")
    return figure


def _tell_apart(ticks: Sequence[int], more: Iterable[int]) -> list[int]:
    """Adds ticks whose labels do not overlap others on a logarithmic axis."""
    kept = list(ticks)
    for number in sorted(more):
        if all(max(number / n, n / number) >= _APART for n in kept):
            kept.append(number)
    return sorted(kept)
