"""What all pictures share: a sheet of panels, slices, outlines, points and files.

Positions are array positions (row, column) in px, as in the rest of the package. The
first axis is drawn to the right and the second one down: that is how viewers show a
NIfTI slice, with the chest wall of a short-axis scan up and its right ventricle left.

Figures are made without pyplot, so no state of matplotlib's is touched.
"""

from collections.abc import Sequence
from pathlib import Path

import contourpy
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pix2rep_jax.runtime.atomic_file import replacing

__all__ = [
    "CLASS_COLORS",
    "DPI",
    "MARKERS",
    "PALETTE",
    "add_class_legend",
    "class_color",
    "draw_lines",
    "draw_outlines",
    "mark",
    "mask_outlines",
    "new_sheet",
    "save",
    "show_image",
]

DPI = 150  # of the PNG files

PALETTE = (  # Okabe and Ito's, told apart by colour-blind readers too
    "#E69F00",  # orange
    "#56B4E9",  # sky blue
    "#009E73",  # green
    "#F0E442",  # yellow
    "#0072B2",  # blue
    "#D55E00",  # vermilion
    "#CC79A7",  # purple
)
CLASS_COLORS = tuple(PALETTE[i] for i in (1, 3, 5, 2, 6, 0, 4))
"""By label value from 1 on: ACDC's RV, myocardium and LV first."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def class_color(label: int) -> str:
    """Returns the colour of a foreground class; they repeat where there are many."""
    return CLASS_COLORS[(label - 1) % len(CLASS_COLORS)]


def new_sheet(
    rows: int,
    columns: int,
    *,
    panel_in: float,
    titles: Sequence[str] = (),
    extra_in: float = 0.0,
) -> tuple[Figure, np.ndarray]:
    """Makes a figure of square panels without frames or ticks.

    Args:
        rows: Of panels.
        columns: Of panels.
        panel_in: Side of a panel, inches.
        titles: Of the columns.
        extra_in: Height for a legend below, inches.

    Returns:
        The figure and its `[rows, columns]` axes.
    """
    figure = Figure(
        figsize=(columns * panel_in, rows * panel_in + 0.25 + extra_in),
        layout="constrained",
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_facecolor("black")
        ax.spines[:].set_visible(False)
    for ax, title in zip(axes[0], titles, strict=False):
        ax.set_title(title, fontsize=9)
    return figure, axes


def show_image(
    ax: Axes,
    image: np.ndarray,
    *,
    spacing: tuple[float, float] = (1.0, 1.0),
    box: tuple[float, float, float, float] | None = None,
    cmap: str = "gray",
    value_range: tuple[float, float] = (0.0, 1.0),
):
    """Draws a slice.

    Args:
        ax: Where to.
        image: `[rows, columns]`.
        spacing: Of rows and columns, in one unit.
        box: The part to show: first and last row, first and last column, px; None
            shows all of it.
        cmap: matplotlib's name of a colour map.
        value_range: Drawn in its first and its last colour.

    Returns:
        The drawn image, for a colour bar.
    """
    rows, columns = image.shape
    first_row, last_row, first_column, last_column = box or (
        -0.5,
        rows - 0.5,
        -0.5,
        columns - 0.5,
    )
    drawn = ax.imshow(
        image.T,
        cmap=cmap,
        vmin=value_range[0],
        vmax=value_range[1],
        interpolation="nearest",
        aspect=spacing[1] / spacing[0],
    )
    ax.set_xlim(first_row, last_row)
    ax.set_ylim(last_column, first_column)
    return drawn


def mask_outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Finds the closed lines around a mask, half way to the pixels outside.

    Args:
        mask: `[rows, columns]` bool.

    Returns:
        `[points, 2]` array positions a line, the first point being the last too; none
        for an empty mask.
    """
    padded = np.pad(mask.astype(float), 1)
    lines = contourpy.contour_generator(z=padded).lines(0.5)
    return [line[:, ::-1] - 1 for line in lines]


def draw_lines(
    ax: Axes,
    lines: Sequence[np.ndarray],
    *,
    color: str,
    width: float = 1.2,
    dashed: bool = False,
) -> None:
    """Draws lines of `[points, 2]` array positions."""
    for line in lines:
        ax.plot(
            line[:, 0],
            line[:, 1],
            color=color,
            linewidth=width,
            linestyle=(0, (2, 1.5)) if dashed else "-",
            scalex=False,
            scaley=False,
        )


def draw_outlines(
    ax: Axes, label: np.ndarray, *, num_classes: int, width: float = 1.2
) -> None:
    """Draws the outline of each foreground class, later classes on top.

    Args:
        ax: Where to.
        label: `[rows, columns]` classes; other values, such as 255, are no class.
        num_classes: Classes, background (0) included.
        width: Of the lines, points.
    """
    for value in range(1, num_classes):
        lines = mask_outlines(label == value)
        draw_lines(ax, lines, color=class_color(value), width=width)


def mark(
    ax: Axes,
    position: Sequence[float],
    *,
    color: str,
    marker: str = "o",
    hollow: bool = False,
) -> None:
    """Marks an array position, so that it shows on any background.

    Args:
        ax: Where to.
        position: Row and column, px.
        color: Of the marker.
        marker: matplotlib's code of its shape.
        hollow: Whether the pixel stays to be seen.
    """
    style = {"marker": marker, "linestyle": "none", "scalex": False, "scaley": False}
    if hollow:
        edges = (("black", 3.0), ("white", 2.4), (color, 1.6))
        style |= {"markerfacecolor": "none", "markersize": 8}
    else:
        edges = (("black", 0.8),)
        style |= {"markerfacecolor": color, "markersize": 6}
    for edge, width in edges:
        ax.plot(*position, markeredgecolor=edge, markeredgewidth=width, **style)


def add_class_legend(figure: Figure, classes: Sequence[str]) -> None:
    """Says below the panels which colour is which foreground class."""
    handles = [
        Line2D([], [], color=class_color(value), linewidth=2, label=name)
        for value, name in enumerate(classes)
        if value
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), 6),
        fontsize=10,
        frameon=False,
    )


def save(figure: Figure, stem: Path) -> list[Path]:
    """Writes a figure as PNG and PDF, each in one go and without its date.

    Args:
        figure: What to write.
        stem: The files' path without a suffix; its folder exists.

    Returns:
        The two paths.
    """
    written = []
    for suffix, metadata in ((".png", None), (".pdf", {"CreationDate": None})):
        path = stem.with_name(stem.name + suffix)
        with replacing(path, suffix=suffix) as partial:
            figure.savefig(partial, dpi=DPI, metadata=metadata)
        written.append(path)
    return written
