"""The picture of a data set: a few patients' slices with the expert's outlines."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from pix2rep_jax.figures.drawing import (
    add_class_legend,
    draw_outlines,
    new_sheet,
    show_image,
)
from pix2rep_jax.figures.panels import Panel

__all__ = ["draw_patients"]


def draw_patients(
    rows: Sequence[tuple[str, Sequence[Panel]]], *, classes: Sequence[str]
) -> Figure:
    """Draws patients, one row each.

    Args:
        rows: For each patient a name and the slices; each patient has as many slices.
            The titles of the first patient's slices stand above the columns.
        classes: Names of the classes, background first.
    """
    columns = max(len(panels) for _, panels in rows)
    figure, axes = new_sheet(len(rows), columns, panel_in=1.35, extra_in=0.3)
    for row_axes, (name, panels) in zip(axes, rows, strict=True):
        row_axes[0].set_ylabel(name, fontsize=9)
        for ax, panel in zip(row_axes, panels, strict=False):
            show_image(ax, panel.image, spacing=panel.spacing, box=panel.box)
            if panel.label is not None:
                draw_outlines(ax, panel.label, num_classes=len(classes), width=0.9)
    for ax, panel in zip(axes[0], rows[0][1], strict=False):
        ax.set_title(panel.title, fontsize=9)
    add_class_legend(figure, classes)
    return figure
