"""Where the network's pixels lie in a scan's slices."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from pix2rep_jax.errors import InputError

__all__ = [
    "CROPS",
    "PATCHED",
    "SIDE_MULTIPLE",
    "Grid",
    "centre_grid",
    "mask_box",
    "mask_box_grid",
    "middle_side",
    "scan_box",
    "scan_grid",
    "share_inside",
    "side_around",
    "whole_grid",
]

CROPS = ("auto", "center", "middle", "whole", "mask_box")
"""What `data.crop` may be; a plan replaces the first by one of the next three."""

PATCHED = ("middle", "whole")
"""Crops that are larger than the patches on which a network trains."""

_MIDDLE_STEP = 64
"""The middle of a slice has 16 px more for each so many px of a patch, or part of it.

So it is a quarter larger than a patch of 64, 128 or 256 px, and a network can halve it
four times.
"""

SIDE_MULTIPLE = 32
"""Sides of whole slices are rounded up to a multiple of it, px.

So slices of many sizes need few compiled programs, and a network can halve them five
times.
"""

_FINEST = 50
"""Network's pixels along one of the scan's. More are a mistake, such as metres for mm.

The network would then see a few pixels of the scan, and whole slices fill the memory.
"""

_SAME_SPACING_PX = 0.05
"""A grid of the scan's own spacing misses no pixel by more, in px of the scan.

A header's float32 loses far less than this, and no structure moves visibly by it.
"""


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

    def centres(self, axis: int) -> np.ndarray:
        """Returns the positions of the network's pixels along an axis of the slice."""
        return self.origin[axis] + self.step[axis] * np.arange(self.size[axis])

    def places(self, axis: int) -> np.ndarray:
        """Returns the positions of the slice's pixels along an axis of the network."""
        return (np.arange(self.shape[axis]) - self.origin[axis]) / self.step[axis]

    def is_seen(self, axis: int) -> np.ndarray:
        """Tells which of the slice's pixels have their centres in a network pixel."""
        places = self.places(axis)
        return (places >= -0.5) & (places <= self.size[axis] - 0.5)


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

    Raises:
        InputError: If the network's pixels are absurdly finer than the scan's.
    """
    steps = _find_steps(spacing_mm, pixel_mm=fov_mm / size)
    centred = (_centre_along(n, s, size) for n, s in zip(shape, steps, strict=True))
    origin, step = zip(*centred, strict=True)
    return _make_grid(origin, step, shape, (size, size))


def whole_grid(
    shape: Sequence[int], spacing_mm: Sequence[float], *, pixel_mm: float, least: int
) -> Grid:
    """Places a grid over a whole slice, with padding on all sides.

    Args:
        shape: (rows, columns) of the slice.
        spacing_mm: Distance of the slice's rows and of its columns, mm.
        pixel_mm: Side of the network's pixels, mm.
        least: Least side of the network's grid, px: that of a patch.

    Raises:
        InputError: If the network's pixels are absurdly finer than the scan's.
    """
    steps = _find_steps(spacing_mm, pixel_mm=pixel_mm)
    # A header's float32 must not add a row.
    needed = (math.ceil(n / s - 0.01) for n, s in zip(shape, steps, strict=True))
    sides = [max(least, -(-n // SIDE_MULTIPLE) * SIDE_MULTIPLE) for n in needed]
    origin, step = zip(*map(_centre_along, shape, steps, sides), strict=True)
    return _make_grid(origin, step, shape, sides)


def scan_grid(
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    *,
    crop: str,
    fov_mm: float,
    size: int,
) -> Grid:
    """Places the network's grid where no mask decides.

    Args:
        shape: (rows, columns) of the slice.
        spacing_mm: Distance of the slice's rows and of its columns, mm.
        crop: "whole" for a grid over the whole slice; else a centred one, of
            `side_around` pixels in a row.
        fov_mm: What `size` pixels measure, mm.
        size: Side of the field of view, or of a patch, px.
    """
    if crop == "whole":
        return whole_grid(shape, spacing_mm, pixel_mm=fov_mm / size, least=size)
    side = side_around(crop, size)
    return centre_grid(shape, spacing_mm, fov_mm=fov_mm * (side / size), size=side)


def side_around(crop: str, size: int) -> int:
    """Computes how many pixels in a row are seen around a slice's centre.

    Args:
        crop: "middle", or another one that sees no more than `size`.
        size: Side of the field of view, or of a patch, px.
    """
    return middle_side(size) if crop == "middle" else size


def middle_side(size: int) -> int:
    """Computes the side of the middle of a slice, px, of which patches are drawn.

    Args:
        size: Side of a patch, px.
    """
    return size + 16 * -(-size // _MIDDLE_STEP)


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
    return _make_grid(origin, step, label.shape[-2:], (size, size))


def share_inside(label: np.ndarray, grid: Grid) -> float:
    """Measures the share of a mask that lies within the network's field of view.

    Args:
        label: `[..., rows, columns]` integers, background 0.
        grid: The grid on which the slices are sampled.

    Returns:
        The share of the foreground pixels whose centres lie in one of the network's
        pixels, 0 to 1. An empty mask gives 1.
    """
    rows, columns = (np.flatnonzero(grid.is_seen(axis)) for axis in (0, 1))
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
        centres = grid.centres(axis)
        outside = np.abs(centres - (grid.shape[axis] - 1) / 2) - grid.shape[axis] / 2
        # A scan smaller than a pixel may lie between two centres: take the nearest.
        seen = outside <= max(0, outside.min())
        sides.append(np.flatnonzero(seen)[[0, -1]])
    return np.concatenate(sides).astype(np.int32)


def _find_steps(spacing_mm: Sequence[float], *, pixel_mm: float) -> list[float]:
    """Returns the network's pixel in px of the slice, along rows and columns."""
    steps = [pixel_mm / spacing for spacing in spacing_mm]
    if min(steps) * _FINEST < 1:
        raise InputError(
            f"a pixel of the network would measure {pixel_mm:g} mm, and one of the "
            f"scan measures {max(spacing_mm):g} mm: correct --config.data.spacing_mm, "
            "or the voxel size in the scan's header; both are in mm"
        )
    return steps


def _centre_along(length: int, step: float, size: int) -> tuple[float, float]:
    """Returns the origin and the step of a centred grid along one axis."""
    if abs(step - 1) * size / 2 < _SAME_SPACING_PX:
        return float((length - size) // 2), 1.0
    return (length - 1) / 2 - step * (size - 1) / 2, step


def _make_grid(
    origin: Sequence[float],
    step: Sequence[float],
    shape: Sequence[int],
    size: Sequence[int],
) -> Grid:
    """Makes a grid of plain numbers."""
    first_row, first_column = map(float, origin)
    row_step, column_step = map(float, step)
    rows, columns = map(int, shape)
    height, width = map(int, size)
    return Grid(
        (first_row, first_column),
        (row_step, column_step),
        (rows, columns),
        (height, width),
    )
