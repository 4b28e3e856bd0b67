"""From a scan's own pixels to the network's grid, and back.

The interpolation weights ("taps") are computed here instead of by a library. Published
numbers depend on them to the last bit, and this folder does not import JAX, whose
`scale_and_translate` is the nearest equivalent.
"""

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
    "scan_box",
    "share_inside",
]


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where the network's pixels lie in a slice.

    The centre of the network's pixel (i, j) is at the fractional index
    `origin + step * (i, j)` of the slice. Index 0 is the centre of its first pixel.

    Attributes:
        origin: Row and column of the network's first pixel, in px of the slice.
        step: Distance of the network's rows and of its columns, in px of the slice.
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
    low, high = (float(value) for value in np.percentile(array, percentiles))
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
    stretched = (np.asarray(array, np.float32) - low) / (high - low)
    return np.clip(stretched, 0, 1).astype(np.float32, copy=False)


def centre_grid(
    shape: Sequence[int], spacing_mm: Sequence[float], *, fov_mm: float, size: int
) -> Grid:
    """Places a square field of view at the image centre.

    The result equals three operations: resampling to a fixed spacing, cropping or
    padding about the centre, and resizing to `size`. It needs one interpolation instead
    of two.

    Args:
        shape: (rows, columns) of the slice.
        spacing_mm: Distance of the slice's rows and of its columns, mm.
        fov_mm: Side of the field of view, mm. It may reach beyond the slice.
        size: Side of the network's grid, px.
    """
    rows, columns = shape
    row_step, column_step = (fov_mm / size / spacing for spacing in spacing_mm)
    first_row = (rows - 1) / 2 - row_step * (size - 1) / 2
    first_column = (columns - 1) / 2 - column_step * (size - 1) / 2
    return Grid(
        (first_row, first_column),
        (row_step, column_step),
        (rows, columns),
        (size, size),
    )


def mask_box_grid(label: np.ndarray, *, size: int, margin_px: int = 10) -> Grid:
    """Stretches the box of one slice's mask over the network's grid.

    It follows the crop of the paper's released code, which has one box per volume. Such
    a crop uses the ground truth, in test images too. So its scores are not those of
    unseen scans.

    Args:
        label: `[rows, columns]`, the expert's mask, background 0.
        size: Side of the network's grid, px.
        margin_px: Margin on each side of the box, px; it ends at the slice's border.

    Raises:
        ValueError: If the mask is empty.
    """
    if not label.any():
        raise ValueError("an empty mask has no box")
    rows, columns = label.shape

    def along(axis: int) -> tuple[float, float]:
        """Returns origin and step along an axis."""
        inside = np.flatnonzero(label.any(1 - axis))
        first = max(inside[0] - margin_px, 0)
        last = min(inside[-1] + margin_px, label.shape[axis] - 1)
        step = float(last - first + 1) / size
        # The box ends at the edges of its pixels, half a pixel beyond their centres.
        return float(first) - 0.5 + step / 2, step

    (first_row, row_step), (first_column, column_step) = along(0), along(1)
    return Grid(
        (first_row, first_column),
        (row_step, column_step),
        (rows, columns),
        (size, size),
    )


def resample_image(image: np.ndarray, grid: Grid) -> np.ndarray:
    """Brings slices to the network's grid, linearly and with antialiasing.

    Each pixel is a mean of the slice's pixels around it, weighted by a triangle. If the
    network's grid is finer than the slice, this is linear interpolation. If it is
    coarser, it is a low-pass filter.

    Args:
        image: `[..., rows, columns]`; it counts as 0 outside.
        grid: The grid to sample on.

    Returns:
        `[..., height, width]`, within the range of the image's values and 0.
    """
    sampled = _combine(image, *_sampling_taps(grid, 0), axis=-2)
    sampled = _combine(sampled, *_sampling_taps(grid, 1), axis=-1)
    # Rounding may take the sum of the weights slightly above one.
    return np.clip(sampled, image.min(initial=0), image.max(initial=0))


def resample_label(label: np.ndarray, grid: Grid) -> np.ndarray:
    """Brings masks to the network's grid; each pixel takes the nearest label.

    Args:
        label: `[..., rows, columns]` integers; background (0) outside.
        grid: The grid to sample on.

    Returns:
        `[..., height, width]` of the same type.
    """
    (rows, row_inside), (columns, column_inside) = (
        _nearest(grid, axis) for axis in (0, 1)
    )
    taken = label[..., rows[:, None], columns]
    return np.where(row_inside[:, None] & column_inside, taken, label.dtype.type(0))


def share_inside(label: np.ndarray, grid: Grid) -> float:
    """Measures the share of a mask that lies within the network's field of view.

    Args:
        label: `[..., rows, columns]` integers, background 0.
        grid: The grid on which the slices are sampled.

    Returns:
        The share of the foreground pixels whose centres lie in one of the network's
        pixels, 0 to 1. An empty mask gives 1.
    """
    rows, columns = (np.flatnonzero(_is_seen(grid, axis)) for axis in (0, 1))
    total = np.count_nonzero(label)
    inside = np.count_nonzero(label[..., rows[:, None], columns])
    return float(inside / total) if total else 1.0


def scan_box(grid: Grid) -> np.ndarray:
    """Finds the network's pixels whose centres lie in one of the slice's pixels.

    The other pixels are padding: the scan does not reach there.

    Args:
        grid: The grid on which the slices are sampled.

    Returns:
        `[4]` int32: the first and last row, then the first and last column.
    """
    sides = []
    for axis in (0, 1):
        centres = _centres(grid, axis)
        outside = np.abs(centres - (grid.shape[axis] - 1) / 2) - grid.shape[axis] / 2
        # A scan smaller than a pixel may lie between two centres: take the nearest.
        seen = outside <= max(0, outside.min())
        sides.append(np.flatnonzero(seen)[[0, -1]])
    return np.concatenate(sides).astype(np.int32)


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
    (rows, row_weights), (columns, column_weights) = (
        _restoring_taps(grid, axis) for axis in (0, 1)
    )
    restored = _combine(probabilities, rows, row_weights, axis=-3)
    restored = _combine(restored, columns, column_weights, axis=-2)
    seen = _is_seen(grid, 0)[:, None] & _is_seen(grid, 1)
    restored[..., 0] += ~seen
    return restored


def restore_labels(probabilities: np.ndarray, grid: Grid) -> np.ndarray:
    """Brings class probabilities back, and takes the most probable class.

    Args:
        probabilities: `[..., height, width, classes]` on the network's grid.
        grid: The grid on which the slice was sampled.

    Returns:
        `[..., rows, columns]` uint8.
    """
    return restore_probabilities(probabilities, grid).argmax(-1).astype(np.uint8)


def _centres(grid: Grid, axis: int) -> np.ndarray:
    """Returns the positions of the network's pixels along an axis of the slice."""
    return grid.origin[axis] + grid.step[axis] * np.arange(grid.size[axis])


def _sampling_taps(grid: Grid, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the slice's pixels that make up each network pixel, and their weights."""
    support = max(1.0, grid.step[axis])
    index, weights = _taps(_centres(grid, axis), support)
    # The total includes pixels beyond the slice, because they count as black.
    weights /= weights.sum(1, keepdims=True)
    inside = (index >= 0) & (index < grid.shape[axis])
    return np.where(inside, index, 0), np.where(inside, weights, 0)


def _restoring_taps(grid: Grid, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the network's pixels that make up each slice pixel, and their weights."""
    size = grid.size[axis]
    index, weights = _taps(_places(grid, axis), max(1.0, 1 / grid.step[axis]))
    # Here the total leaves out absent pixels, so the outermost pixels reach half a
    # pixel further. Beyond that the network saw nothing.
    weights = np.where((index >= 0) & (index < size), weights, 0)
    seen = _is_seen(grid, axis)
    total = np.where(seen, weights.sum(1), 1)
    weights = np.where(seen[:, None], weights / total[:, None], 0)
    return np.clip(index, 0, size - 1), weights


def _places(grid: Grid, axis: int) -> np.ndarray:
    """Returns the positions of the slice's pixels along an axis of the network."""
    return (np.arange(grid.shape[axis]) - grid.origin[axis]) / grid.step[axis]


def _is_seen(grid: Grid, axis: int) -> np.ndarray:
    """Tells which of the slice's pixels have their centres in a network pixel."""
    places = _places(grid, axis)
    return (places >= -0.5) & (places <= grid.size[axis] - 0.5)


def _taps(centres: np.ndarray, support: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns `[centres, taps]` pixels under a triangle, and its height at each."""
    reach = np.arange(1 - np.ceil(support), np.ceil(support) + 1)
    index = np.floor(centres)[:, None] + reach
    weights = np.maximum(0, 1 - np.abs(index - centres[:, None]) / support)
    return index.astype(int), weights


def _combine(
    array: np.ndarray, index: np.ndarray, weights: np.ndarray, *, axis: int
) -> np.ndarray:
    """Sums the taps of an axis.

    A matrix product would do the same. But NumPy's products start threads that wait by
    spinning, and on a busy machine they took ten times as long.
    """
    after = (1,) * (-axis - 1)
    total = np.zeros((), np.float32)
    for position, weight in zip(index.T, weights.T.astype(np.float32), strict=True):
        total = total + np.take(array, position, axis) * weight.reshape(-1, *after)
    return total.astype(np.float32, copy=False)


def _nearest(grid: Grid, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns `[size]` nearest pixels, and whether each lies in the slice."""
    index = np.floor(_centres(grid, axis) + 0.5).astype(int)
    last = grid.shape[axis] - 1
    return np.clip(index, 0, last), (index >= 0) & (index <= last)
