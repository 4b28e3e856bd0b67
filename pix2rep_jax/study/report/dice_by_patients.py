"""The paper's Figure 3: Dice against the number of labelled patients."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev

from matplotlib.figure import Figure

from pix2rep_jax.figures.drawing import MARKERS, PALETTE

__all__ = ["draw_dice"]

_COLORS = tuple(PALETTE[i] for i in (4, 5, 2, 6, 0, 1))

_APART = 1.4  # the least ratio of two numbers below the axis


def draw_dice(
    panels: Mapping[str, Mapping[str, Mapping[int, Sequence[float]]]],
    *,
    paper: Mapping[str, Mapping[int, float]] | None = None,
) -> Figure:
    """Draws mean and standard deviation over few-shot draws.

    Args:
        panels: Dice (fractions) of the draws by number of labelled patients, by
            method, by the panel's title.
        paper: The paper's numbers (percent) by method, drawn hollow in the first
            panel.

    Returns:
        A panel beside the other, with a line a method on a logarithmic axis.

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
            # Apart by a hair, so that bars of equal numbers do not hide each other.
            shifted = [n * 1.03 ** (place - (len(lines) - 1) / 2) for n in numbers]
            style = {"color": color, "marker": marker, "capsize": 3, "linewidth": 1.5}
            ax.errorbar(shifted, means, spreads, label=method, **style)
            theirs = (paper or {}).get(method, {}) if index == 0 else {}
            if theirs:
                ax.plot(
                    list(theirs),
                    list(theirs.values()),
                    color=color,
                    marker=marker,
                    markerfacecolor="none",
                    linestyle=":",
                    linewidth=1,
                    label=f"{method}, in the paper",
                )
                ticks = _tell_apart(ticks, theirs)
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
    """Adds those ticks whose labels do not run into others on a logarithmic axis."""
    kept = list(ticks)
    for number in sorted(more):
        if all(max(number / n, n / number) >= _APART for n in kept):
            kept.append(number)
    return sorted(kept)
