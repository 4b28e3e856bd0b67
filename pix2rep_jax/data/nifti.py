"""Reading scans and masks from NIfTI files, and writing masks that overlay them."""

import dataclasses
from pathlib import Path

import nibabel as nib
import numpy as np

from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.atomic_file import replacing

__all__ = ["NiftiVolume", "read_image", "read_volume", "write_mask"]

_OTHER_UNITS = {1: "meters", 3: "microns"}
"""NIfTI's codes for units of length other than mm."""


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
    image, array = read_image(path)
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


def read_image(path: Path) -> tuple[nib.Nifti1Pair, np.ndarray]:
    """Reads a NIfTI file's image and its values, scaled as its header says.

    Raises:
        InputError: If the file is missing, damaged or not NIfTI. Also if it holds no
            voxel, or not one real number per voxel.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}: check its name and folder")
    try:
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Pair):
            raise ValueError(f"it is a {type(image).__name__}")
        array = np.asanyarray(image.dataobj)
    except Exception as error:  # a damaged header makes nibabel raise anything
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
