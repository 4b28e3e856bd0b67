"""The picture of the embeddings' geometry: t-SNE, and scans in the colours of it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pix2rep_jax.data.files.labels import UNLABELLED
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

_CORNERS = np.array(  # the colour map at (0, 0), (0, 1), (1, 0) and (1, 1)
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
    """Draws the pixels of a few scans in a t-SNE plane, and the scans in its colours.

    Args:
        images: `[scans, height, width]` in [0, 1].
        embeddings: `[scans, height, width, d]`.
        names: Names of the scans.
        labels: `[scans, height, width]` classes, or None if there are no masks.
        classes: Names of the classes, background first.
        num_points: Number of pixels, of all scans together, that t-SNE places. Each
            other pixel takes the colour of the placed one with the closest embedding.
        seed: Seeds the choice of these pixels, and t-SNE.

    Returns:
        A figure with one row per scan. The columns are: the image with the expert's
        outlines; its pixels in the common t-SNE plane by class, over those of the other
        scans in dark grey; the scan with each pixel in the colour of its place. On the
        right are the colours of the plane.

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
        in_scan = owner == scan
        values = np.zeros(in_scan.sum(), int)
        if labels is not None:
            draw_outlines(panels[0], labels[scan], num_classes=len(classes))
            values = labels[scan].reshape(-1)[chosen[in_scan] - scan * per_scan]
        draw_plane(panels[1], places[~in_scan], places[in_scan], values)
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
        seed: Seeds the optimisation.

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
    """Spreads each coordinate more evenly over [0, 1].

    All colours are then used, whatever gaps t-SNE leaves between its groups.

    Args:
        places: `[n, 2]`, at least two points.

    Returns:
        `[n, 2]`, for each coordinate the mean of its rank and its value, both scaled to
        [0, 1].
    """
    ranks = places.argsort(0, kind="stable").argsort(0, kind="stable")
    extent = np.maximum(np.ptp(places, axis=0), 1e-12)
    return (ranks / (len(places) - 1) + (places - places.min(0)) / extent) / 2


def color_at(places: np.ndarray) -> np.ndarray:
    """Reads the two-dimensional colour map, which is linear between four corners.

    Along the first coordinate blue turns to orange, and along the second brightness
    rises. Colour-blind readers can tell these directions apart.

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
    ax: Axes, others: np.ndarray, places: np.ndarray, values: np.ndarray
) -> None:
    """Scatters a scan's points by class over those of the other scans.

    Args:
        ax: The axes to draw on.
        others: `[m, 2]` points of the other scans.
        places: `[n, 2]` points of the scan.
        values: `[n]` classes of these points.
    """
    x, y = others.T
    ax.scatter(x, y, s=1, color=_OTHERS, linewidths=0, rasterized=True)
    for value in np.unique(values):
        known = 0 < value < UNLABELLED
        color = class_color(value) if known else _BACKGROUND
        x, y = places[values == value].T
        size = 7 if known else 2
        ax.scatter(x, y, s=size, color=color, linewidths=0, rasterized=True)
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_aspect("equal")


def draw_colors(ax: Axes) -> None:
    """Draws the colour map itself."""
    line = np.linspace(0, 1, 64)
    plane = color_at(np.stack(np.meshgrid(line, line, indexing="xy"), -1))
    ax.imshow(plane, origin="lower", extent=(0, 1, 0, 1), interpolation="bilinear")


def add_legend(ax: Axes, classes: Sequence[str]) -> None:
    """Adds a legend: the colour of each class, background included."""
    colors = [_BACKGROUND, *(class_color(i) for i in range(1, len(classes)))]
    handles = [
        Line2D([], [], color=color, marker="o", linestyle="none", label=name)
        for name, color in zip(classes, colors, strict=True)
    ]
    ax.legend(handles=handles, loc="center left", frameon=False, fontsize=10)
