"""The picture of similar embeddings: a pixel, and the closest of other patients."""

from collections.abc import Mapping, Sequence

import numpy as np
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


def draw_similarity(
    images: np.ndarray,
    embeddings: np.ndarray,
    queries: Mapping[str, tuple[int, int]],
    *,
    names: Sequence[str],
    labels: np.ndarray | None = None,
    classes: Sequence[str] = (),
) -> Figure:
    """Draws pixels of one image, and the most similar pixels of other images.

    Pixels that show air are passed over: air looks alike in all patients.

    Args:
        images: `[1 + others, height, width]` in [0, 1], the query image first.
        embeddings: `[1 + others, height, width, d]`.
        queries: Pixels (row, column) of the query image by name; each gets one row.
        names: Names of the images.
        labels: `[1 + others, height, width]` classes. If given, the structure that a
            query is named after is outlined, and the class under each closest pixel is
            written below the panel.
        classes: Names of the classes.

    Returns:
        A figure whose first column is the query image with its pixel marked. Each other
        image has two columns: the image with its closest pixel marked, and the cosine
        similarity of all its pixels.

    Reference:
        Seince et al., "Dense Self-Supervised Learning for Medical Image
        Segmentation", MIDL 2024, Figure 2.
    """
    others = range(1, len(images))
    maps = {
        name: similarity(embeddings[0][pixel], embeddings[1:])
        for name, pixel in queries.items()
    }
    lowest = min(alike.min() for alike in maps.values())
    titles = [f"query\n{names[0]}"]
    for index in others:
        titles += [f"closest pixel\n{names[index]}", "cosine\nsimilarity"]
    figure, axes = new_sheet(
        len(queries), len(titles), panel_in=1.8, titles=titles, extra_in=0.5
    )
    for panels, (name, pixel) in zip(axes, queries.items(), strict=True):
        show_image(panels[0], images[0])
        mark(panels[0], pixel, color=_COLOR, hollow=True)
        panels[0].set_ylabel(name, fontsize=10)
        for index in others:
            alike = maps[name][index - 1]
            closest = argmax_pixel(alike, images[index] >= _AIR)
            picture, heat = panels[2 * index - 1], panels[2 * index]
            show_image(picture, images[index])
            mark(picture, closest, color=_COLOR, hollow=True)
            note = f"{alike[closest]:.2f}"
            if labels is not None and labels[index][closest] != UNLABELLED:
                note += f" on {classes[labels[index][closest]]}"
            picture.set_xlabel(note, fontsize=9)
            heat_image = show_image(
                heat, alike, cmap="viridis", value_range=(float(lowest), 1.0)
            )
            mark(heat, closest, color=_COLOR, hollow=True)
        if labels is not None and name in classes:
            for index, label in enumerate(labels):
                lines = mask_outlines(label == classes.index(name))
                ax = panels[max(0, 2 * index - 1)]
                draw_lines(ax, lines, color=class_color(classes.index(name)), width=0.8)
    bar = figure.colorbar(heat_image, ax=axes, fraction=0.02, aspect=40, pad=0.01)
    bar.set_label("cosine similarity", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def draw_comparison(
    images: np.ndarray,
    embeddings: np.ndarray,
    labels: np.ndarray | None,
    names: Sequence[str],
    *,
    classes: Sequence[str],
) -> Figure:
    """Draws `draw_similarity` for a pixel inside each structure of the first image.

    Args:
        images: As for `draw_similarity`, like all others.
        embeddings: `[images, height, width, d]`, one embedding per pixel.
        labels: Without them, fixed pixels are taken.
        names: The patient of each image.
        classes: Names of the classes, background first.
    """
    queries = query_pixels(
        None if labels is None else labels[0], classes=classes, size=images.shape[-1]
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
