"""The picture of the embeddings' own geometry: t-SNE, and scans coloured by it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pix2rep_jax.errors import InputError
from pix2rep_jax.figures.drawing import (
    class_color,
    draw_outlines,
    new_sheet,
    show_image,
)

__all__ = [
    "closest_anchors",
    "color_at",
    "draw_embedding_map",
    "project",
    "spread_out",
]

_CORNERS = np.array(  # of the colour map: (0, 0), (0, 1), (1, 0), (1, 1)
    [[0.00, 0.25, 0.55], [0.35, 0.75, 0.95], [0.80, 0.30, 0.00], [0.98, 0.92, 0.35]]
)
_BACKGROUND, _OTHERS = "#B4B4B4", "#4E4E4E"


def draw_embedding_map(
    images: np.ndarray,
    embeddings: np.ndarray,
    *,
    names: Sequence[str],
    labels: np.ndarray | None = None,
    classes: Sequence[str] = (),
    num_points: int = 4000,
    seed: int = 0,
) -> Figure:
    """Draws t-SNE coordinates of the pixels of a few scans, and the scans by them.

    Args:
        images: `[scans, height, width]` in [0, 1].
        embeddings: `[scans, height, width, d]`.
        names: Whose the images are.
        labels: `[scans, height, width]` classes, or None where nobody drew them.
        classes: Names of the classes, background first.
        num_points: Pixels of all scans together that t-SNE places. The others take
            the colour of the one whose embedding is closest to theirs.
        seed: Of their choice and of t-SNE.

    Returns:
        A row a scan: the image with the expert's outlines; its pixels in the common
        t-SNE plane by class, those of the other scans in dark grey; the scan with each
        pixel in the colour of its place. On the right the colours of the plane.

    Raises:
        InputError: If scikit-learn is not installed.

    Reference:
        Seince et al., "Dense Self-Supervised Learning for Medical Image
        Segmentation", MIDL 2024, Figure 4; van der Maaten and Hinton, "Visualizing
        Data using t-SNE", JMLR 2008.
    """
    pixels = unit_length(embeddings.reshape(-1, embeddings.shape[-1]))
    chosen = np.random.default_rng(seed).permutation(len(pixels))[:num_points]
    places = spread_out(project(pixels[chosen], seed=seed))
    nearest = closest_anchors(pixels, pixels[chosen])
    nearest[chosen] = np.arange(len(chosen))
    colors = color_at(places)[nearest].reshape(*images.shape, 3)
    owner, per_scan = chosen // images[0].size, images[0].size
    titles = ["image, expert", "t-SNE by class", "colour of the place", "colours"]
    figure, axes = new_sheet(len(images), 4, panel_in=2.3, titles=titles)
    for scan, panels in enumerate(axes):
        show_image(panels[0], images[scan])
        panels[0].set_ylabel(names[scan], fontsize=9)
        own = owner == scan
        values = np.zeros(own.sum(), int)
        if labels is not None:
            draw_outlines(panels[0], labels[scan], num_classes=len(classes))
            values = labels[scan].reshape(-1)[chosen[own] - scan * per_scan]
        draw_plane(panels[1], places[~own], places[own], values)
        panels[2].imshow(colors[scan].swapaxes(0, 1), interpolation="nearest")
        panels[3].axis("off")
    draw_colors(axes[0, 3])
    if labels is not None:
        add_legend(axes[-1, 3], classes)
    return figure


def unit_length(rows: np.ndarray) -> np.ndarray:
    """Divides rows by their lengths, so that distances follow the cosine."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(lengths, 1e-12)).astype(np.float32)


def project(points: np.ndarray, *, seed: int) -> np.ndarray:
    """Places points in a plane by t-SNE.

    Args:
        points: `[n, d]`.
        seed: Of the optimisation.

    Returns:
        `[n, 2]`.

    Raises:
        InputError: If scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise InputError(
            "t-SNE needs scikit-learn, which is not installed: pip install scikit-learn"
        ) from error
    perplexity = min(30.0, (len(points) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(
        points
    )


def spread_out(places: np.ndarray) -> np.ndarray:
    """Moves points so that each coordinate is evenly spread over [0, 1].

    Colours are then used alike, however t-SNE scales the gaps between its groups.

    Args:
        places: `[n, 2]`, at least two points.

    Returns:
        `[n, 2]`: the mean of a coordinate's rank and of its value, both in [0, 1].
    """
    ranks = places.argsort(0, kind="stable").argsort(0, kind="stable")
    extent = np.maximum(np.ptp(places, axis=0), 1e-12)
    return (ranks / (len(places) - 1) + (places - places.min(0)) / extent) / 2


def color_at(places: np.ndarray) -> np.ndarray:
    """Reads the two-dimensional colour map, linear between four corners.

    Brightness rises along the second coordinate, and along the first blue turns to
    orange, so that colour-blind readers can tell the directions apart.

    Args:
        places: `[..., 2]` in [0, 1].

    Returns:
        `[..., 3]` sRGB in [0, 1].
    """
    u, v = places[..., :1], places[..., 1:]
    near, far = ((1 - v) * a + v * b for a, b in (_CORNERS[:2], _CORNERS[2:]))
    return (1 - u) * near + u * far


def closest_anchors(points: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Finds the anchor with the largest scalar product for each point.

    Args:
        points: `[n, d]`.
        anchors: `[m, d]`.

    Returns:
        `[n]` indices of anchors.
    """
    parts = np.array_split(points, max(1, len(points) * len(anchors) // 2**24))
    return np.concatenate([(part @ anchors.T).argmax(1) for part in parts])


def draw_plane(
    ax: Axes, others: np.ndarray, own: np.ndarray, values: np.ndarray
) -> None:
    """Scatters a scan's points by class over those of the other scans."""
    ax.scatter(*others.T, s=1, color=_OTHERS, linewidths=0, rasterized=True)
    for value in np.unique(values):
        known = 0 < value < 255
        color = class_color(value) if known else _BACKGROUND
        chosen = own[values == value]
        size = 7 if known else 2
        ax.scatter(*chosen.T, s=size, color=color, linewidths=0, rasterized=True)
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_aspect("equal")


def draw_colors(ax: Axes) -> None:
    """Draws the colour map itself."""
    line = np.linspace(0, 1, 64)
    plane = color_at(np.stack(np.meshgrid(line, line, indexing="xy"), -1))
    ax.imshow(plane, origin="lower", extent=(0, 1, 0, 1), interpolation="bilinear")


def add_legend(ax: Axes, classes: Sequence[str]) -> None:
    """Says which colour is which class, background included."""
    colors = [_BACKGROUND, *(class_color(i) for i in range(1, len(classes)))]
    handles = [
        Line2D([], [], color=color, marker="o", linestyle="none", label=name)
        for name, color in zip(classes, colors, strict=True)
    ]
    ax.legend(handles=handles, loc="center left", frameon=False, fontsize=10)
