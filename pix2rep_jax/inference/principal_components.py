"""The directions in which the embeddings of pixels differ most, as colours."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

__all__ = ["Colours", "find_colours"]

_SHOWN = (1, 99)
"""Percentiles of a component that become the darkest and the brightest colour."""


class Colours(NamedTuple):
    """How an embedding becomes red, green and blue.

    Attributes:
        mean: `[d]`, what is subtracted first.
        axes: `[d, 3]`, the first three principal components.
        low: `[3]`, the coordinates that become 0.
        high: `[3]`, those that become 1.
    """

    mean: np.ndarray
    axes: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def paint(self, embeddings: np.ndarray) -> np.ndarray:
        """Turns embeddings `[..., d]` into float32 `[..., 3]` in [0, 1]."""
        places = (embeddings - self.mean) @ self.axes
        span = np.maximum(self.high - self.low, 1e-12)
        return np.clip((places - self.low) / span, 0, 1).astype(np.float32)


def find_colours(samples: Iterable[np.ndarray]) -> Colours:
    """Finds the principal components of pixels.

    The sign of a component is that which makes its largest entry positive, so that the
    same pixels have the same colours on every machine.

    Args:
        samples: `[pixels, d]` embeddings of each scan, at least one pixel. If d is
            below 3 the other colours are 0.
    """
    pixels = np.concatenate([np.asarray(each, np.float64) for each in samples])
    mean = pixels.mean(0)
    _, vectors = np.linalg.eigh((pixels - mean).T @ (pixels - mean))
    axes = vectors[:, ::-1][:, :3]  # eigh sorts them the other way round
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    axes = np.pad(axes, ((0, 0), (0, 3 - axes.shape[1])))
    low, high = np.percentile((pixels - mean) @ axes, _SHOWN, axis=0)
    return Colours(mean, axes, low, high)
