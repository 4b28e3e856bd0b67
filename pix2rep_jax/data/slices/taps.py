"""The pixels that make up another grid's pixels ("taps"), and their weights.

They are computed here instead of by a library. Published numbers depend on them to the
last bit, and this folder does not import JAX, whose `scale_and_translate` is the
nearest equivalent.
"""

import numpy as np

from pix2rep_jax.data.slices.grid import Grid

__all__ = ["TIE", "combine", "restoring_taps", "sampling_taps", "triangle_taps"]

TIE = 1e-5
"""What differs by less is equal: rounding must not choose a side."""


def sampling_taps(
    grid: Grid, axis: int, interpolation: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the slice's pixels that make up each network pixel, and their weights."""
    if interpolation == "nearest":
        index = _nearest(grid.centres(axis))[:, None]
        weights = np.ones(index.shape)
    else:
        support = max(1.0, grid.step[axis])
        index, weights = triangle_taps(grid.centres(axis), support)
    # The total includes pixels beyond the slice, because they count as black.
    weights /= weights.sum(1, keepdims=True)
    inside = (index >= 0) & (index < grid.shape[axis])
    return np.where(inside, index, 0), np.where(inside, weights, 0)


def restoring_taps(grid: Grid, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the network's pixels that make up each slice pixel, and their weights."""
    size = grid.size[axis]
    index, weights = triangle_taps(grid.places(axis), max(1.0, 1 / grid.step[axis]))
    # Here the total leaves out absent pixels, so the outermost pixels reach half a
    # pixel further. Beyond that the network saw nothing.
    weights = np.where((index >= 0) & (index < size), weights, 0)
    seen = grid.is_seen(axis)
    total = np.where(seen, weights.sum(1), 1)
    weights = np.where(seen[:, None], weights / total[:, None], 0)
    return np.clip(index, 0, size - 1), weights


def triangle_taps(centres: np.ndarray, support: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns `[centres, taps]` pixels under a triangle, and its height at each."""
    reach = np.arange(1 - np.ceil(support), np.ceil(support) + 1)
    index = np.floor(centres)[:, None] + reach
    weights = np.maximum(0, 1 - np.abs(index - centres[:, None]) / support)
    return index.astype(int), weights


def combine(
    array: np.ndarray, index: np.ndarray, weights: np.ndarray, *, axis: int
) -> np.ndarray:
    """Sums the taps of an axis.

    A matrix product would do the same. But NumPy's products start threads that wait by
    spinning, and on a busy machine they took ten times as long.
    """
    after = (1,) * (-axis - 1)
    shape = list(array.shape)
    shape[axis] = len(index)
    total = np.zeros(shape, np.float32)
    for position, weight in zip(index.T, weights.T.astype(np.float32), strict=True):
        # If pixels are far larger than a slice, most taps lie beside it.
        if weight.any():
            total += np.take(array, position, axis) * weight.reshape(-1, *after)
    return total


def _nearest(centres: np.ndarray) -> np.ndarray:
    """Returns the nearest pixel of each centre.

    Of two equally near ones it is the one towards the middle of the centres, so that
    ties move nothing as a whole.
    """
    before = centres < centres.mean()
    index = np.where(
        before, np.floor(centres + 0.5 + TIE), np.ceil(centres - 0.5 - TIE)
    )
    return index.astype(int)
