"""Reading scans and masks from NIfTI files, and writing masks that overlay them."""

import dataclasses
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
from numpy.typing import DTypeLike

from pix2rep_jax.data.files.axes import AUTO, Axes, SliceAxis, SliceRule, find_axes
from pix2rep_jax.data.files.compressed import open_to_write
from pix2rep_jax.data.files.nifti_file import (
    NiftiSource,
    load_header,
    load_values,
    source_path,
)
from pix2rep_jax.data.files.nifti_header import Place, find_place, unit_note
from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.atomic_file import replacing

__all__ = [
    "NiftiVolume",
    "read_header",
    "read_image",
    "read_volume",
    "store_probabilities",
    "volume_shape",
    "write_mask",
    "write_values",
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
            f"{path} holds {bad} values that are not finite: replace them, or remove "
            "the scan"
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


def write_mask(
    path: str | Path, labels: np.ndarray, like: NiftiVolume, *, overwrite: bool = False
) -> None:
    """Writes a mask that overlays its scan: same format, shape, affine and spacing.

    The file is written atomically: readers see the earlier file or the whole new one.

    Args:
        path: The `.nii` or `.nii.gz` file to write, in an existing folder. The mask of
            a pair of files is one file too.
        labels: uint8, in the shape of the scan's `array`, or of its first three axes.
        like: The scan.
        overwrite: Whether to replace an existing file.

    Raises:
        InputError: If the file exists or cannot be written.
        ValueError: If the labels have another shape than the scan or are not uint8.
    """
    path = Path(path)
    shapes = (like.array.shape, like.array.shape[:3])
    if labels.shape not in shapes or labels.dtype != np.uint8:
        raise ValueError(
            f"labels must be uint8 of shape {like.array.shape}, not {labels.dtype} of "
            f"shape {labels.shape}"
        )
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists: add --overwrite to replace it")
    header = _result_header(like.header, np.uint8)
    header.set_slope_inter(1, 0)
    shape = header.get_data_shape()
    if labels.ndim < like.array.ndim:  # the scan's fourth axis has channels
        shape = shape[:3]
    stored = like.axes.to_file(labels).reshape(shape)
    image = _single_kind(header)(stored, like.affine, header)
    suffix = ".nii.gz" if path.name.lower().endswith(".gz") else ".nii"
    try:
        with replacing(path, suffix=suffix) as partial:
            _save(image, partial)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}): free some space or "
            "name another folder"
        ) from error


def _save(image: nib.Nifti1Image, path: Path) -> None:
    """Writes an image into one file."""
    with open_to_write(path) as file:
        image.to_stream(cast(io.IOBase, file))


def store_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Writes probabilities as whole numbers of 16 bits, in units of 2^-15.

    NIfTI does not have 16-bit floating-point numbers.
    """
    stored = np.rint(probabilities.clip(0, 1) * 2**15)
    return stored.astype(np.uint16)


def write_values(
    path: Path,
    volumes: Iterable[np.ndarray],
    like: NiftiVolume,
    *,
    shape: Sequence[int],
    dtype: DTypeLike = np.uint16,
    slope: float = 2.0**-15,
) -> None:
    """Writes several values per voxel that overlay their scan, atomically.

    Args:
        path: The `.nii.gz` file to write, in an existing folder.
        volumes: `[rows, columns, slices]` for each frame of each value, all frames of a
            value before the next value. One of them is in memory at once.
        like: The scan.
        shape: (frames, values), or (frames,) for one value. The file's axes are those
            of the scan, then frames if there are several, then values.
        dtype: Type of the volumes; the default is that of `store_probabilities`.
        slope: What one unit of the volumes stands for.

    Raises:
        InputError: If the file cannot be written.
    """
    header = _result_header(like.header, dtype)
    frames = [frame for frame in shape[:1] if frame > 1]
    grid = like.axes.of_file(like.array.shape[:3])
    header.set_data_shape((*grid, *frames, *shape[1:]))
    header["pixdim"][4:] = 1
    header.set_slope_inter(slope, 0)
    header["vox_offset"] = type(header).single_vox_offset
    dtype = header.get_data_dtype()
    try:
        with (
            replacing(path, suffix=".nii.gz") as partial,
            open_to_write(partial) as file,
        ):
            header.write_to(file)
            file.write(bytes(int(header["vox_offset"]) - file.tell()))
            for volume in volumes:
                stored = like.axes.to_file(volume)
                file.write(stored.astype(dtype, copy=False).tobytes(order="F"))
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}): free some space or "
            "name another folder"
        ) from error


def _result_header(header: nib.Nifti1Header, dtype: DTypeLike) -> nib.Nifti1Header:
    """Copies a scan's header for a file that overlays it, with values of a type.

    It must not inherit the scan's intensity range, nor the patient's name.
    """
    copied = _single_header(header)
    copied.set_data_dtype(dtype)
    copied["cal_min"] = copied["cal_max"] = 0
    for text in {"descrip", "aux_file", "db_name"} & {*copied}:  # not all in NIfTI-2
        copied[text] = b""
    return copied


def _single_header(header: nib.Nifti1Header) -> nib.Nifti1Header:
    """Copies a header, without extensions, for a file that holds the values too."""
    kind = _single_kind(header).header_class
    copied = kind(header.binaryblock, header.endianness, check=False)
    copied["magic"] = copied.single_magic
    copied["vox_offset"] = 0
    return copied


def _single_kind(header: nib.Nifti1Header) -> type[nib.Nifti1Image]:
    """Returns the class of images in one file that have such a header."""
    return nib.Nifti2Image if header.sizeof_hdr == 540 else nib.Nifti1Image
