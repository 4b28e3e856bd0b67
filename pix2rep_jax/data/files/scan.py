"""One case as its files hold it: one or several channels on one grid."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pix2rep_jax.data.files import nifti, nifti_writer
from pix2rep_jax.data.files.axes import AUTO, LAST, Axes, SliceAxis, SliceRule
from pix2rep_jax.data.files.nifti_file import NiftiSource, source_path
from pix2rep_jax.data.files.nifti_header import apart_mm
from pix2rep_jax.data.files.picture_file import (
    NO_PIXEL_SIZE,
    PICTURE_AXES,
    find_pixel_size,
    is_dicom,
    is_picture,
    read_picture,
    write_picture_mask,
    write_picture_probabilities,
)
from pix2rep_jax.errors import InputError

__all__ = ["Scan", "read_scan", "write_mask", "write_probabilities"]


@dataclasses.dataclass(frozen=True)
class Scan:
    """A case of one or several channels, with its slices along the third axis.

    Attributes:
        array: float32 `[rows, columns, slices, frames, channels]`.
        spacing_mm: Distance of rows, of columns and of slices, mm.
        axes: How the axes of the files became those of `array`.
        slice_axis: Along which axis the slices lie.
        notes: Keys of notes in `scan_notes`.
        path: The file of the first channel.
        file_shape: The shape of a mask in that file's format.
        volume: What that file held besides its voxels; None for a picture.
        dtype: Type of that file's voxels.
    """

    array: np.ndarray
    spacing_mm: tuple[float, float, float]
    axes: Axes
    slice_axis: SliceAxis
    notes: tuple[str, ...]
    path: Path
    file_shape: tuple[int, ...]
    volume: nifti.NiftiVolume | None = None
    dtype: str = "float32"

    def without_voxels(self) -> "Scan":
        """Returns the scan with an array that takes no memory."""
        nothing = np.broadcast_to(np.float32(0), self.array.shape)
        return dataclasses.replace(self, array=nothing)


def read_scan(
    paths: Sequence[NiftiSource],
    how: SliceRule | Axes = AUTO,
    *,
    fourth_axis: str = "frames",
) -> Scan:
    """Reads all channels of a case.

    Args:
        paths: One file or image of nibabel per channel. An RGB picture has three, and a
            NIfTI file whose fourth axis has channels holds all of these.
        how: How the axes are found, or the axes if they are known. Pictures have their
            own.
        fourth_axis: What the fourth axis of a NIfTI file has: "frames" or "channels".

    Raises:
        InputError: If a file cannot be read, or if two channels differ in shape or
            place.
    """
    first = _read_file(paths[0], how, fourth_axis)
    others = [
        _read_file(path, first.axes if first.volume else how, fourth_axis)
        for path in paths[1:]
    ]
    for other in others:
        _check_same_grid(first, other)
    if not others:
        return first
    # Each channel stays in one piece, because each is normalised by itself.
    arrays = [np.moveaxis(each.array, 4, 0) for each in (first, *others)]
    notes = tuple(dict.fromkeys(key for each in (first, *others) for key in each.notes))
    return dataclasses.replace(
        first, array=np.moveaxis(np.concatenate(arrays), 0, 4), notes=notes
    )


def _read_file(source: NiftiSource, how: SliceRule | Axes, fourth_axis: str) -> Scan:
    """Reads one file with all channels that it holds."""
    path = source_path(source)
    if source is path and is_picture(path):
        return _read_picture(path)
    if source is path and is_dicom(path):
        raise InputError(
            f"{path} is DICOM: convert the series to one NIfTI file, for example with "
            "dcm2niix"
        )
    volume = nifti.read_volume(source, how)
    array = volume.array if volume.array.ndim == 4 else volume.array[..., None]
    shape = volume.header.get_data_shape()
    if fourth_axis == "channels":
        array, shape = array[..., None, :], shape[:3]
    else:
        array = array[..., None]
    nothing = np.broadcast_to(np.float32(0), volume.array.shape)
    return Scan(
        array=array,
        spacing_mm=volume.spacing_mm,
        axes=volume.axes,
        slice_axis=volume.slice_axis,
        notes=volume.notes,
        path=path,
        file_shape=shape,
        volume=dataclasses.replace(volume, array=nothing),
        dtype=volume.header.get_data_dtype().name,
    )


def _read_picture(path: Path) -> Scan:
    """Reads a picture as a scan of one slice."""
    stored = read_picture(path)
    with np.errstate(over="ignore"):
        array = stored.astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError(
            f"{path} holds values that are not finite: replace them, or remove the "
            "picture"
        )
    side = find_pixel_size(path)
    height, width, channels = array.shape
    array = array.reshape(height, width, 1, 1, channels)
    return Scan(
        array=PICTURE_AXES.to_slices(array),
        spacing_mm=(side or 1.0, side or 1.0, 1.0),
        axes=PICTURE_AXES,
        slice_axis=LAST,
        notes=() if side else (NO_PIXEL_SIZE,),
        path=Path(path),
        file_shape=(height, width),
        dtype=stored.dtype.name,
    )


def _check_same_grid(first: Scan, other: Scan) -> None:
    """Raises InputError if two channels of a case differ in shape or place."""
    shapes = [
        each.axes.to_file(each.array[..., 0]).shape if each.volume else each.file_shape
        for each in (first, other)
    ]
    if (first.volume is None) != (other.volume is None) or shapes[0] != shapes[1]:
        raise InputError(
            f"{other.path} has shape {shapes[1]}, but {first.path}, another channel of "
            f"the same case, has {shapes[0]}: resample all channels onto one grid"
        )
    if first.volume is None or other.volume is None:
        same_size = first.spacing_mm == other.spacing_mm
        distance_mm = 0.0 if same_size else float("inf")
    else:
        headers = first.volume.header, other.volume.header
        distance_mm = apart_mm(*headers, shapes[0][:3])
    sizes = np.array([first.spacing_mm, other.spacing_mm])
    if distance_mm > sizes.min() / 2 or not np.allclose(sizes[0], sizes[1], rtol=0.01):
        raise InputError(
            f"the affine or the pixel size of {other.path} differs from that of "
            f"{first.path}, another channel of the same case: resample all channels "
            "onto one grid, or, if their voxels are the same, give them one affine"
        )


def write_mask(
    path: Path,
    labels: np.ndarray,
    like: Scan,
    *,
    values: tuple[int, ...] = (),
    overwrite: bool = False,
) -> None:
    """Writes a mask in the format of its scan: NIfTI, or PNG for a picture.

    Args:
        path: The file to write, in an existing folder.
        labels: uint8 `[rows, columns, slices, frames]`.
        like: The scan.
        values: The value of each class in a PNG; () for 0, 1, 2, … A NIfTI file always
            has these.
        overwrite: Whether to replace an existing file.

    Raises:
        InputError: If the file exists or cannot be written.
    """
    if labels.shape[3] == 1:
        labels = labels[..., 0]
    if like.volume is not None:
        nifti_writer.write_mask(path, labels, like.volume, overwrite=overwrite)
        return
    stored = like.axes.to_file(labels).reshape(like.file_shape)
    write_picture_mask(path, stored, values=values, overwrite=overwrite)


def write_probabilities(
    path: Path,
    restore: Callable[[int, int, slice], np.ndarray],
    like: Scan,
    *,
    num_classes: int,
) -> None:
    """Writes class probabilities beside a mask: NIfTI, or npz for a picture.

    Args:
        path: The `.nii.gz` or `.npz` file to write, in an existing folder. It is
            replaced if it exists.
        restore: Gives `[rows, columns, classes]` of a frame, a slice and some classes,
            as numbers from 0 to 1; for NIfTI also as `store_probabilities` does.
        like: The scan.
        num_classes: How many classes there are.

    Raises:
        InputError: If the file cannot be written.
    """
    slices, frames = like.array.shape[2:4]
    if like.volume is None:
        whole = restore(0, 0, slice(0, num_classes))[:, :, None]
        stored = like.axes.to_file(whole).reshape(*like.file_shape, num_classes)
        write_picture_probabilities(path, stored)
        return

    def volume(value: int, frame: int) -> np.ndarray:
        result = np.empty(like.array.shape[:3], np.uint16, order="F")
        for index in range(slices):
            each = restore(frame, index, slice(value, value + 1))[..., 0]
            is_stored = each.dtype == np.uint16
            result[..., index] = (
                each if is_stored else nifti_writer.store_probabilities(each)
            )
        return result

    volumes = (volume(x, frame) for x in range(num_classes) for frame in range(frames))
    nifti_writer.write_values(path, volumes, like.volume, shape=(frames, num_classes))
