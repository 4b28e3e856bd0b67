"""The picture of segmented test volumes: the best, the median and the worst."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from pix2rep_jax.figures.drawing import (
    add_class_legend,
    draw_outlines,
    new_sheet,
    show_image,
)
from pix2rep_jax.figures.panels import Panel

__all__ = ["choose_volumes", "draw_predictions"]


def choose_volumes(dice: Mapping[str, float]) -> dict[str, str]:
    """Finds the best, the median and the worst volume of an evaluation.

    Args:
        dice: The score of each volume by its id.

    Returns:
        The volumes' ids under "best", "median" and "worst". Of an even number of
        volumes the median is the better one in the middle. Two volumes have no median,
        and a single one is the best.
    """
    scores = [(score, volume_id) for volume_id, score in dice.items()]
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
        panels: One per column, each with a label and a prediction.
        classes: Names of the classes, background first.
        mode: The mode that trained the network.
        note: A text above all panels.
    """
    figure, axes = new_sheet(2, len(panels), panel_in=3.0, extra_in=0.45)
    for column, panel in enumerate(panels):
        pair = (panel.label, panel.prediction)
        for ax, label in zip(axes[:, column], pair, strict=True):
            show_image(ax, panel.image, spacing=panel.spacing, box=panel.box)
            if label is not None:
                draw_outlines(ax, label, num_classes=len(classes), width=1.5)
        axes[0, column].set_title(panel.title, fontsize=9)
    axes[0, 0].set_ylabel("expert", fontsize=11)
    axes[1, 0].set_ylabel(f"network ({mode})", fontsize=11)
    add_class_legend(figure, classes)
    if note:
        figure.suptitle(note, fontsize=8)
    return figure
