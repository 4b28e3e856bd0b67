"""Reading scans and masks from NIfTI files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from pix2rep_jax.data.files.axes import AUTO, Axes, SliceAxis, SliceRule, find_axes
from pix2rep_jax.data.files.nifti_file import (
    NiftiSource,
    load_header,
    load_values,
    source_path,
)
from pix2rep_jax.data.files.nifti_header import Place, find_place, unit_note
from pix2rep_jax.errors import InputError
from pix2rep_jax.wording import count

__all__ = [
    "NiftiVolume",
    "read_header",
    "read_image",
    "read_volume",
    "volume_shape",
]

_OTHER_UNITS = {1: "meters", 3: "microns"}
"""NIfTI's codes for units of length other than mm."""


@dataclasses.dataclass(frozen=True)
class NiftiVolume:
    """A scan, with its slices along the third axis.

    Attributes:
        array: float32 `[rows, columns, slices]` or `[rows, columns, slices, frames]`.
        affine: `[4, 4]` float64, maps the file's voxel indices to mm.
        spacing_mm: Distance of rows, of columns and of slices, mm.
        path: Path of the file.
        header: Header of the file, which a mask of the scan takes over. It lacks the
            sizes and transforms that could not be used.
        axes: How the file's axes became those of `array`.
        slice_axis: Along which axis the slices lie.
        notes: Keys of notes in `scan_notes`.
    """

    array: np.ndarray
    affine: np.ndarray
    spacing_mm: tuple[float, float, float]
    path: Path
    header: nib.Nifti1Header
    axes: Axes
    slice_axis: SliceAxis
    notes: tuple[str, ...]


def read_volume(path: str | NiftiSource, how: SliceRule | Axes = AUTO) -> NiftiVolume:
    """Reads a scan, and turns it so that its slices lie along the third axis.

    Args:
        path: A NIfTI file with 2 to 4 axes, or an image of nibabel; further axes have
            length 1.
        how: How its axes are found, or the axes if they are known.

    Raises:
        InputError: If the file is missing, damaged or not NIfTI. Also if its axes,
            spacing or units cannot be used, or if a value is not finite.
    """
    source = Path(path) if isinstance(path, str) else path
    image, place, array = _read(source)
    path = source_path(source)
    shape, array = array.shape, array.reshape(volume_shape(array.shape))
    if len(shape) < 2 or array.ndim > 4:
        raise InputError(
            f"{path} has shape {shape}, but a scan has rows, columns, slices and "
            "perhaps frames: save it with 3 or 4 axes"
        )
    if place.spacing_mm is None:
        sizes = ", ".join(f"{size:g}" for size in load_header(source)[1]["pixdim"][1:4])
        raise InputError(
            f"{path} says that its voxels measure {sizes} mm, and it has no transform "
            "that says another size: correct the pixdim field of its header"
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
            f"{path} is not finite in {count(bad, 'value')}: put numbers there, or "
            "remove the scan"
        )
    axes, slice_axis, notes = (
        (how, SliceAxis(), ())
        if isinstance(how, Axes)
        else (find_axes(array.shape[:3], place.spacing_mm, place.affine, how))
    )
    spacing_mm = axes.of_slices(place.spacing_mm)
    return NiftiVolume(
        array=axes.to_slices(array),
        affine=image.affine,
        spacing_mm=spacing_mm,
        path=path,
        header=image.header,
        axes=axes,
        slice_axis=slice_axis,
        notes=(*place.notes, *filter(None, [unit_note(spacing_mm[:2])]), *notes),
    )


def read_image(path: Path) -> tuple[nib.Nifti1Pair, np.ndarray]:
    """Reads a NIfTI file's image and its values, scaled as its header says.

    The image's header lacks the sizes and transforms that cannot be used. Its
    `extra["notes"]` has keys of notes in `scan_notes`.

    Raises:
        InputError: If the file is missing, damaged or not NIfTI. Also if it holds no
            voxel, or not one real number per voxel.
    """
    image, _, array = _read(path)
    return image, array


def read_header(path: Path) -> nib.Nifti1Header:
    """Reads a file's header, without sizes and transforms that cannot be used.

    Raises:
        InputError: If the file is missing, damaged or not NIfTI.
    """
    _, header = load_header(path)
    shape = volume_shape(header.get_data_shape())
    return find_place(header, shape[:3]).header


def volume_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Adds axes up to the third, and drops a fourth and further ones of length 1.

    Args:
        shape: That of a file, such as (rows, columns).
    """
    axes = [*shape, *[1] * (3 - len(shape))]
    while len(axes) > 3 and axes[-1] == 1:
        axes.pop()
    return tuple(axes)


def _read(source: NiftiSource) -> tuple[nib.Nifti1Pair, Place, np.ndarray]:
    """Reads a file: its image, its place and its values in the shape of a volume."""
    kind, header, array = load_values(source)
    path = source_path(source)
    if array.dtype.kind not in "iufb":
        raise InputError(
            f"{path} holds values of type {array.dtype}: convert it to one real number "
            "per voxel"
        )
    if not array.size:
        shape = header.get_data_shape()
        raise InputError(
            f"{path} has shape {shape}, so it does not hold any voxel: copy it again, "
            "or remove it"
        )
    place = find_place(header, volume_shape(array.shape)[:3])
    if not np.isfinite(header["scl_slope"]):
        place = place._replace(notes=(*place.notes, "slope_ignored"))
    affine = place.header.get_best_affine()
    image = kind(array, affine, place.header, extra={"notes": place.notes})
    return image, place, array
