"""Writing masks and other values as NIfTI files that overlay their scans."""

import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
from numpy.typing import DTypeLike

from pix2rep_jax.data.files.compressed import open_to_write
from pix2rep_jax.data.files.nifti import NiftiVolume
from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.atomic_file import replacing

__all__ = ["store_probabilities", "write_mask", "write_values"]


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
    if os.path.exists(path) and not overwrite:
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
