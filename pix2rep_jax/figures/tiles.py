"""Slices side by side as one array of colours, for a log: no figure is drawn."""

import numpy as np

from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.figures.colors import class_rgb

__all__ = ["tile_predictions", "tile_views"]

_GAP = 2
"""Pixels between two tiles."""

_OPACITY = 0.45


def tile_predictions(
    images: np.ndarray, labels: np.ndarray, predicted: np.ndarray
) -> np.ndarray:
    """Puts slices in rows: as they are, with the expert's classes, with the network's.

    Args:
        images: `[slices, height, width, channels]` in [0, 1]; the first is shown.
        labels: `[slices, height, width]` classes; 255 is left grey.
        predicted: The same of the network.

    Returns:
        `[rows, columns, 3]` uint8.
    """
    grey = to_grey(images[..., 0])
    return tile([grey, paint(grey, labels), paint(grey, predicted)])


def tile_views(
    images: np.ndarray, view_a: np.ndarray, view_b: np.ndarray, valid: np.ndarray
) -> np.ndarray:
    """Puts slices in rows: as they are, and their two views.

    Args:
        images: `[slices, height, width, channels]` in [0, 1]; the first is shown.
        view_a: The first view, of the same shape.
        view_b: The second view.
        valid: `[slices, height, width]` bool, the pixels of the second view that come
            from inside the scan. The others are blue.

    Returns:
        `[rows, columns, 3]` uint8.
    """
    first, second, third = (to_grey(x[..., 0]) for x in (images, view_a, view_b))
    third = np.where(valid[..., None], third, np.array((40, 60, 110), np.uint8))
    return tile([first, second, third])


def to_grey(images: np.ndarray) -> np.ndarray:
    """Makes `[..., 3]` uint8 of values in [0, 1]; others are clipped."""
    grey = (255 * np.clip(np.nan_to_num(images), 0, 1)).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def paint(grey: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Lays the colours of classes over slices `[..., 3]`."""
    painted = grey.astype(float)
    for value in np.unique(labels):
        if value not in (0, UNLABELLED):
            shown = labels == value
            color = np.array(class_rgb(int(value)))
            painted[shown] = (1 - _OPACITY) * painted[shown] + _OPACITY * color
    return painted.round().astype(np.uint8)


def tile(columns: list[np.ndarray]) -> np.ndarray:
    """Joins columns of slices `[slices, height, width, 3]`, with white lines."""
    padding = ((0, 0), (0, _GAP), (0, _GAP), (0, 0))
    padded = [np.pad(x, padding, constant_values=255) for x in columns]
    wide = np.concatenate(padded, axis=2)
    return wide.reshape(-1, *wide.shape[2:])[:-_GAP, :-_GAP]
