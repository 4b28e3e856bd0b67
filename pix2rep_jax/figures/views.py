"""The picture of two views: how φ moves the image, and which points correspond."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pix2rep_jax.figures.drawing import (
    MARKERS,
    PALETTE,
    contour_lines,
    draw_lines,
    mark,
    new_sheet,
    show_image,
)

__all__ = ["choose_points", "draw_views", "warped_grid"]

_GRID_COLORS = PALETTE[1], PALETTE[0]  # lines of equal rows, lines of equal columns
_POINT_COLORS = PALETTE[2:]


def draw_views(
    images: np.ndarray,
    view_a: np.ndarray,
    view_b: np.ndarray,
    sources: np.ndarray,
    valid: np.ndarray,
    points: Sequence[np.ndarray],
) -> Figure:
    """Draws images and their views, one row per image.

    Args:
        images: `[batch, height, width]`, x.
        view_a: `[batch, height, width]`, v = t(x).
        view_b: `[batch, height, width]`, φ·v'.
        sources: `[batch, height, width, 2]`, for each pixel of `view_b` its array
            position in `view_a`.
        valid: `[batch, height, width]` bool, whether the source lies in the scan.
        points: For each image the `[num_points, 2]` pixels of `view_b` to mark. Their
            sources in `view_a` get the same marks.

    Returns:
        A figure with four columns: the image; `view_a` with a regular grid; `view_b`
        with this grid moved by φ; the valid pixels of `view_b`.
    """
    height, width = images.shape[1:3]
    spacing = height / 8
    at_rest = np.moveaxis(np.mgrid[:height, :width], 0, -1).astype(float)
    regular = warped_grid(at_rest, np.ones((height, width), bool), spacing=spacing)
    figure, axes = new_sheet(
        len(images),
        4,
        panel_in=2.2,
        titles=("image x", "view v = t(x)", "view φ·v′", "valid pixels of φ·v′"),
    )
    for row, panels in enumerate(axes):
        for ax, image in zip(panels, (images, view_a, view_b, valid), strict=True):
            show_image(ax, image[row])
        panels[3].images[0].set_clim(0, 1.15)  # valid pixels grey: the page is white
        carried = warped_grid(sources[row], valid[row], spacing=spacing)
        for ax, grid in ((panels[1], regular), (panels[2], carried)):
            for lines, color in zip(grid, _GRID_COLORS, strict=True):
                draw_lines(ax, lines, color=color, width=0.7)
        for index, (i, j) in enumerate(points[row]):
            style: dict[str, Any] = {
                "color": _POINT_COLORS[index % len(_POINT_COLORS)],
                "marker": MARKERS[index % len(MARKERS)],
            }
            mark(panels[1], sources[row, i, j], **style)
            mark(panels[2], (i, j), **style)
    return figure


def warped_grid(
    sources: np.ndarray, valid: np.ndarray, *, spacing: float
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Finds where φ moves the lines of a regular grid.

    The line of row r moves to the pixels whose source has row r. So φ need not be
    inverted.

    Args:
        sources: `[height, width, 2]` array positions, φ⁻¹ of every pixel.
        valid: `[height, width]` bool, whether the source lies in the scan. The lines
            end where it does not.
        spacing: Distance of the lines, px. One line goes through the image's middle.

    Returns:
        The lines of equal rows and those of equal columns, each as `[points, 2]` array
        positions.
    """
    lines: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for axis, length in enumerate(valid.shape):
        middle = (length - 1) / 2
        reach = np.floor(middle / spacing)
        levels = middle + spacing * np.arange(-reach, reach + 1)
        place = np.ma.masked_where(~valid, sources[..., axis])
        for level in levels:
            lines[axis].extend(contour_lines(place, level))
    return lines


def choose_points(
    candidates: np.ndarray, sources: np.ndarray, *, number: int
) -> np.ndarray:
    """Chooses points that a reader can tell apart in both views.

    Args:
        candidates: `[candidates, 2]` valid pixels of `view_b` in random order.
        sources: `[height, width, 2]` array positions in `view_a`.
        number: Largest number of points.

    Returns:
        `[number, 2]` of the candidates, or all of them if there are fewer. They keep a
        fifth of the image's width between them, and a twentieth to the edges. If there
        is no room, these distances are halved until there is.
    """
    height, width = sources.shape[:2]
    both = np.stack([candidates, sources[tuple(candidates.T)]])
    to_edge = np.minimum(both, np.array([height, width]) - 1 - both).min((0, 2))
    number = min(number, len(candidates))
    distance = width / 5
    while True:
        chosen: list[int] = []
        for index in np.flatnonzero(to_edge >= distance / 4).tolist():
            apart = np.linalg.norm(both[:, chosen] - both[:, [index]], axis=-1)
            if len(chosen) < number and (apart >= distance).all():
                chosen.append(index)
        if len(chosen) == number:
            return candidates[chosen]
        distance = distance / 2 if distance > 0.1 else -np.inf
