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
    "INTERPOLATIONS",
    "Grid",
    "centre_grid",
    "mask_box",
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


INTERPOLATIONS = ("linear", "nearest")
"""How a scan's pixels become the network's: a mean of those around, or the nearest."""

_SAME_SPACING_PX = 0.05
"""A grid of the scan's own spacing misses no pixel by more, in px of the scan.

A header's float32 loses far less than this, and no structure moves visibly by it.
"""

_TIE = 1e-5
"""Classes whose weights differ by less are equal: rounding must not choose a side."""


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

    If the network's pixels are as large as the scan's, they lie on them exactly, so
    that nothing is interpolated. The field of view is then up to half a pixel beside
    the centre.

    Args:
        shape: (rows, columns) of the slice.
        spacing_mm: Distance of the slice's rows and of its columns, mm.
        fov_mm: Side of the field of view, mm. It may reach beyond the slice.
        size: Side of the network's grid, px.
    """
    origin, step = zip(
        *(
            _centre_along(length, fov_mm / size / spacing, size)
            for length, spacing in zip(shape, spacing_mm, strict=True)
        ),
        strict=True,
    )
    return _square_grid(origin, step, shape, size)


def mask_box(label: np.ndarray, *, margin_px: int = 10) -> tuple[slice, slice]:
    """Finds the box of a mask, as the paper's released code crops to it.

    The margin is the same on all sides. In the released code it is one pixel less
    behind the last row and the last column.

    Such a crop uses the ground truth, in test images too. So its scores are not those
    of unseen scans.

    Args:
        label: `[..., rows, columns]`, the expert's mask of a volume, background 0. One
            box holds all slices.
        margin_px: Margin on each side of the box, px; it ends at the slice's border.

    Returns:
        The box's rows and columns.

    Raises:
        ValueError: If the mask is empty.
    """
    mask = (label != 0).reshape(-1, *label.shape[-2:]).any(0)
    if not mask.any():
        raise ValueError("an empty mask has no box")
    lines = (np.flatnonzero(mask.any(1 - axis)).tolist() for axis in (0, 1))
    rows, columns = (
        slice(max(inside[0] - margin_px, 0), min(inside[-1] + margin_px + 1, length))
        for inside, length in zip(lines, mask.shape, strict=True)
    )
    return rows, columns


def mask_box_grid(label: np.ndarray, *, size: int, margin_px: int = 10) -> Grid:
    """Stretches the box of a volume's mask over the network's grid.

    Args:
        label: `[..., rows, columns]`, the expert's mask, background 0.
        size: Side of the network's grid, px.
        margin_px: Margin of `mask_box`, px.

    Raises:
        ValueError: If the mask is empty.
    """
    box = mask_box(label, margin_px=margin_px)
    step = [(side.stop - side.start) / size for side in box]
    # The box ends at the edges of its pixels, half a pixel beyond their centres.
    origin = [side.start - 0.5 + s / 2 for side, s in zip(box, step, strict=True)]
    return _square_grid(origin, step, label.shape[-2:], size)


def resample_image(
    image: np.ndarray, grid: Grid, *, interpolation: str = "linear"
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

    Returns:
        `[..., height, width]`, within the range of the image's values and 0.
    """
    rows, columns = (_sampling_taps(grid, axis, interpolation) for axis in (0, 1))
    sampled = _combine(_combine(image, *rows, axis=-2), *columns, axis=-1)
    # Rounding may take the sum of the weights slightly above one.
    return np.clip(sampled, image.min(initial=0), image.max(initial=0))


def resample_label(
    label: np.ndarray, grid: Grid, *, interpolation: str = "linear"
) -> np.ndarray:
    """Brings masks to the network's grid, by the weights that their images have.

    The mask of each class is resampled as `resample_image` resamples an image. A pixel
    takes the class with the largest value. Taking the label of the nearest pixel would
    move whole masks: where centres fall between two pixels, rounding always goes the
    same way.

    Args:
        label: `[..., rows, columns]` integers; background (0) outside.
        grid: The grid to sample on.
        interpolation: One of `INTERPOLATIONS`.

    Returns:
        `[..., height, width]` of the same type. Of equal classes the lowest counts.
    """
    rows, columns = (_sampling_taps(grid, axis, interpolation) for axis in (0, 1))
    planes = label.reshape(-1, *label.shape[-2:])
    result = np.zeros((len(planes), *grid.size), label.dtype)
    # One slice and one class at a time, so that many classes need no more memory.
    for plane, chosen in zip(planes, result, strict=True):
        best, rest = np.zeros(grid.size, np.float32), np.ones(grid.size, np.float32)
        for value in np.unique(plane[plane != 0]):
            weight = _combine(plane == value, *rows, axis=-2)
            weight = _combine(weight, *columns, axis=-1)
            chosen[weight > best + _TIE] = value
            best, rest = np.maximum(best, weight), rest - weight
        chosen[rest >= best - _TIE] = 0
    return result.reshape(*label.shape[:-2], *grid.size)


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


def _centre_along(length: int, step: float, size: int) -> tuple[float, float]:
    """Returns the origin and the step of a centred grid along one axis."""
    if abs(step - 1) * size / 2 < _SAME_SPACING_PX:
        return float((length - size) // 2), 1.0
    return (length - 1) / 2 - step * (size - 1) / 2, step


def _square_grid(
    origin: Sequence[float], step: Sequence[float], shape: Sequence[int], size: int
) -> Grid:
    """Makes a grid of plain numbers, with as many rows as columns."""
    first_row, first_column = map(float, origin)
    row_step, column_step = map(float, step)
    rows, columns = map(int, shape)
    return Grid(
        (first_row, first_column), (row_step, column_step), (rows, columns), (size,) * 2
    )


def _sampling_taps(
    grid: Grid, axis: int, interpolation: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the slice's pixels that make up each network pixel, and their weights."""
    if interpolation == "nearest":
        index = _nearest(_centres(grid, axis))[:, None]
        weights = np.ones(index.shape)
    else:
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
        before, np.floor(centres + 0.5 + _TIE), np.ceil(centres - 0.5 - _TIE)
    )
    return index.astype(int)
