"""From a scan's own pixels to the network's grid, and back."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pix2rep_jax.errors import InputError

__all__ = [
    "Grid",
    "centre_grid",
    "mask_box_grid",
    "normalise",
    "percentile_range",
    "resample_image",
    "resample_label",
    "restore_labels",
    "restore_probabilities",
    "share_inside",
]


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where the network's pixels lie in a slice.

    The centre of the network's pixel (i, j) is at the slice's (fractional) index
    `origin + step * (i, j)`, index 0 being the centre of the slice's first pixel.

    Attributes:
        origin: Row and column of the network's first pixel, px of the slice.
        step: Distance of the network's rows and columns, px of the slice.
        shape: (rows, columns) of the slice.
        size: (height, width) of the network's grid.
    """

    origin: tuple[float, float]
    step: tuple[float, float]
    shape: tuple[int, int]
    size: tuple[int, int]


def percentile_range(
    array: np.ndarray,
    percentiles: Sequence[float] = (1.0, 99.0),
    *,
    name: str = "the scan",
) -> tuple[float, float]:
    """Finds the intensities between which a volume is stretched.

    Args:
        array: A volume.
        percentiles: Of its intensities; the paper's are 1 and 99.
        name: Of the volume, for a complaint.

    Returns:
        The lower and the higher intensity.

    Raises:
        InputError: If they are the same, so that there is no picture between them.
    """
    low, high = (float(value) for value in np.percentile(array, percentiles))
    if not low < high:
        raise InputError(
            f"{name} is {low:g} almost everywhere (percentiles {percentiles[0]:g} and "
            f"{percentiles[1]:g}): there is nothing to see; copy it again, crop it to "
            "what it shows, or leave it out"
        )
    return low, high


def normalise(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """Maps intensities linearly so that low is 0 and high is 1, and clips to [0, 1].

    Args:
        array: Of any shape.
        low: Mapped to 0.
        high: Mapped to 1.

    Returns:
        float32 of the same shape; 0 everywhere where high is not above low.
    """
    if not high > low:
        return np.zeros(array.shape, np.float32)
    stretched = (np.asarray(array, np.float32) - low) / (high - low)
    return np.clip(stretched, 0, 1).astype(np.float32, copy=False)


def centre_grid(
    shape: Sequence[int], spacing_mm: Sequence[float], *, fov_mm: float, size: int
) -> Grid:
    """Places a square field of view at the image centre.

    It is what resampling to a fixed spacing, cropping or padding about the centre and
    resizing to `size` give, in one interpolation instead of two.

    Args:
        shape: (rows, columns) of the slice.
        spacing_mm: Of the slice's rows and columns, mm.
        fov_mm: Side of the field of view, mm; it may stick out of the slice.
        size: Side of the network's grid, px.
    """
    step = tuple(fov_mm / size / spacing for spacing in spacing_mm)
    origin = tuple(
        (length - 1) / 2 - each * (size - 1) / 2
        for length, each in zip(shape, step, strict=True)
    )
    return Grid(origin, step, tuple(shape), (size, size))


def mask_box_grid(label: np.ndarray, *, size: int, margin_px: int = 10) -> Grid:
    """Stretches the box of a slice's mask over the network's grid.

    This is the crop of the paper's released code. It uses the ground truth, in test
    images too, so its scores are not those of segmenting unseen scans.

    Args:
        label: `[rows, columns]`, the expert's mask, background 0.
        size: Side of the network's grid, px.
        margin_px: Added on the four sides of the box as far as the slice reaches, px.

    Raises:
        ValueError: If the mask is empty.
    """
    if not label.any():
        raise ValueError("an empty mask has no box")
    origin, step = [], []
    for axis in (0, 1):
        inside = np.flatnonzero(label.any(1 - axis))
        first = max(inside[0] - margin_px, 0)
        last = min(inside[-1] + margin_px, label.shape[axis] - 1)
        step.append(float(last - first + 1) / size)
        # The box reaches from edge to edge of its pixels, half a pixel beyond centres.
        origin.append(float(first) - 0.5 + step[-1] / 2)
    return Grid(tuple(origin), tuple(step), label.shape, (size, size))


def resample_image(image: np.ndarray, grid: Grid) -> np.ndarray:
    """Brings slices to the network's grid, linearly and with antialiasing.

    Each pixel is the mean of the slice's pixels about it under a triangle, which is
    linear interpolation where the network's grid is finer than the slice and a
    low-pass filter where it is coarser.

    Args:
        image: `[..., rows, columns]`; taken as 0 outside.
        grid: Where to sample.

    Returns:
        `[..., height, width]`, between the least and the greatest value of the image
        and 0.
    """
    sampled = _combine(image, *_sampling_taps(grid, 0), axis=-2)
    sampled = _combine(sampled, *_sampling_taps(grid, 1), axis=-1)
    # The weights sum to one but for rounding.
    return np.clip(sampled, image.min(initial=0), image.max(initial=0))


def resample_label(label: np.ndarray, grid: Grid) -> np.ndarray:
    """Brings masks to the network's grid: each pixel takes the nearest one's label.

    Args:
        label: `[..., rows, columns]` integers; taken as 0 outside.
        grid: Where to sample.

    Returns:
        `[..., height, width]` of the same type.
    """
    index, inside = zip(*(_nearest(grid, axis) for axis in (0, 1)), strict=True)
    taken = label[..., index[0][:, None], index[1]]
    return np.where(inside[0][:, None] & inside[1], taken, label.dtype.type(0))


def share_inside(label: np.ndarray, grid: Grid) -> float:
    """Measures how much of a mask lies where the network sees it.

    Args:
        label: `[..., rows, columns]` integers, background 0.
        grid: Where the slices are sampled.

    Returns:
        The share of the labelled pixels that lie in one of the network's, 0 to 1; 1
        where none is labelled.
    """
    rows, columns = (np.flatnonzero(_is_seen(grid, axis)) for axis in (0, 1))
    total = np.count_nonzero(label)
    inside = np.count_nonzero(label[..., rows[:, None], columns])
    return float(inside / total) if total else 1.0


def restore_probabilities(probabilities: np.ndarray, grid: Grid) -> np.ndarray:
    """Brings class probabilities back to the slice's own pixels, linearly.

    Args:
        probabilities: `[..., height, width, classes]` on the network's grid, class 0
            being background.
        grid: The grid on which the slice was sampled.

    Returns:
        `[..., rows, columns, classes]`; background is certain where the slice's pixel
        lies beyond the network's outermost pixels.
    """
    (rows, row_weights), (columns, column_weights) = (
        _restoring_taps(grid, axis) for axis in (0, 1)
    )
    restored = _combine(probabilities, rows, row_weights, axis=-3)
    restored = _combine(restored, columns, column_weights, axis=-2)
    seen = row_weights.any(1)[:, None] & column_weights.any(1)
    restored[..., 0] += ~seen
    return restored


def restore_labels(probabilities: np.ndarray, grid: Grid) -> np.ndarray:
    """Brings class probabilities back and takes the likeliest class.

    Args:
        probabilities: As for `restore_probabilities`.
        grid: The grid on which the slice was sampled.

    Returns:
        `[..., rows, columns]` uint8.
    """
    return restore_probabilities(probabilities, grid).argmax(-1).astype(np.uint8)


def _centres(grid: Grid, axis: int) -> np.ndarray:
    """Where the network's pixels lie along an axis of the slice."""
    return grid.origin[axis] + grid.step[axis] * np.arange(grid.size[axis])


def _sampling_taps(grid: Grid, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of the slice's pixels make up each of the network's, and their weights."""
    support = max(1.0, grid.step[axis])
    index, weights = _taps(_centres(grid, axis), support)
    # The total counts pixels beyond the slice too: they are black, not absent.
    weights /= weights.sum(1, keepdims=True)
    inside = (index >= 0) & (index < grid.shape[axis])
    return np.where(inside, index, 0), np.where(inside, weights, 0)


def _restoring_taps(grid: Grid, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of the network's pixels make up each of the slice's, and their weights."""
    size = grid.size[axis]
    index, weights = _taps(_places(grid, axis), max(1.0, 1 / grid.step[axis]))
    # Here the total leaves out what is absent, so the outermost pixels reach half a
    # pixel further; beyond that nothing was seen.
    weights = np.where((index >= 0) & (index < size), weights, 0)
    seen = _is_seen(grid, axis)
    total = np.where(seen, weights.sum(1), 1)
    weights = np.where(seen[:, None], weights / total[:, None], 0)
    return np.clip(index, 0, size - 1), weights


def _places(grid: Grid, axis: int) -> np.ndarray:
    """Where the slice's pixels lie along an axis of the network's grid."""
    return (np.arange(grid.shape[axis]) - grid.origin[axis]) / grid.step[axis]


def _is_seen(grid: Grid, axis: int) -> np.ndarray:
    """Which of the slice's pixels have their centres in one of the network's."""
    places = _places(grid, axis)
    return (places >= -0.5) & (places <= grid.size[axis] - 0.5)


def _taps(centres: np.ndarray, support: float) -> tuple[np.ndarray, np.ndarray]:
    """`[centres, taps]` twice: the pixels under a triangle, and its height there."""
    reach = np.arange(1 - np.ceil(support), np.ceil(support) + 1)
    index = np.floor(centres)[:, None] + reach
    weights = np.maximum(0, 1 - np.abs(index - centres[:, None]) / support)
    return index.astype(int), weights


def _combine(
    array: np.ndarray, index: np.ndarray, weights: np.ndarray, *, axis: int
) -> np.ndarray:
    """Sums the taps of an axis; not by matrices, whose threads get in each other's way.

    NumPy's matrix products start threads that wait by spinning: on a busy machine they
    took ten times as long.
    """
    after = (1,) * (-axis - 1)
    total = np.float32(0)
    for position, weight in zip(index.T, weights.T.astype(np.float32), strict=True):
        total = total + np.take(array, position, axis) * weight.reshape(-1, *after)
    return total.astype(np.float32, copy=False)


def _nearest(grid: Grid, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """`[size]` twice: the nearest pixel, and whether it lies in the slice."""
    index = np.floor(_centres(grid, axis) + 0.5).astype(int)
    last = grid.shape[axis] - 1
    return np.clip(index, 0, last), (index >= 0) & (index <= last)
