"""How alike patients' middle slices are: upright, and turned or mirrored."""

import base64
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Likeness", "compare", "make_thumbnail", "read_thumbnail"]

_SIDE = 48
"""Side of a thumbnail, px."""

_AT_ONCE = 1024
"""Thumbnails whose numbers are in memory at once, 19 MB of them."""

MOVES = {
    "turned by 90°": lambda x: np.rot90(x, 1, (1, 2)),
    "turned by 180°": lambda x: np.rot90(x, 2, (1, 2)),
    "turned by 270°": lambda x: np.rot90(x, 3, (1, 2)),
    "mirrored in its rows": lambda x: x[:, ::-1],
    "mirrored in its columns": lambda x: x[:, :, ::-1],
    "transposed": lambda x: x.swapaxes(1, 2),
    "transposed the other way": lambda x: np.rot90(x, 2, (1, 2)).swapaxes(1, 2),
}
"""The seven turns and mirrors of thumbnails `[patients, 48, 48]`."""


class Likeness(NamedTuple):
    """Mean correlations of the middle slices of two different patients.

    Attributes:
        upright: Both as they are.
        moved: One of them turned or mirrored, in the way that is the most alike.
        move: That way.
    """

    upright: float
    moved: float
    move: str


def make_thumbnail(plane: np.ndarray) -> str:
    """Shrinks a slice to 48 x 48 px of 256 greys, and writes it as text.

    Args:
        plane: `[rows, columns]`.
    """
    shrunk = plane.astype(np.float64)
    for axis in (0, 1):
        shrunk = _resize(shrunk, axis)
    low, high = np.percentile(shrunk, (1, 99))
    scaled = np.clip((shrunk - low) / max(high - low, 1e-12), 0, 1)
    return base64.b64encode((255 * scaled).astype(np.uint8).tobytes()).decode()


def read_thumbnail(text: str) -> np.ndarray:
    """Reads the `[48, 48]` uint8 that `make_thumbnail` has written."""
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(_SIDE, _SIDE)


def compare(thumbnails: Sequence[np.ndarray]) -> Likeness | None:
    """Correlates the slices of different patients.

    Args:
        thumbnails: `[48, 48]` of each patient.

    Returns:
        The mean over all pairs; None for fewer than two patients.
    """
    if (number := len(thumbnails)) < 2:
        return None
    moves = {"": lambda stack: stack, **MOVES}
    sums = {name: np.zeros((_SIDE, _SIDE)) for name in moves}
    own = dict.fromkeys(moves, 0.0)  # products of patients with themselves
    for start in range(0, number, _AT_ONCE):
        stack = np.stack(thumbnails[start : start + _AT_ONCE]).astype(np.float64)
        stack -= stack.mean((1, 2), keepdims=True)
        stack /= np.maximum(np.linalg.norm(stack, axis=(1, 2), keepdims=True), 1e-12)
        for name, move in moves.items():
            moved = move(stack)
            sums[name] += moved.sum(0)
            own[name] += float(np.vdot(stack, moved))
    # The sums need no pairs.
    found = {
        name: float(np.vdot(sums[""], each) - own[name]) / (number * (number - 1))
        for name, each in sums.items()
    }
    upright = found.pop("")
    best = max(found, key=lambda name: found[name])
    return Likeness(round(upright, 3), round(found[best], 3), best)


def _resize(array: np.ndarray, axis: int) -> np.ndarray:
    """Averages an axis over 48 equal parts, which may share a pixel."""
    length = array.shape[axis]
    edges = np.linspace(0, length, _SIDE + 1)
    total = np.insert(np.cumsum(array, axis), 0, 0, axis)
    whole = np.minimum(edges.astype(int), length - 1)
    shape = [-1 if place == axis else 1 for place in (0, 1)]
    part = (edges - whole).reshape(shape)
    at_edges = np.take(total, whole, axis) + part * np.take(array, whole, axis)
    return np.diff(at_edges, axis=axis) * _SIDE / length
