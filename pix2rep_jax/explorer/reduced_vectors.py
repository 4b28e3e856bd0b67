"""Embeddings in few bytes: directions of length 1, on few axes, in whole numbers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pix2rep_jax.inference.nearest_pixels import to_unit_length

__all__ = ["ReducedVectors", "reduce_vectors", "restore_vectors"]

AXES = (8, 12, 16, 20, 24, 28, 32)
"""How many axes may be kept."""

ENOUGH = 0.01
"""No axis is added once nearly all cosines are wrong by less: a hundredth."""

MEASURED = 99
"""Percentile of the errors of pairs that counts as "nearly all"."""

_SAMPLE = 3000
"""Pixels that decide the axes, and between which errors are measured."""

_LEVELS = 127


class ReducedVectors(NamedTuple):
    """Embeddings of all scans, on common axes.

    Attributes:
        values: For each scan int8 `[..., axes]`; 0 where the embedding is 0.
        scale: What one unit stands for.
        error: The 99th percentile of the errors of cosines.
        largest_error: The largest error that was found.
    """

    values: list[np.ndarray]
    scale: float
    error: float
    largest_error: float

    @property
    def axes(self) -> int:
        """The number of axes."""
        return self.values[0].shape[-1]


def reduce_vectors(
    embeddings: Sequence[np.ndarray], *, most: int = AXES[-1]
) -> ReducedVectors:
    """Makes embeddings small, and keeps the cosines between them.

    The axes are the eigenvectors of the second moments, not of the covariances: cosines
    count from zero, not from the mean. Axes are added until the error is `ENOUGH`. One
    unit is the same on all axes: then short axes have small numbers, which are packed
    well. A cosine is the product of two vectors as they are. To make them unit length
    again would double the error, since what was cut off counts too.

    Args:
        embeddings: `[slices, height, width, d]` for each scan; not all are 0.
        most: The largest number of axes.
    """
    sample = to_unit_length(_draw(embeddings))
    _, vectors = np.linalg.eigh(sample.T.astype(np.float64) @ sample)
    axes = vectors[:, ::-1].astype(np.float32)  # eigh sorts them the other way round
    known = min(axes.shape[1], most)
    for number in [*(each for each in AXES if each < known), known]:
        kept = axes[:, :number]
        errors = _measure(sample, kept, float(np.abs(sample @ kept).max()) / _LEVELS)
        if np.percentile(errors, MEASURED) <= ENOUGH:
            break
    turned = [
        np.stack([to_unit_length(part) @ kept for part in each]) for each in embeddings
    ]
    scale = max(float(np.abs(each).max()) for each in turned) / _LEVELS
    errors = _measure(sample, kept, scale)
    return ReducedVectors(
        [_to_levels(each, scale) for each in turned],
        scale,
        float(np.percentile(errors, MEASURED)),
        float(errors.max()),
    )


def restore_vectors(values: np.ndarray, scale: float) -> np.ndarray:
    """Turns reduced embeddings back into float32 `[..., axes]`, as the page does."""
    return values.astype(np.float32) * np.float32(scale)


def _draw(embeddings: Sequence[np.ndarray]) -> np.ndarray:
    """Draws pixels, as many of each scan, always the same ones; none that is 0."""
    draw = np.random.default_rng(0)
    samples = []
    for each in embeddings:
        pixels = each.reshape(-1, each.shape[-1])
        pixels = pixels[pixels.any(-1)]
        chosen = draw.permutation(len(pixels))[: _SAMPLE // len(embeddings)]
        samples.append(pixels[chosen].astype(np.float32))
    return np.concatenate(samples)


def _measure(sample: np.ndarray, axes: np.ndarray, scale: float) -> np.ndarray:
    """Measures the errors of the cosines of all pairs in a sample."""
    found = restore_vectors(_to_levels(sample @ axes, scale), scale)
    return np.abs((found @ found.T).clip(-1, 1) - sample @ sample.T)


def _to_levels(values: np.ndarray, scale: float) -> np.ndarray:
    """Rounds values to whole numbers of 8 bits."""
    return np.rint(values / scale).clip(-_LEVELS, _LEVELS).astype(np.int8)
