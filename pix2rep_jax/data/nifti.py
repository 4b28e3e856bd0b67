"""Reading scans and masks from NIfTI files, and writing masks that overlay them."""

import dataclasses
import itertools
import zlib
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.atomic_file import replacing

__all__ = ["NiftiVolume", "read_label", "read_volume", "write_mask"]

_UNREADABLE = (
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
    nib.wrapstruct.WrapStructError,
    EOFError,
    MemoryError,
    OSError,
    ValueError,
    zlib.error,
)
"""What nibabel raises on files that are damaged or are not NIfTI."""

_OTHER_UNITS = {1: "meters", 3: "microns"}
"""NIfTI's codes for units of length other than mm."""

_ROUNDING = 0.01
"""Largest distance of a label from a whole number, if a header's slope scaled it."""


@dataclasses.dataclass(frozen=True)
class NiftiVolume:
    """A scan as it is in its file.

    Attributes:
        array: float32 `[rows, columns, slices]` or `[rows, columns, slices, frames]`,
            with the axes in the file's order.
        affine: `[4, 4]` float64, maps voxel indices to mm.
        spacing_mm: Distance of rows, of columns and of slices, mm.
        path: Path of the file.
        header: Header of the file, which a mask of the scan takes over.
    """

    array: np.ndarray
    affine: np.ndarray
    spacing_mm: tuple[float, float, float]
    path: Path
    header: nib.Nifti1Header


def read_volume(path: str | Path) -> NiftiVolume:
    """Reads a scan.

    Args:
        path: A `.nii` or `.nii.gz` file with 3 or 4 axes.

    Raises:
        InputError: If the file is missing, damaged or not NIfTI. Also if its axes,
            spacing or units cannot be used, or if a value is not finite.
    """
    path = Path(path)
    image, array = _read(path)
    if array.ndim not in (3, 4):
        raise InputError(
            f"{path} has shape {array.shape}, but a scan has rows, columns, slices and "
            "perhaps frames: save it with 3 or 4 axes"
        )
    row_mm, column_mm, slice_mm = map(float, image.header.get_zooms()[:3])
    spacing_mm = (row_mm, column_mm, slice_mm)
    if not all(0 < size < np.inf for size in spacing_mm):
        raise InputError(
            f"{path} says that its voxels measure {spacing_mm} mm: correct the pixdim "
            "field of its header"
        )
    # Not read by nibabel's get_xyzt_units, which fails on codes outside the standard.
    unit = _OTHER_UNITS.get(int(image.header["xyzt_units"]) & 7)
    if unit:
        raise InputError(
            f"{path} says that its voxels are measured in {unit}: convert pixdim, "
            "affine and the xyzt_units field of its header to mm"
        )
    with np.errstate(over="ignore"):
        array = array.astype(np.float32, copy=False)
    if bad := int(array.size - np.isfinite(array).sum()):
        raise InputError(
            f"{path} holds {bad} values that are not finite: replace them, or remove "
            "the scan"
        )
    return NiftiVolume(array, image.affine, spacing_mm, path, image.header)


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
    image, array = _read(path)
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


def write_mask(
    path: str | Path, labels: np.ndarray, like: NiftiVolume, *, overwrite: bool = False
) -> None:
    """Writes a mask that overlays its scan: same shape, affine and spacing.

    The file is written atomically: readers see the earlier file or the whole new one.

    Args:
        path: The `.nii` or `.nii.gz` file to write, in an existing folder.
        labels: uint8, in the scan's shape.
        like: The scan.
        overwrite: Whether to replace an existing file.

    Raises:
        InputError: If the file exists or cannot be written.
        ValueError: If the labels have another shape than the scan or are not uint8.
    """
    path = Path(path)
    if labels.shape != like.array.shape or labels.dtype != np.uint8:
        raise ValueError(
            f"labels must be uint8 of shape {like.array.shape}, not {labels.dtype} of "
            f"shape {labels.shape}"
        )
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists: add --overwrite to replace it")
    header = like.header.copy()
    header.set_data_dtype(np.uint8)
    # A mask must not inherit the scan's intensity range, nor the patient's name.
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    header["descrip"] = header["aux_file"] = header["db_name"] = b""
    header.extensions.clear()
    image = nib.Nifti1Image(labels, like.affine, header)
    suffix = ".nii.gz" if path.name.endswith(".gz") else ".nii"
    try:
        with replacing(path, suffix=suffix) as partial:
            nib.save(image, partial)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}): free some space or "
            "name another folder"
        ) from error


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


def _read(path: Path) -> tuple[nib.Nifti1Pair, np.ndarray]:
    """Reads a NIfTI file's image and its values, scaled as its header says."""
    if not path.is_file():
        raise InputError(f"there is no file {path}: check its name and folder")
    try:
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Pair):
            raise ValueError(f"it is a {type(image).__name__}")
        array = np.asanyarray(image.dataobj)
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path} cannot be read as NIfTI ({reason}): copy it again, or convert it "
            "to NIfTI"
        ) from error
    if array.dtype.kind not in "iufb":
        raise InputError(
            f"{path} holds values of type {array.dtype}: convert it to one real number "
            "per voxel"
        )
    if not array.size:
        raise InputError(
            f"{path} has shape {array.shape}, so it does not hold any voxel: copy it "
            "again, or remove it"
        )
    return image, array
