"""From a scan's own pixels to the network's grid, and back."""

import functools
from collections.abc import Sequence

import numpy as np

from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.data.slices.grid import Grid
from pix2rep_jax.data.slices.percentile import find_percentiles
from pix2rep_jax.data.slices.taps import (
    TIE,
    combine,
    restoring_taps,
    sampling_taps,
    triangle_taps,
)
from pix2rep_jax.errors import InputError

__all__ = [
    "INTERPOLATIONS",
    "normalise",
    "percentile_range",
    "resample_image",
    "resample_label",
    "restore_labels",
    "restore_probabilities",
    "restore_values",
]


INTERPOLATIONS = ("linear", "nearest")
"""How a scan's pixels become the network's: a mean of those around, or the nearest."""

_PIXELS_AT_ONCE = 2**23
"""Pixels that are resampled at once, so that a large scan needs little memory."""


def percentile_range(
    array: np.ndarray,
    percentiles: Sequence[float] = (1.0, 99.0),
    *,
    name: str = "the scan",
) -> tuple[float, float]:
    """Finds the intensities of a volume that become 0 and 1.

    Args:
        array: The volume.
        percentiles: Percentiles of its intensities; 1 and 99 in the paper.
        name: Name of the volume in the error message.

    Returns:
        The lower and the higher intensity.

    Raises:
        InputError: If both are the same, so that the volume shows nothing.
    """
    low, high = find_percentiles(array, percentiles)
    if not low < high:
        raise InputError(
            f"{name} is {low:g} almost everywhere (percentiles {percentiles[0]:g} and "
            f"{percentiles[1]:g}): copy it again, crop it to what it shows, or remove "
            "it"
        )
    return low, high


def normalise(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """Maps intensities linearly so that low is 0 and high is 1, and clips to [0, 1].

    Args:
        array: Intensities in any shape.
        low: Intensity that becomes 0.
        high: Intensity that becomes 1.

    Returns:
        float32 in the same shape. If high is not above low, it is 0 everywhere.
    """
    if not high > low:
        return np.zeros(array.shape, np.float32)
    stretched = np.asarray(np.asarray(array, np.float32) - low)
    stretched /= high - low
    return np.clip(stretched, 0, 1, out=stretched)


def resample_image(
    image: np.ndarray,
    grid: Grid,
    *,
    interpolation: str = "linear",
    stretch: tuple[float, float] | None = None,
) -> np.ndarray:
    """Brings slices to the network's grid.

    "linear": each pixel is a mean of the slice's pixels around it, weighted by a
    triangle. If the network's grid is finer than the slice, this is linear
    interpolation. If it is coarser, it is a low-pass filter.

    "nearest": each pixel is the slice's nearest pixel. The paper's released code does
    so too, but counts from the corner of a pixel, which moves all by a part of one.

    Args:
        image: `[..., rows, columns]`; it counts as 0 outside.
        grid: The grid to sample on.
        interpolation: One of `INTERPOLATIONS`.
        stretch: The intensities that first become 0 and 1, as in `normalise`; None
            leaves the values as they are. Only pixels near the grid are normalised.

    Returns:
        `[..., height, width]`, within the range of the image's values and 0.
    """
    rows, columns = (sampling_taps(grid, axis, interpolation) for axis in (0, 1))
    top, left = rows[0].min(), columns[0].min()
    nearby = image[..., top : rows[0].max() + 1, left : columns[0].max() + 1]
    if stretch is None:
        lowest, highest = image.min(initial=0), image.max(initial=0)
    else:
        lowest = 0
        highest = normalise(image.max(initial=stretch[0]), *stretch)

    def sample(part: np.ndarray) -> np.ndarray:
        part = part if stretch is None else normalise(part, *stretch)
        # What NIfTI stores column by column is turned once, not for each tap.
        sampled = np.ascontiguousarray(part)
        sampled = combine(sampled, rows[0] - top, rows[1], axis=-2)
        sampled = combine(sampled, columns[0] - left, columns[1], axis=-1)
        # Rounding may take the sum of the weights slightly above one.
        return np.clip(sampled, lowest, highest)

    pixels = max(1, nearby.shape[-2] * nearby.shape[-1], grid.size[0] * grid.size[1])
    at_once = max(1, _PIXELS_AT_ONCE // pixels)
    if nearby.ndim != 3 or len(nearby) <= at_once:
        return sample(nearby)
    result = np.empty((len(nearby), *grid.size), np.float32)
    for start in range(0, len(nearby), at_once):
        result[start : start + at_once] = sample(nearby[start : start + at_once])
    return result


def resample_label(
    label: np.ndarray, grid: Grid, *, interpolation: str = "linear"
) -> np.ndarray:
    """Brings masks to the network's grid, by the weights that their images have.

    The mask of each class is resampled as `resample_image` resamples an image. A pixel
    takes the class with the largest value. Taking the label of the nearest pixel would
    move whole masks: where centres fall between two pixels, rounding always goes the
    same way.

    In a slice with pixels that nobody has labelled, a pixel has a label if the centre
    of a labelled pixel lies in it, or if the nearest pixel is labelled. So a dot of one
    pixel is kept. The class is the largest among the labelled pixels, and nothing is
    labelled outside the slice.

    Args:
        label: `[..., rows, columns]` integers; background (0) outside, and
            `UNLABELLED` for pixels without a label.
        grid: The grid to sample on.
        interpolation: One of `INTERPOLATIONS`.

    Returns:
        `[..., height, width]` of the same type. Of equal classes the lowest counts.
    """
    rows, columns = (sampling_taps(grid, axis, interpolation) for axis in (0, 1))
    planes = label.reshape(-1, *label.shape[-2:])
    result = np.zeros((len(planes), *grid.size), label.dtype)
    # One slice and one class at a time, so that many classes need no more memory.
    for plane, chosen in zip(planes, result, strict=True):
        best, rest = np.zeros(grid.size, np.float32), np.ones(grid.size, np.float32)
        known = plane != UNLABELLED
        for value in np.unique(plane[known & (plane != 0)]):
            weight = combine(plane == value, *rows, axis=-2)
            weight = combine(weight, *columns, axis=-1)
            chosen[weight > best + TIE] = value
            best, rest = np.maximum(best, weight), rest - weight
        if not known.all():
            rest = combine(combine(plane == 0, *rows, axis=-2), *columns, axis=-1)
        chosen[rest >= best - TIE] = 0
        if not known.all():
            chosen[~_known_pixels(known, grid, interpolation)] = UNLABELLED
    return result.reshape(*label.shape[:-2], *grid.size)


def restore_probabilities(probabilities: np.ndarray, grid: Grid) -> np.ndarray:
    """Brings class probabilities back to the slice's own pixels, linearly.

    Args:
        probabilities: `[..., height, width, classes]` on the network's grid. Class 0
            is background.
        grid: The grid on which the slice was sampled.

    Returns:
        `[..., rows, columns, classes]`. Outside the network's field of view background
        has probability 1.
    """
    restored = restore_values(probabilities, grid)
    seen = grid.is_seen(0)[:, None] & grid.is_seen(1)
    restored[..., 0] += ~seen
    return restored


def restore_values(values: np.ndarray, grid: Grid) -> np.ndarray:
    """Brings any values of pixels back to the slice's own pixels, linearly.

    Args:
        values: `[..., height, width, d]` on the network's grid.
        grid: The grid on which the slice was sampled.

    Returns:
        `[..., rows, columns, d]`; 0 outside the network's field of view.
    """
    (rows, row_weights), (columns, column_weights) = (
        restoring_taps(grid, axis) for axis in (0, 1)
    )
    restored = combine(values, rows, row_weights, axis=-3)
    return combine(restored, columns, column_weights, axis=-2)


def restore_labels(probabilities: np.ndarray, grid: Grid) -> np.ndarray:
    """Brings class probabilities back, and takes the most probable class.

    Args:
        probabilities: `[..., height, width, classes]` on the network's grid.
        grid: The grid on which the slice was sampled.

    Returns:
        `[..., rows, columns]` uint8.
    """
    (seen_rows, *row_taps), (seen_columns, *column_taps) = _seen_taps(grid)
    *lead, height, width, classes = probabilities.shape
    planes = probabilities.reshape(-1, height, width, classes)
    labels = np.zeros((len(planes), *grid.shape[::-1]), np.uint8)
    # One slice at a time, so that a large scan needs little memory.
    for plane, label in zip(planes, labels, strict=True):
        restored = combine(plane, *row_taps, axis=-3)
        # With columns in front whole rows are copied, not single pixels.
        restored = np.ascontiguousarray(restored.transpose(1, 2, 0))
        restored = combine(restored, *column_taps, axis=-3)
        label[seen_columns, seen_rows] = _largest(restored.transpose(1, 0, 2))
    return labels.reshape(*lead, *grid.shape[::-1]).swapaxes(-2, -1)


@functools.lru_cache(maxsize=4)
def _seen_taps(grid: Grid) -> list[tuple[slice, np.ndarray, np.ndarray]]:
    """Returns the seen rows of a slice with their taps, and the same of its columns.

    What the network did not see is background, and needs no arithmetic.
    """
    sides = []
    for axis in (0, 1):
        seen = np.flatnonzero(grid.is_seen(axis))
        side = slice(seen[0], seen[-1] + 1) if seen.size else slice(0)
        index, weights = restoring_taps(grid, axis)
        sides.append((side, index[side], weights[side]))
    return sides


def _largest(classes: np.ndarray) -> np.ndarray:
    """Returns the arg max over the first axis, many times as fast as NumPy's."""
    chosen, best = np.zeros(classes.shape[1:], np.uint8), classes[0]
    for index, values in enumerate(classes[1:], 1):
        # Where a class is larger, its index is larger than those before it. Copies
        # with `where` take ten times as long as a product and a maximum.
        larger = (values > best).view(np.uint8)
        np.maximum(chosen, larger * np.uint8(index), out=chosen)
        best = np.maximum(best, values)
    return chosen


def _known_pixels(known: np.ndarray, grid: Grid, interpolation: str) -> np.ndarray:
    """Finds the network's pixels that have a label, in a slice where not all do."""
    for axis in (0, 1):
        if interpolation == "nearest":
            index, weights = sampling_taps(grid, axis, "nearest")
        else:  # half the triangle's height is half a pixel of the coarser grid away
            index, weights = triangle_taps(
                grid.centres(axis), max(1.0, grid.step[axis])
            )
            inside = (index >= 0) & (index < grid.shape[axis])
            index, weights = np.where(inside, index, 0), np.where(inside, weights, 0)
        near = (weights >= 0.5 - TIE).astype(np.float32)
        known = combine(known, index, near, axis=axis - 2) > 0
    return known
