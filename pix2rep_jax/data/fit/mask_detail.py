"""How much of the experts' masks a grid keeps: taken there and back, and compared."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from pix2rep_jax.data.files.axes import SliceRule
from pix2rep_jax.data.files.labels import UNLABELLED, foreground
from pix2rep_jax.data.files.scan import read_scan
from pix2rep_jax.data.slices.grid import Grid
from pix2rep_jax.data.slices.resample import resample_label, restore_labels
from pix2rep_jax.data.slices.volume import VolumeFile, read_mask
from pix2rep_jax.data.slices.volume_files import read_files
from pix2rep_jax.errors import InputError

__all__ = ["MaskPart", "detail_kept", "partly_labelled", "read_mask_parts"]

_MOST_VOLUMES = 200
"""Volumes to look at; if there are more, an even part of them."""

_MOST_SLICES = 24
"""Slices with a structure to look at in each volume; if there are more, a part."""

_MARGIN = 2
"""Pixels of a mask's surroundings that its edges may move into."""


class MaskPart(NamedTuple):
    """What a mask shows, without the empty rest of its scan.

    Attributes:
        label: `[slices, rows, columns]` uint8 of slices that show a structure;
            `UNLABELLED` where nobody has labelled.
        corner: The place of the first row and column in the slice.
        shape: Rows and columns of the whole slice.
        spacing_mm: Distance of rows and of columns, mm.
    """

    label: np.ndarray
    corner: tuple[int, int]
    shape: tuple[int, int]
    spacing_mm: tuple[float, float]


def read_mask_parts(
    volumes: Sequence[VolumeFile],
    rule: SliceRule,
    *,
    num_classes: int,
    progress: bool = True,
) -> list[MaskPart]:
    """Reads what the masks of volumes show.

    Args:
        volumes: Volumes with masks, those of one file after each other.
        rule: How the axis of the slices is found.
        num_classes: Number of classes in the masks.
        progress: Whether to show a bar on standard error if it takes more than 5 s.

    Raises:
        InputError: If a file cannot be used.
    """
    chosen = [
        volumes[i] for i in range(0, len(volumes), -(-len(volumes) // _MOST_VOLUMES))
    ]
    read = functools.partial(_read_file, rule=rule, num_classes=num_classes)
    parts: list[MaskPart] = []
    for _, result in read_files(read, chosen, title="look at masks", progress=progress):
        if isinstance(result, InputError):
            raise result
        parts += result
    return parts


def detail_kept(
    parts: Sequence[MaskPart],
    make_grid: Callable[[tuple[int, int], tuple[float, float]], Grid],
) -> float:
    """Measures what masks keep on their way to a network's grid and back.

    Args:
        parts: From `read_mask_parts`.
        make_grid: Places the grid for a slice of this shape and spacing (mm).

    Returns:
        The Dice of the structures over labelled pixels, averaged over volumes and then
        over classes.
    """
    scores: dict[int, list[float]] = {}
    for part in parts:
        grid = make_grid(part.shape, part.spacing_mm)
        # What lies outside of the part is background before and after.
        origin = tuple(
            start - corner
            for start, corner in zip(grid.origin, part.corner, strict=True)
        )
        own = Grid((origin[0], origin[1]), grid.step, part.label.shape[1:], grid.size)
        back = _there_and_back(part.label, _trimmed(own))
        back = np.where(part.label == UNLABELLED, 0, back)
        for value in np.unique(part.label[foreground(part.label)]).tolist():
            one, other = part.label == value, back == value
            dice = 2 * (one & other).sum() / (one.sum() + other.sum())
            scores.setdefault(value, []).append(float(dice))
    return float(np.mean([np.mean(each) for each in scores.values()]))


def partly_labelled(parts: Sequence[MaskPart]) -> bool:
    """Tells whether pixels around structures lack a label, as beside scribbles.

    Such masks do not show where structures end, so they cannot tell how coarse the
    pixels may be.
    """
    return any(bool((part.label == UNLABELLED).any()) for part in parts)


def _trimmed(grid: Grid) -> Grid:
    """Leaves out the network's pixels that lie beyond a part of a slice."""
    origin, size = [], []
    for axis in (0, 1):
        centres = grid.centres(axis)
        reach = max(1.0, grid.step[axis])
        near = (centres > -1 - reach) & (centres < grid.shape[axis] + reach)
        seen = np.flatnonzero(near)
        first, last = (seen[0], seen[-1]) if seen.size else (0, 0)
        origin.append(float(centres[first]))
        size.append(int(last - first + 1))
    return Grid((origin[0], origin[1]), grid.step, grid.shape, (size[0], size[1]))


def _there_and_back(label: np.ndarray, grid: Grid) -> np.ndarray:
    """Takes `[slices, rows, columns]` to a grid and back, as a prediction is taken."""
    classes = int(label[label != UNLABELLED].max()) + 1
    # A pixel without a label votes for no class.
    one_hot = np.eye(UNLABELLED + 1, classes, dtype=np.float32)
    planes = (
        restore_labels(one_hot[resample_label(each, grid)], grid) for each in label
    )
    return np.stack([*planes])


def _read_file(
    volumes: Sequence[VolumeFile], *, rule: SliceRule, num_classes: int
) -> list[MaskPart]:
    """Reads the masks of one file's volumes."""
    scan = read_scan(volumes[0].image_paths, rule, fourth_axis=volumes[0].fourth_axis)
    parts = []
    for volume in volumes:
        label = np.moveaxis(read_mask(volume, scan, num_classes=num_classes), 2, 0)
        if foreground(label).any():
            parts.append(_make_part(label, scan.spacing_mm))
    return parts


def _make_part(label: np.ndarray, spacing_mm: Sequence[float]) -> MaskPart:
    """Cuts what a mask shows out of `[slices, rows, columns]`."""
    drawn = foreground(label)
    shown = np.flatnonzero(drawn.any((1, 2)))
    if len(shown) > _MOST_SLICES:
        evenly = np.linspace(0, len(shown) - 1, _MOST_SLICES).round().astype(int)
        shown = shown[evenly]
    label, seen = label[shown], np.asarray(drawn[shown].any(0))
    sides = []
    for axis in (0, 1):
        lines = np.flatnonzero(seen.any(1 - axis))
        end = min(lines[-1] + 1 + _MARGIN, seen.shape[axis])
        sides.append(slice(max(int(lines[0]) - _MARGIN, 0), int(end)))
    return MaskPart(
        np.ascontiguousarray(label[:, sides[0], sides[1]]),
        (sides[0].start, sides[1].start),
        (seen.shape[0], seen.shape[1]),
        (float(spacing_mm[0]), float(spacing_mm[1])),
    )
