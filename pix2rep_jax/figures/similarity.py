"""The picture of the learned embeddings: which pixels of other patients are alike."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from pix2rep_jax.figures.drawing import mark, new_sheet, show_image

__all__ = [
    "closest_pixel",
    "cosine_similarity",
    "draw_similarity",
    "innermost_pixel",
    "query_pixels",
]

_COLOR = "#D55E00"


def draw_similarity(
    images: np.ndarray,
    embeddings: np.ndarray,
    queries: Mapping[str, tuple[int, int]],
    *,
    names: Sequence[str],
    labels: np.ndarray | None = None,
    classes: Sequence[str] = (),
) -> Figure:
    """Draws, for pixels of the first image, the likest pixels of the other ones.

    Args:
        images: `[1 + others, height, width]`, the query image first.
        embeddings: `[1 + others, height, width, d]`.
        queries: Pixels of the query image by name, one row each.
        names: Whose the images are.
        labels: `[1 + others, height, width]` classes, to say on what the likest pixel
            lies.
        classes: Names of the classes.

    Returns:
        Columns: the query image with its pixel marked; then, an other image each, the
        image with its likest pixel marked, and the cosine similarity of all its
        pixels.

    Reference:
        Seince et al., "Dense Self-Supervised Learning for Medical Image
        Segmentation", MIDL 2024, Figure 2.
    """
    others = range(1, len(images))
    maps = {
        name: cosine_similarity(embeddings[0][pixel], embeddings[1:])
        for name, pixel in queries.items()
    }
    lowest = min(similarity.min() for similarity in maps.values())
    titles = [f"query\n{names[0]}"]
    for index in others:
        titles += [f"closest pixel\n{names[index]}", "cosine\nsimilarity"]
    figure, axes = new_sheet(len(queries), len(titles), panel_in=1.8, titles=titles)
    drawn = None
    for panels, (name, pixel) in zip(axes, queries.items(), strict=True):
        show_image(panels[0], images[0])
        mark(panels[0], pixel, color=_COLOR, hollow=True)
        panels[0].set_ylabel(name, fontsize=10)
        for index in others:
            similarity = maps[name][index - 1]
            closest = closest_pixel(similarity)
            picture, heat = panels[2 * index - 1], panels[2 * index]
            show_image(picture, images[index])
            mark(picture, closest, color=_COLOR, hollow=True)
            note = f"{similarity[closest]:.2f}"
            if labels is not None:
                note += f" on {classes[labels[index][closest]]}"
            picture.set_xlabel(note, fontsize=9)
            drawn = show_image(
                heat, similarity, cmap="viridis", value_range=(float(lowest), 1.0)
            )
            mark(heat, closest, color=_COLOR, hollow=True)
    bar = figure.colorbar(drawn, ax=axes, fraction=0.02, aspect=40, pad=0.01)
    bar.set_label("cosine similarity with the query pixel", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def cosine_similarity(query: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """Computes the cosine of the angle between an embedding and others.

    Args:
        query: `[d]`.
        embeddings: `[..., d]`.

    Returns:
        `[...]` in [-1, 1]; 0 where either has length zero.
    """
    query = np.asarray(query, np.float64)
    lengths = np.linalg.norm(embeddings, axis=-1) * np.linalg.norm(query)
    products = embeddings @ query
    return np.divide(
        products, lengths, out=np.zeros_like(products), where=lengths > 0
    ).clip(-1, 1)


def closest_pixel(similarity: np.ndarray) -> tuple[int, int]:
    """Returns row and column of the largest value, the first of equal ones."""
    row, column = np.unravel_index(similarity.argmax(), similarity.shape)
    return int(row), int(column)


def query_pixels(
    label: np.ndarray | None, *, classes: Sequence[str], size: int
) -> dict[str, tuple[int, int]]:
    """Chooses pixels to ask about.

    Args:
        label: `[size, size]` classes, or None where nobody has drawn them.
        classes: Names of the classes, background first.
        size: Side of the image, px.

    Returns:
        The innermost pixel of each of the last three foreground classes that there
        are, last class first (in ACDC LV, myocardium, RV); without any three fixed
        positions.
    """
    if label is not None and np.isin(label, range(1, len(classes))).any():
        present = [i for i in range(1, len(classes)) if (label == i).any()][-3:]
        return {classes[i]: innermost_pixel(label == i) for i in reversed(present)}
    middle, quarter = size // 2, size // 4
    return {
        "centre": (middle, middle),
        "left of it": (quarter, middle),
        "right of it": (size - quarter, middle),
    }


def innermost_pixel(mask: np.ndarray) -> tuple[int, int]:
    """Finds the pixel of a mask that is farthest from its edge.

    Args:
        mask: `[height, width]` bool, not empty.

    Returns:
        Row and column: of the pixels that are left when the mask is peeled as often as
        it can be, the one nearest to their centre.
    """
    left = np.asarray(mask, bool)
    while True:
        padded = np.pad(left, 1)
        peeled = (
            left
            & padded[:-2, 1:-1]
            & padded[2:, 1:-1]
            & padded[1:-1, :-2]
            & padded[1:-1, 2:]
        )
        if not peeled.any():
            break
        left = peeled
    positions = np.argwhere(left)
    distance = np.linalg.norm(positions - positions.mean(0), axis=1)
    row, column = positions[distance.argmin()]
    return int(row), int(column)
