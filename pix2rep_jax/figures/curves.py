"""The picture of how the runs went: their logged metrics over the steps."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from pix2rep_jax.figures.drawing import PALETTE
from pix2rep_jax.runs.metric_log import Series

__all__ = ["draw_curves"]

_PANELS = (  # title, the modes it is for, the metric
    ("pretraining loss", ("pretrain",), "loss"),
    ("alignment of positive pairs", ("pretrain",), "alignment"),
    ("standard deviation of embeddings", ("pretrain",), "embedding_std"),
    ("segmentation loss", ("probe", "finetune"), "loss"),
    ("validation Dice, foreground", ("probe", "finetune"), "val_dice"),
)
_STYLES = {  # not by colour alone
    "pretrain": (PALETTE[2], "-", ""),
    "probe": (PALETTE[4], "--", "o"),
    "finetune": (PALETTE[5], "-", "s"),
}


def draw_curves(runs: Mapping[str, Series]) -> Figure:
    """Draws the metrics of every mode that ran, one panel each.

    Args:
        runs: Metrics by mode: "pretrain", "probe" and "finetune"; at least one of
            them has one of the metrics that are drawn.

    Raises:
        ValueError: If there is nothing to draw.
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
                marker=marker if len(steps) < 40 else "",
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
