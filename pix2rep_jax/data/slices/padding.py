"""Padding in scans: one value where nothing was measured, such as around a CT."""

import numpy as np

__all__ = ["find_padding", "stands_apart"]

_CORNERS = 0.75
"""Share of the slices' corners that hold the padding."""

_GAP = 0.2
"""Padding stands apart if it lies so far below the rest, in ranges of the rest."""


def find_padding(array: np.ndarray) -> float | None:
    """Finds the value with which a scan was padded.

    That is its smallest value, if most corners of its slices hold it.

    Args:
        array: `[..., rows, columns]`.

    Returns:
        The value; None if there is no padding.
    """
    corners = array[..., [0, 0, -1, -1], [0, -1, 0, -1]]
    value = corners.min()
    if np.mean(corners == value) < _CORNERS or array.min() < value:
        return None
    return float(value)


def stands_apart(array: np.ndarray) -> float | None:
    """Finds padding that cannot be a measured value, such as -2000 beside air at -1000.

    Only negative values count: the black around an MR or an ultrasound image is 0, and
    is as dark as what is measured there.

    Args:
        array: `[..., rows, columns]`.

    Returns:
        The value; None if there is no such padding.
    """
    padding = find_padding(array)
    if padding is None or padding >= 0:
        return None
    rest = array[array != padding]
    if not rest.size:
        return None
    low, high = float(rest.min()), float(rest.max())
    return padding if high > low and low - padding > _GAP * (high - low) else None
