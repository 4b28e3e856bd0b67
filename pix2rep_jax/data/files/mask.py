"""Reading experts' masks from NIfTI files and pictures, each on its scan's grid."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from pix2rep_jax.data.files.axes import AS_STORED, Axes
from pix2rep_jax.data.files.labels import UNLABELLED, mark_slices
from pix2rep_jax.data.files.nifti import (
    NiftiVolume,
    read_header,
    read_image,
    volume_shape,
)
from pix2rep_jax.data.files.nifti_header import apart_mm, known_places
from pix2rep_jax.data.files.picture_file import (
    is_picture,
    read_picture,
    read_picture_mask,
)
from pix2rep_jax.errors import InputError, name_some

__all__ = ["is_mask", "label_values", "read_label", "scan_name"]

_ENDINGS = ("gt", "seg")
"""What masks' names end in: the experts' in ACDC, and those of this program."""

_MOST_SHOWN = 6
"""So many values of a mask are shown."""

_ROUNDING = 0.01
"""Largest distance of a label from a whole number, if a header's slope scaled it."""


def read_label(
    path: str | Path,
    *,
    shape: Sequence[int],
    num_classes: int,
    values: Sequence[int] = (),
    axes: Axes = AS_STORED,
    like: NiftiVolume | None = None,
    frame: int | None = None,
    ignore: Sequence[int] = (),
    empty_slices: str = "background",
) -> np.ndarray:
    """Reads an expert's mask.

    Args:
        path: A NIfTI file, or a picture for a picture.
        shape: `(rows, columns, slices)` of the mask's scan. Further axes of length 1 in
            the mask are dropped.
        num_classes: Number of classes, background included.
        values: The value of each class in the file; () for 0 to num_classes - 1.
        axes: How the axes of the scan's file, and so the mask's, became these three.
        like: The scan, to check that the mask lies at the same place. It is not checked
            if one of the headers does not say a place.
        frame: The frame to take of a mask that has frames as its scan has; None
            refuses such a mask.
        ignore: The values in the file that mark voxels without a label.
        empty_slices: What empty slices beside annotated ones are, as `mark_slices`
            takes it.

    Returns:
        `[rows, columns, slices]` uint8, the index of each voxel's class; `UNLABELLED`
        where a voxel has no label.

    Raises:
        InputError: If the file is missing, damaged or not NIfTI, if its shape or place
            differs from the scan's, or if it holds an unknown label.
    """
    path, values = Path(path), tuple(values) or tuple(range(num_classes))
    header, array, notes = _read_values(path)
    file_shape = axes.of_file(shape)
    if frame is not None and array.ndim == 4 and frame < array.shape[3]:
        array = array[..., frame]
    if volume_shape(array.shape) != file_shape:
        raise InputError(
            f"the mask {path} has shape {array.shape}, but its scan has "
            f"{file_shape}: resample the mask onto the scan's grid"
        )
    if like is not None and header is not None:
        if "form_ignored" in notes and not known_places(header):
            raise InputError(
                f"the mask {path} has an affine that is not finite or not invertible: "
                "give it its scan's affine"
            )
        distance_mm = apart_mm(header, like.header, file_shape)
        if distance_mm > min(like.spacing_mm) / 2:
            raise InputError(
                f"the affine of the mask {path} places it up to {distance_mm:.3g} mm "
                "away from its scan: resample it onto the scan's grid, or, if its "
                "voxels are the scan's, give it the scan's affine"
            )
    array = _whole(axes.to_slices(array.reshape(file_shape)))
    unlabelled = np.isin(array, ignore)
    found = np.unique(array[~unlabelled])
    if not np.isin(found, values).all():
        others = found[~np.isin(found, values)]
        foreign = others[0]
        if (broken := others[~_are_whole(others)]).size:
            raise InputError(
                f"the mask {path} holds the label {broken[0]:g}, which is not a whole "
                f"number, but data.classes names the labels {_describe(values)}, by "
                "their values or by data.label_values: replace it by a mask of labels"
            )
        # 255 beside 0 alone is a class; beside others it usually marks nothing.
        marks = len(others) == 1 and len(found) > 2 and foreign in (-1, UNLABELLED)
        if marks:
            raise InputError(
                f"the mask {path} holds the label {foreign:g} beside those that "
                f"data.classes names ({_describe(values)}): if it marks pixels that "
                f"nobody has labelled, add --config.data.ignore={foreign:g}; if it is "
                "a class, name it in --config.data.classes and "
                "--config.data.label_values"
            )
        shown = [f"{value:g}" for value in found.tolist()]
        raise InputError(
            f"the mask {path} holds the label {foreign:g}, but data.classes names the "
            f"labels {_describe(values)}: correct one of them, or give what it holds "
            f"({name_some(shown, most=_MOST_SHOWN)}) in the order of the classes, as "
            f"in {_example(shown, num_classes)}"
        )
    label = _class_indices(np.where(unlabelled, values[0], array), values)
    label[unlabelled] = UNLABELLED
    return mark_slices(label, empty_slices)


def _read_values(
    path: Path,
) -> tuple[nib.Nifti1Header | None, np.ndarray, Sequence[str]]:
    """Reads a mask's header (None for a picture), its values and keys of notes."""
    if is_picture(path):
        return None, read_picture_mask(path)[..., None], ()
    image, array = read_image(path)
    return image.header, array, image.extra["notes"]


def _example(shown: Sequence[str], num_classes: int) -> str:
    """Writes options that would read a mask with such values."""
    if len(shown) == num_classes:
        return f"--config.data.label_values={','.join(shown)}"
    if not 2 <= len(shown) <= _MOST_SHOWN:
        shown = ("0", "255")
    names = [f"NAME{number}" for number in range(1, len(shown))]
    names = names if len(names) > 1 else ["NAME"]
    return (
        f"--config.data.classes={','.join(['BG', *names])} "
        f"--config.data.label_values={','.join(shown)}"
    )


def _describe(values: Sequence[int]) -> str:
    """Writes the values of the classes, such as "0 to 3"."""
    if tuple(values) == tuple(range(len(values))):
        return f"0 to {len(values) - 1}"
    return name_some(values, most=_MOST_SHOWN)


def label_values(
    paths: Iterable[Path], *, ignore: Sequence[int] = ()
) -> tuple[int, ...]:
    """Lists the values that masks hold, and 0 for the background.

    Args:
        paths: Files of masks.
        ignore: Values that stand for no class.

    Returns:
        Whole numbers: 0, and then the others sorted. Reading ends once there are too
        many for labels.

    Raises:
        InputError: If a file cannot be read, or holds values that are not whole
            numbers.
    """
    values = {0}
    for path in paths:
        found = np.unique(_whole(_read_values(path)[1]))
        if not _are_whole(found).all():
            raise InputError(
                f"the mask {path} holds values that are not whole numbers: replace it "
                "by a mask of labels"
            )
        values |= set(map(int, found.tolist())) - {*ignore}
        if len(values) > UNLABELLED:
            break
    return (0, *sorted(values - {0}))


def _are_whole(found: np.ndarray) -> np.ndarray:
    """Tells of each value whether it is a whole number."""
    return np.isfinite(found) & (found == np.rint(found))


def scan_name(name: str) -> str:
    """Takes the end off a name such as `p1_seg`; "" if it is not named like a mask."""
    stem, _, ending = name.rpartition("_")
    return stem if ending.casefold() in _ENDINGS else ""


def is_mask(path: Path, *, scan: Path | None = None) -> bool:
    """Tells whether a file that is named like a mask holds one, by its values.

    Args:
        path: The file.
        scan: The scan beside it that it may be a mask of.

    Returns:
        Whether all values are whole numbers from 0 on, and either there are few of them
        or the file has the scan's grid. False if the file cannot be read.
    """
    try:
        header, array, _ = _read_values(path)
        array = _whole(array)
        if not np.isfinite(array).all() or array.min() < 0 or (array % 1).any():
            return False
        if len(np.unique(array)) < UNLABELLED:
            return True
        return scan is not None and _has_same_grid(header, array.shape, scan)
    except Exception:  # whatever is wrong with the file is said where it is read
        return False


def _has_same_grid(
    mask: nib.Nifti1Header | None, mask_shape: Sequence[int], scan: Path
) -> bool:
    """Whether a mask lies on the voxels of a scan, of which the header is read."""
    if mask is None:
        return is_picture(scan) and read_picture(scan).shape[:2] == mask_shape[:2]
    header = read_header(scan)
    shape = volume_shape(header.get_data_shape())
    if volume_shape(mask_shape) != shape:
        return False
    step_mm = min(header.get_zooms()[:3])
    return bool(apart_mm(mask, header, shape[:3]) <= step_mm / 2)


def _whole(array: np.ndarray) -> np.ndarray:
    """Rounds values that a header's slope has moved off whole numbers."""
    if array.dtype.kind != "f":
        return array
    whole = np.rint(array)
    close = np.isclose(array, whole, rtol=0, atol=_ROUNDING)
    return np.where(close, whole, array)


def _class_indices(array: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Replaces each value of a mask by the index of its class."""
    if tuple(values) == tuple(range(len(values))):
        return array.astype(np.uint8)
    order = np.argsort(values)
    places = np.searchsorted(np.asarray(values)[order], array)
    return order[places].astype(np.uint8)
