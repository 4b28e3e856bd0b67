"""The picture of similar embeddings: a pixel, and the closest of other patients."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import ndimage

from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.figures.drawing import (
    class_color,
    draw_lines,
    mark,
    mask_outlines,
    new_sheet,
    show_image,
)
from pix2rep_jax.inference.compared_pixels import similarity

__all__ = [
    "argmax_pixel",
    "draw_comparison",
    "draw_similarity",
    "innermost_pixel",
    "query_pixels",
]

_COLOR = "#CC79A7"
_AIR = 0.1
"""Darker pixels show air."""


class _Match(NamedTuple):
    """The pixel of a scan that is most similar to a query.

    Attributes:
        slice: Its slice.
        pixel: Its row and column.
        similarity: `[height, width]`, that of all pixels of the slice.
    """

    slice: int
    pixel: tuple[int, int]
    similarity: np.ndarray


def draw_similarity(
    images: Sequence[np.ndarray],
    embeddings: Sequence[np.ndarray],
    queries: Mapping[str, tuple[int, int]],
    *,
    names: Sequence[str],
    labels: Sequence[np.ndarray] | None = None,
    classes: Sequence[str] = (),
) -> Figure:
    """Draws pixels of one image, and the most similar pixels of other scans.

    Pixels that show air are passed over: air looks alike in all patients.

    Args:
        images: The query image `[height, width]` in [0, 1], then those of other scans,
            `[height, width]` or `[slices, height, width]`. Of several slices the one
            with the most similar pixel is drawn.
        embeddings: The same with a last axis of values.
        queries: Pixels (row, column) of the query image by name; each gets one row.
        names: Names of the images.
        labels: Classes, in the shape of the images. If given, the structure that a
            query is named after is outlined, and the class under each closest pixel is
            written below the panel.
        classes: Names of the classes.

    Returns:
        A figure whose first column is the query image with its pixel marked. Each other
        scan has two columns: the slice with its closest pixel marked, and the cosine
        similarity of all its pixels.

    Reference:
        Seince et al., "Dense Self-Supervised Learning for Medical Image
        Segmentation", MIDL 2024, Figure 2.
    """
    others = range(1, len(images))
    matches = {
        (name, index): _find_closest(
            embeddings[0][pixel], images[index], embeddings[index]
        )
        for name, pixel in queries.items()
        for index in others
    }
    lowest = min(match.similarity.min() for match in matches.values())
    titles = [f"query\n{names[0]}"]
    for index in others:
        titles += [f"closest pixel\n{names[index]}", "cosine\nsimilarity"]
    figure, axes = new_sheet(
        len(queries), len(titles), panel_in=1.8, titles=titles, extra_in=0.5
    )

    def outline(ax: Axes, label: np.ndarray, name: str) -> None:
        if name in classes:
            lines = mask_outlines(label == classes.index(name))
            draw_lines(ax, lines, color=class_color(classes.index(name)), width=0.8)

    for panels, (name, pixel) in zip(axes, queries.items(), strict=True):
        show_image(panels[0], images[0])
        mark(panels[0], pixel, color=_COLOR, hollow=True)
        panels[0].set_ylabel(name, fontsize=10)
        if labels is not None:
            outline(panels[0], labels[0], name)
        for index in others:
            match = matches[name, index]
            picture, heat = panels[2 * index - 1], panels[2 * index]
            show_image(picture, _planes(images[index])[match.slice])
            mark(picture, match.pixel, color=_COLOR, hollow=True)
            note = f"{match.similarity[match.pixel]:.2f}"
            if labels is not None:
                label = _planes(labels[index])[match.slice]
                if label[match.pixel] != UNLABELLED:
                    note += f" on {classes[label[match.pixel]]}"
                outline(picture, label, name)
            picture.set_xlabel(note, fontsize=9)
            heat_image = show_image(
                heat,
                match.similarity,
                cmap="viridis",
                value_range=(float(lowest), 1.0),
            )
            mark(heat, match.pixel, color=_COLOR, hollow=True)
    bar = figure.colorbar(heat_image, ax=axes, fraction=0.02, aspect=40, pad=0.01)
    bar.set_label("cosine similarity", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def _planes(image: np.ndarray) -> np.ndarray:
    """Adds an axis of slices to a single one."""
    return image if image.ndim == 3 else image[None]


def _find_closest(
    query: np.ndarray, images: np.ndarray, embeddings: np.ndarray
) -> _Match:
    """Finds the pixel of a scan that is most similar to a query and shows no air."""
    images = _planes(images)
    maps = similarity(query, embeddings.reshape(*images.shape, -1))
    shown = images >= _AIR
    best = np.where(shown, maps, -np.inf) if shown.any() else maps
    index = int(best.max((1, 2)).argmax())
    pixel = argmax_pixel(maps[index], shown[index])
    return _Match(index, pixel, maps[index])


def draw_comparison(
    images: Sequence[np.ndarray],
    embeddings: Sequence[np.ndarray],
    labels: Sequence[np.ndarray] | None,
    names: Sequence[str],
    *,
    classes: Sequence[str],
) -> Figure:
    """Draws `draw_similarity` for a pixel inside each structure of the first image.

    Args:
        images: As for `draw_similarity`, like all others.
        embeddings: One embedding per pixel.
        labels: Without them, fixed pixels are taken.
        names: The patient of each image.
        classes: Names of the classes, background first.
    """
    queries = query_pixels(
        None if labels is None else labels[0], classes=classes, size=images[0].shape[-1]
    )
    return draw_similarity(
        images, embeddings, queries, names=names, labels=labels, classes=classes
    )


def argmax_pixel(
    image: np.ndarray, allowed: np.ndarray | None = None
) -> tuple[int, int]:
    """Returns row and column of the largest value, the first of equal ones.

    Args:
        image: `[height, width]`.
        allowed: `[height, width]` bool, the pixels that count. If None, or if there are
            none, all count.
    """
    if allowed is not None and allowed.any():
        image = np.where(allowed, image, -np.inf)
    row, column = np.unravel_index(image.argmax(), image.shape)
    return int(row), int(column)


def query_pixels(
    label: np.ndarray | None, *, classes: Sequence[str], size: int
) -> dict[str, tuple[int, int]]:
    """Chooses the pixels of the query image.

    Args:
        label: `[size, size]` classes, or None if there is no mask.
        classes: Names of the classes, background first.
        size: Side of the image, px.

    Returns:
        Pixels (row, column) by name. They are the innermost pixels of the last three
        foreground classes in the label, last class first (in ACDC LV, MYO and RV).
        Without any foreground they are three fixed pixels.
    """
    if label is not None and np.isin(label, range(1, len(classes))).any():
        present = [i for i in range(1, len(classes)) if (label == i).any()][-3:]
        return {classes[i]: innermost_pixel(label == i) for i in reversed(present)}
    middle, quarter = size // 2, size // 4
    return {
        "centre": (middle, middle),
        "above it": (quarter, middle),
        "below it": (size - quarter, middle),
    }


def innermost_pixel(mask: np.ndarray) -> tuple[int, int]:
    """Finds the pixel of a mask that is farthest from its edge.

    Args:
        mask: `[height, width]` bool, not empty.

    Returns:
        Row and column of the pixel with the largest Euclidean distance to the nearest
        pixel outside the mask; the first of equal ones.
    """
    # The frame of zeros makes the image's border an edge of the mask.
    depth = ndimage.distance_transform_edt(np.pad(np.asarray(mask, bool), 1))
    return argmax_pixel(depth[1:-1, 1:-1])
