"""What one volume is like: its size, its intensities and where its mask lies."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pix2rep_jax.data.files.axes import SliceRule
from pix2rep_jax.data.files.file_names import says_mask
from pix2rep_jax.data.files.labels import foreground
from pix2rep_jax.data.files.nifti_paths import scan_stem
from pix2rep_jax.data.files.scan import read_scan
from pix2rep_jax.data.fit.likeness import make_thumbnail
from pix2rep_jax.data.slices.padding import find_padding
from pix2rep_jax.data.slices.volume import VolumeFile, read_mask, take_frame

__all__ = ["AIR", "FEW", "LEVELS", "ScanFacts", "measure_file"]

LEVELS = (0.5, 1.0, 50.0, 99.0, 99.5)
"""Percentiles of the intensities inside the scan."""

AIR = -500.0
"""A CT holds values below this, in Hounsfield units, and the body lies above it."""

_REACH = 95.0
"""Percentage of a mask that lies within its reach."""

FEW = 8
"""So many values or fewer are those of a mask, if they are whole numbers."""

_MOST_VALUES = 1_000_000
"""Of larger volumes a part of the values is looked at, evenly spaced."""


class ScanFacts(NamedTuple):
    """What one volume is like. Intensities are those of its first channel.

    Attributes:
        volume_id: The volume's name.
        patient: The patient's name.
        spacing_mm: Distance of rows, of columns and of slices, mm.
        shape: (rows, columns, slices).
        dtype: Type of the stored voxels.
        levels: The percentiles `LEVELS` of the intensities, without padding.
        padding: Share of the voxels that hold a constant value of the border, 0 to 1.
        has_mask: Whether an expert's mask belongs to it.
        annotated: Number of slices in which the mask shows something.
        box_mm: First and last row, then first and last column of the mask, as distances
            of their outer edges from the scan's centre, mm; () for an empty mask.
        reach_mm: Half the side of the square about the scan's centre that holds the
            centres of 95 % of the mask's pixels, mm; 0 for an empty mask.
        tissue: Every half percentile of the intensities in the mask, or in the body
            where there is no mask; () where no value is below `AIR`.
        thumbnail: The middle slice of 48 x 48 px, as text.
        subset: As in `VolumeFile`, like `group`.
        group: Pathology.
        channels: Number of channels.
        notes: Keys of notes in `scan_notes`, from reading the file.
        few_values: How many values the scan holds, if they are whole numbers and at
            most `FEW`, as those of a mask are; else 0.
        named_mask: Whether the file's name is that of a mask.
        class_pixels: Number of the mask's pixels of each class; () without a mask.
    """

    volume_id: str
    patient: str
    spacing_mm: tuple[float, ...]
    shape: tuple[int, ...]
    dtype: str
    levels: tuple[float, ...]
    padding: float
    has_mask: bool
    annotated: int = 0
    box_mm: tuple[float, ...] = ()
    reach_mm: float = 0.0
    tissue: tuple[float, ...] = ()
    thumbnail: str = ""
    subset: str = "training"
    group: str = ""
    channels: int = 1
    notes: tuple[str, ...] = ()
    few_values: int = 0
    named_mask: bool = False
    class_pixels: tuple[int, ...] = ()


def measure_file(
    volumes: Sequence[VolumeFile], rule: SliceRule, *, num_classes: int
) -> list[ScanFacts]:
    """Measures the volumes of one file, which is read once, and their masks.

    Args:
        volumes: Volumes with the same `image_paths`.
        rule: How the axis of the slices is found.
        num_classes: Number of classes in the masks.

    Raises:
        InputError: If a file cannot be used.
    """
    scan = read_scan(volumes[0].image_paths, rule, fourth_axis=volumes[0].fourth_axis)
    facts = []
    for volume in volumes:
        channels = take_frame(volume, scan)
        image, label = np.moveaxis(channels[..., 0], 2, 0), None
        counts: tuple[int, ...] = ()
        if volume.label_path is not None:
            label = read_mask(volume, scan, num_classes=num_classes)
            counts = tuple(np.bincount(label.ravel(), minlength=num_classes).tolist())
            label = foreground(np.moveaxis(label, 2, 0))
        facts.append(
            ScanFacts(
                volume_id=volume.volume_id,
                patient=volume.patient,
                spacing_mm=tuple(round(float(x), 6) for x in scan.spacing_mm),
                shape=(*image.shape[1:], len(image)),
                dtype=scan.dtype,
                has_mask=label is not None,
                **_intensities(image, label),
                **({} if label is None else _place(label, scan.spacing_mm)),
                subset=volume.subset,
                group=volume.group,
                channels=channels.shape[-1],
                notes=tuple(scan.notes),
                thumbnail=make_thumbnail(image[len(image) // 2]),
                few_values=_few_values(image),
                named_mask=says_mask(scan_stem(volume.image_path.name) or ""),
                class_pixels=counts[:num_classes],
            )
        )
    return facts


def _intensities(image: np.ndarray, label: np.ndarray | None) -> dict[str, Any]:
    """Measures "levels", "padding" and "tissue" of `[slices, rows, columns]`."""
    padding = find_padding(image)
    inside = np.ones(image.shape, bool) if padding is None else image != padding
    if not inside.any():
        inside[:] = True
    values = image[inside]
    levels = np.percentile(_thin(values), LEVELS)
    tissue: list[float] = []
    if levels[0] < AIR:
        shown = image[label] if label is not None and label.any() else values
        shown = shown[shown > AIR] if label is None or not label.any() else shown
        if shown.size:
            tissue = _rounded(np.percentile(_thin(shown), np.arange(0, 100.5, 0.5)))
    return {
        "levels": tuple(_rounded(levels)),
        "padding": round(1 - values.size / image.size, 4),
        "tissue": tuple(tissue),
    }


def _place(label: np.ndarray, spacing_mm: Sequence[float]) -> dict[str, Any]:
    """Measures where a mask `[slices, rows, columns]` lies in its scan, mm."""
    if not label.any():
        return {}
    count = label.sum(0, dtype=np.int64)  # of the slices, per pixel
    edges, distances = [], []
    for axis, mm in enumerate(spacing_mm[:2]):
        length = count.shape[axis]
        seen = np.flatnonzero(count.any(1 - axis))
        edges += [(seen[0] - length / 2) * mm, (seen[-1] + 1 - length / 2) * mm]
        distances.append(np.abs(np.arange(length) - (length - 1) / 2) * mm)
    farther = np.maximum(distances[0][:, None], distances[1])
    order = np.argsort(farther, axis=None)
    share = np.cumsum(count.ravel()[order]) / count.sum()
    reach = farther.ravel()[order][np.searchsorted(share, _REACH / 100 - 1e-9)]
    return {
        "annotated": int(label.any((1, 2)).sum()),
        "box_mm": tuple(_rounded(np.array(edges))),
        "reach_mm": _rounded(np.array([reach]))[0],
    }


def _few_values(image: np.ndarray) -> int:
    """Counts the values of an image if they may be labels; else 0."""
    values = _thin(image.ravel(order="K"))
    for some in (values[::100], values):  # most scans end at the first
        found = np.unique(some)
        if len(found) > FEW or not np.isfinite(found).all() or (found % 1).any():
            return 0
    return len(found)


def _thin(values: np.ndarray) -> np.ndarray:
    """Takes a part of many values, evenly spaced."""
    return values[:: -(-values.size // _MOST_VALUES)]


def _rounded(values: np.ndarray) -> list[float]:
    """Keeps five digits of each number, as a file for people has them."""
    return [float(f"{value:.5g}") for value in values.tolist()]
