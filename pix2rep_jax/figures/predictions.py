"""The picture of segmented test volumes: the best, the median and the worst."""

import csv
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from pix2rep_jax.figures.drawing import (
    add_class_legend,
    draw_outlines,
    new_sheet,
    show_image,
)
from pix2rep_jax.figures.panels import Panel

__all__ = ["choose_volumes", "draw_predictions"]


def choose_volumes(per_volume_csv: Path) -> dict[str, str]:
    """Finds the best, the median and the worst volume of an evaluation.

    Args:
        per_volume_csv: As probe, finetune and evaluate write it.

    Returns:
        The volumes' ids under "best", "median" and "worst", by the mean Dice over the
        foreground classes at native resolution; of an even number the median is the
        better one of the two in the middle. Fewer where there are fewer volumes.
    """
    with per_volume_csv.open(encoding="utf-8", newline="") as file:
        scores = [
            (float(row["dice_mean_foreground"]), row["volume_id"])
            for row in csv.DictReader(file)
            if row["resolution"] == "native" and row["dice_mean_foreground"]
        ]
    order = [volume_id for _, volume_id in sorted(scores, reverse=True)]
    if len(order) < 3:
        return dict(zip(("best", "worst"), order, strict=False))
    return {
        "best": order[0],
        "median": order[(len(order) - 1) // 2],
        "worst": order[-1],
    }


def draw_predictions(
    panels: Sequence[Panel], *, classes: Sequence[str], mode: str, note: str = ""
) -> Figure:
    """Draws the expert's outlines above the network's.

    Args:
        panels: One a column, each with a prediction.
        classes: Names of the classes, background first.
        mode: That trained the network.
        note: To stand above everything.
    """
    figure, axes = new_sheet(2, len(panels), panel_in=3.0, extra_in=0.45)
    for column, panel in enumerate(panels):
        pair = (panel.label, panel.prediction)
        for ax, label in zip(axes[:, column], pair, strict=True):
            show_image(ax, panel.image, spacing=panel.spacing, box=panel.box)
            draw_outlines(ax, label, num_classes=len(classes), width=1.5)
        axes[0, column].set_title(panel.title, fontsize=9)
    axes[0, 0].set_ylabel("expert", fontsize=11)
    axes[1, 0].set_ylabel(f"network ({mode})", fontsize=11)
    add_class_legend(figure, classes)
    if note:
        figure.suptitle(note, fontsize=8)
    return figure
