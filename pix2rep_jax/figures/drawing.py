"""The parts that all pictures share: sheets, slices, outlines, marks and files.

Positions are array positions (row, column) in px, as in the rest of the package. The
first axis is drawn to the right and the second one down, as viewers show a NIfTI slice.
In a short-axis scan the chest wall is then at the top, and the right ventricle left.

Figures are made without pyplot, so matplotlib's global state does not change.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import contourpy
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from pix2rep_jax.figures.colors import CLASS_COLORS, PALETTE, class_color
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

DPI = 150
"""Resolution of the PNG files."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")


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
        rows: Rows of panels.
        columns: Columns of panels.
        panel_in: Side of a panel, inches.
        titles: Titles of the columns.
        extra_in: Height for a legend below, inches.

    Returns:
        The figure and its `[rows, columns]` axes.
    """
    figure = Figure(
        figsize=(columns * panel_in, rows * panel_in + 0.25 + extra_in),
        layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0),
    )
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
) -> AxesImage:
    """Draws a slice.

    Args:
        ax: The axes to draw on.
        image: `[rows, columns]`.
        spacing: Distance of rows and of columns, in the same unit.
        box: The part to show: first and last row, first and last column, px. None
            shows the whole slice.
        cmap: matplotlib's name of a colour map.
        value_range: The values of the map's first and last colour.

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
        For each line its `[points, 2]` array positions; the first point is repeated at
        the end. An empty mask has no line.
    """
    padded = np.pad(mask.astype(float), 1)
    return [line - 1 for line in contour_lines(padded, 0.5)]


def contour_lines(image: np.ndarray, level: float) -> list[np.ndarray]:
    """Finds the lines on which an image, interpolated linearly, has a value.

    Args:
        image: `[rows, columns]`, or a masked array; lines end at masked pixels.
        level: The value.

    Returns:
        For each line its `[points, 2]` array positions.
    """
    lines: Any = contourpy.contour_generator(z=image).lines(level)
    return [line[:, ::-1] for line in lines]  # contourpy has x, the column, first


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
        ax: The axes to draw on.
        label: `[rows, columns]` classes. Other values, such as 255, are not drawn.
        num_classes: Number of classes, background (0) included.
        width: Width of the lines, points.
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
    """Marks an array position with edges that show on any background.

    Args:
        ax: The axes to draw on.
        position: Row and column, px.
        color: The marker's colour.
        marker: matplotlib's code of the marker's shape.
        hollow: Whether the pixel itself stays visible.
    """
    style: dict[str, Any] = {"marker": marker, "linestyle": "none"}
    style |= {"scalex": False, "scaley": False}
    edges: list[tuple[str, float]]
    if hollow:
        edges = [("black", 3.0), ("white", 2.4), (color, 1.6)]
        style |= {"markerfacecolor": "none", "markersize": 8}
    else:
        edges = [("black", 0.8)]
        style |= {"markerfacecolor": color, "markersize": 6}
    for edge, width in edges:
        ax.plot(*position, markeredgecolor=edge, markeredgewidth=width, **style)


def add_class_legend(figure: Figure, classes: Sequence[str]) -> None:
    """Adds a legend below the panels: the colour of each foreground class."""
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


def save(figure: Figure, stem: Path) -> Path:
    """Writes a figure as PDF and PNG, atomically and without a date.

    The PNG comes last: if there is one, the figure is complete.

    Args:
        figure: The figure.
        stem: The files' path without a suffix, in an existing folder.

    Returns:
        The path of the PNG.
    """
    for suffix, metadata in ((".pdf", {"CreationDate": None}), (".png", None)):
        path = stem.with_name(stem.name + suffix)
        with replacing(path, suffix=suffix) as partial:
            figure.savefig(partial, dpi=DPI, metadata=metadata)
    return path
