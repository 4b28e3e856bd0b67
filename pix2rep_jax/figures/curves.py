"""The picture of a run's progress: its logged metrics over the steps."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from pix2rep_jax.figures.drawing import PALETTE

__all__ = ["draw_curves"]

_PANELS = (  # title, modes, metric
    ("pretraining loss", ("pretrain",), "loss"),
    ("alignment of positive pairs", ("pretrain",), "alignment"),
    ("standard deviation of embeddings", ("pretrain",), "embedding_std"),
    ("pixels found in the other view", ("pretrain",), "neighbour_rate"),
    ("segmentation loss", ("probe", "finetune"), "loss"),
    ("validation Dice, foreground", ("probe", "finetune"), "val_dice"),
)
_STYLES = {  # colour, line, marker: readable without colours too
    "pretrain": (PALETTE[2], "-", ""),
    "probe": (PALETTE[4], "--", "o"),
    "finetune": (PALETTE[5], "-", "s"),
}


def draw_curves(
    runs: Mapping[str, Mapping[str, tuple[Sequence[int], Sequence[float]]]],
) -> Figure:
    """Draws one panel per metric, with one curve per mode.

    Args:
        runs: For each of the modes "pretrain", "probe" and "finetune" that ran, its
            metrics: steps and values by the metric's name.

    Raises:
        ValueError: If no metric is among those that are drawn.
    """
    panels = []
    for title, modes, metric in _PANELS:
        logged = [mode for mode in modes if metric in runs.get(mode, {})]
        if logged:
            panels.append((title, {mode: runs[mode][metric] for mode in logged}))
    if not panels:
        raise ValueError("no metric was logged")
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[len(panels) :]:
        ax.remove()
    for ax, (title, curves) in zip(axes, panels, strict=False):
        for mode, (steps, values) in curves.items():
            color, line, marker = _STYLES[mode]
            ax.plot(
                steps,
                values,
                color=color,
                linestyle=line,
                marker=_marker(marker, len(steps)),
                markersize=3,
                linewidth=1.4,
                label=mode,
            )
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("step", fontsize=9)
        ax.tick_params(labelsize=8)
        ax.grid(color="0.9", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        if "pretrain" not in curves:
            ax.legend(fontsize=8, frameon=False)
    return figure


def _marker(marker: str, number: int) -> str:
    """A line through one point would show nothing, and one through many needs none."""
    if number == 1:
        return marker or "o"
    return marker if number < 40 else ""
