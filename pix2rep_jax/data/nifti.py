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
"""What nibabel raises on files that are damaged or something else than NIfTI."""

_OTHER_UNITS = {1: "meters", 3: "microns"}
"""Codes of the units of length that NIfTI knows besides mm."""

_ROUNDING = 0.01
"""How far from a whole number a label may be that was stored by a header's slope."""


@dataclasses.dataclass(frozen=True)
class NiftiVolume:
    """A scan as it is in its file.

    Attributes:
        array: `[rows, columns, slices]` or `[rows, columns, slices, frames]`, the
            file's axes in the file's order.
        affine: `[4, 4]` float64, voxel indices to mm.
        spacing_mm: Size of a voxel along rows, columns and slices, mm.
        path: The file.
        header: The file's header, which a mask of the scan takes over.
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
        InputError: If the file is missing, damaged or no NIfTI file, if it has other
            axes, no voxel, a spacing that is no length or not in mm, or values that
            are not finite.
    """
    path = Path(path)
    image, array = _read(path)
    if array.ndim not in (3, 4):
        raise InputError(
            f"{path} has shape {array.shape}: a scan needs the axes rows, columns and "
            "slices, with or without frames; save it with 3 or 4 axes"
        )
    spacing_mm = tuple(float(size) for size in image.header.get_zooms()[:3])
    if not all(0 < size < np.inf for size in spacing_mm):
        raise InputError(
            f"{path} says that its voxels measure {spacing_mm} mm: correct the pixdim "
            "field of its header"
        )
    # Whatever is no unit of NIfTI's, nibabel's own reader would stumble over.
    unit = _OTHER_UNITS.get(int(image.header["xyzt_units"]) & 7)
    if unit:
        raise InputError(
            f"{path} says that its voxels are measured in {unit}: correct the "
            "xyzt_units field of its header to mm, and pixdim and affine with it"
        )
    with np.errstate(over="ignore"):
        array = array.astype(np.float32, copy=False)
    if bad := int(array.size - np.isfinite(array).sum()):
        raise InputError(
            f"{path} holds {bad} values that are not finite: replace them, or leave "
            "the scan out"
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
        shape: `(rows, columns, slices)` of the scan that it belongs to.
        num_classes: Labels are 0 (background) to num_classes - 1.
        like: The scan, if the mask is to be refused where it lies elsewhere, by
            whatever place its header and the scan's say; one may say none.

    Returns:
        `[rows, columns, slices]` uint8.

    Raises:
        InputError: If the file is missing, damaged or no NIfTI file, if its shape or
            its place is not the scan's, or if it holds anything but the classes'
            labels.
    """
    path = Path(path)
    image, array = _read(path)
    if array.shape != tuple(shape):
        raise InputError(
            f"the mask {path} has shape {array.shape}, its scan {tuple(shape)}: a mask "
            "must be on its scan's own grid"
        )
    if like is not None:
        distance_mm = _apart(image.header, like.header, shape)
        if distance_mm > min(like.spacing_mm) / 2:
            raise InputError(
                f"the mask {path} lies up to {distance_mm:.3g} mm away from its scan, "
                "since their affines differ: resample it onto the scan's grid, or, if "
                "its voxels are the scan's, give it the scan's affine"
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
            f"the mask {path} holds the label {shown}, and data.classes names the "
            f"labels 0 to {num_classes - 1}: correct the mask or data.classes"
        )
    return array.astype(np.uint8)


def write_mask(
    path: str | Path, labels: np.ndarray, like: NiftiVolume, *, overwrite: bool = False
) -> None:
    """Writes a mask that lies on its scan: same shape, affine and spacing.

    The file appears when it is whole; one that is there already stays whole.

    Args:
        path: The `.nii` or `.nii.gz` file to write, in a folder that exists.
        labels: uint8, of the scan's shape.
        like: The scan.
        overwrite: Whether a file that exists is replaced.

    Raises:
        InputError: If the file exists or cannot be written.
        ValueError: If the shape is not the scan's or the labels are not uint8.
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
    # What describes the scan's intensities, or whom it shows, is not the mask's.
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
            f"{path} cannot be written ({error.strerror or error}): free some space, "
            "or name another folder"
        ) from error


def _apart(
    mask: nib.Nifti1Header, scan: nib.Nifti1Header, shape: Sequence[int]
) -> float:
    """How far a mask's voxels lie from the scan's, mm, where both say a place.

    A header may say two, and programs differ in which of them they take and write.
    """
    pairs = itertools.product(_places(mask), _places(scan))
    return min((_farthest_apart(*pair, shape) for pair in pairs), default=0.0)


def _places(header: nib.Nifti1Header) -> list[np.ndarray]:
    """The affines that a header says, none to two."""
    forms = (header.get_sform(coded=True), header.get_qform(coded=True))
    return [affine for affine, code in forms if code]


def _farthest_apart(
    first: np.ndarray, second: np.ndarray, shape: Sequence[int]
) -> float:
    """How far a voxel lies from itself under two affines, mm: most, at a corner."""
    corners = list(itertools.product(*((0, size - 1) for size in shape)))
    moved = nib.affines.apply_affine(first - second + np.diag([0, 0, 0, 1]), corners)
    return float(np.linalg.norm(moved, axis=-1).max())


def _read(path: Path) -> tuple[nib.Nifti1Image, np.ndarray]:
    """A NIfTI file's image and its values, scaled as its header says."""
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
            f"{path} cannot be read as NIfTI ({reason}): it may be cut off or of "
            "another kind, copy or convert it again"
        ) from error
    if array.dtype.kind not in "iufb":
        raise InputError(
            f"{path} holds values of type {array.dtype}: convert it to one real number "
            "a voxel"
        )
    if not array.size:
        raise InputError(f"{path} has shape {array.shape}, so it holds no voxel")
    return image, array
