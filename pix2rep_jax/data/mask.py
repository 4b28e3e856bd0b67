"""Reading experts' masks from NIfTI files, each on the grid of its scan."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from pix2rep_jax.data.nifti import NiftiVolume, read_image
from pix2rep_jax.errors import InputError

__all__ = ["read_label"]

_ROUNDING = 0.01
"""Largest distance of a label from a whole number, if a header's slope scaled it."""


def read_label(
    path: str | Path,
    *,
    shape: Sequence[int],
    num_classes: int,
    like: NiftiVolume | None = None,
) -> np.ndarray:
    """Reads an expert's mask.

    Args:
        path: A `.nii` or `.nii.gz` file.
        shape: `(rows, columns, slices)` of the mask's scan.
        num_classes: Labels are 0 (background) to num_classes - 1.
        like: The scan, to check that the mask lies at the same place. It is not checked
            if one of the headers does not say a place.

    Returns:
        `[rows, columns, slices]` uint8.

    Raises:
        InputError: If the file is missing, damaged or not NIfTI, if its shape or place
            differs from the scan's, or if it holds an unknown label.
    """
    path = Path(path)
    image, array = read_image(path)
    if array.shape != tuple(shape):
        raise InputError(
            f"the mask {path} has shape {array.shape}, but its scan has "
            f"{tuple(shape)}: resample the mask onto the scan's grid"
        )
    if like is not None:
        distance_mm = _apart(image.header, like.header, shape)
        if distance_mm > min(like.spacing_mm) / 2:
            raise InputError(
                f"the affine of the mask {path} places it up to {distance_mm:.3g} mm "
                "away from its scan: resample it onto the scan's grid, or, if its "
                "voxels are the scan's, give it the scan's affine"
            )
    if array.dtype.kind == "f":
        whole = np.rint(array)
        close = np.isclose(array, whole, rtol=0, atol=_ROUNDING)
        array = np.where(close, whole, array)
    values = np.unique(array)
    foreign = values[~np.isin(values, np.arange(num_classes))]
    if foreign.size:
        shown = ", ".join(f"{value:g}" for value in foreign[:5])
        raise InputError(
            f"the mask {path} holds the label {shown}, but data.classes names only the "
            f"labels 0 to {num_classes - 1}: correct the mask or data.classes"
        )
    return array.astype(np.uint8)


def _apart(
    mask: nib.Nifti1Header, scan: nib.Nifti1Header, shape: Sequence[int]
) -> float:
    """Measures how far a mask lies from its scan, mm; 0 if a place is unknown.

    A header may hold two affines, and programs differ in which of them they use. The
    closest pair counts.
    """
    pairs = itertools.product(_places(mask), _places(scan))
    return min((_farthest_apart(*pair, shape) for pair in pairs), default=0.0)


def _places(header: nib.Nifti1Header) -> list[np.ndarray]:
    """Returns the affines in a header: none, one or two."""
    forms = (header.get_sform(coded=True), header.get_qform(coded=True))
    return [affine for affine, code in forms if code]


def _farthest_apart(
    first: np.ndarray, second: np.ndarray, shape: Sequence[int]
) -> float:
    """Measures the largest distance between a voxel's places under two affines, mm.

    It is largest at a corner.
    """
    corners = list(itertools.product(*((0, size - 1) for size in shape)))
    moved = nib.affines.apply_affine(first - second + np.diag([0, 0, 0, 1]), corners)
    return float(np.linalg.norm(moved, axis=-1).max())
