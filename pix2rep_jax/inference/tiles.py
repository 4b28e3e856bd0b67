"""Slices that are too large for the memory, in tiles that overlap."""

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["predict_in_tiles", "tile_starts"]

SIDE = 512
"""Largest rows and columns of a tile, px."""

_OVERLAP = 0.25
"""Share of a tile that the next one covers too, at least."""

_SIGMA = 1 / 8
"""Standard deviation of the weights, in sides of a tile, as in nnU-Net."""


def predict_in_tiles(
    predict: Callable[[Any], Any], image: np.ndarray, *, side: int = SIDE
) -> np.ndarray:
    """Predicts a slice in tiles, and averages them by Gaussian weights.

    Args:
        predict: Maps `[1, rows, columns, channels]` to probabilities `[1, rows,
            columns, num_classes]`.
        image: `[height, width, channels]`.
        side: Rows and columns of a tile, at most those of the slice, px.

    Returns:
        `[height, width, num_classes]` float32.

    Reference:
        Isensee et al., "nnU-Net: a self-configuring method for deep learning-based
        biomedical image segmentation", Nature Methods 18, 2021.
    """
    shape = image.shape[:2]
    rows, columns = (min(length, side) for length in shape)
    weight = (_bell(rows)[:, None] * _bell(columns))[..., None]
    total, weights = np.zeros((), np.float32), np.zeros((*shape, 1), np.float32)
    for row in tile_starts(shape[0], rows):
        for column in tile_starts(shape[1], columns):
            place = slice(row, row + rows), slice(column, column + columns)
            seen = np.asarray(predict(image[place][None]))[0]
            if total.ndim == 0:
                total = np.zeros((*shape, seen.shape[-1]), np.float32)
            total[place] += weight * seen
            weights[place] += weight
    return total / weights


def tile_starts(length: int, side: int) -> list[int]:
    """Places tiles evenly along an axis, the first and the last at its ends."""
    step = max(1, int(side * (1 - _OVERLAP)))
    number = -(-(length - side) // step) + 1
    return np.linspace(0, length - side, number).round().astype(int).tolist()


def _bell(length: int) -> np.ndarray:
    """Weights along a tile's axis, highest in the middle."""
    place = (np.arange(length) - (length - 1) / 2) / (_SIGMA * length)
    return np.exp(-(place**2) / 2).astype(np.float32)
