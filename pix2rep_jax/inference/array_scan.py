"""An array in a notebook as a scan."""

import logging
from typing import Any, NamedTuple

import numpy as np

from pix2rep_jax.data.files.axes import AS_STORED, Axes, SliceRule, find_axes
from pix2rep_jax.data.files.nifti_header import LARGEST_MM, SMALLEST_MM, unit_note
from pix2rep_jax.data.files.picture_file import PICTURE_AXES
from pix2rep_jax.data.scan_notes import count_notes
from pix2rep_jax.data.slice_summary import Inputs
from pix2rep_jax.errors import InputError

__all__ = ["ArrayScan", "turn_array"]

_LOG = logging.getLogger(__name__)


class ArrayScan(NamedTuple):
    """An array with its slices along the third axis.

    Attributes:
        array: float32 `[rows, columns, slices, frames, channels]`.
        spacing_mm: Distance of rows and of columns, mm.
        axes: How the axes of what was given became these.
        file_shape: The shape of what was given, without channels.
    """

    array: np.ndarray
    spacing_mm: tuple[float, ...]
    axes: Axes
    file_shape: tuple[int, ...]


def turn_array(
    scan: Any, spacing_mm: tuple[float, ...] | None, rule: SliceRule, inputs: Inputs
) -> ArrayScan:
    """Turns an array so that its slices lie along the third axis.

    Args:
        scan: As for `Segmenter.predict`.
        spacing_mm: As for `Segmenter.predict`.
        rule: How the axis of the slices is found.
        inputs: What the network expects.

    Raises:
        InputError: If it is not an array of such a scan, or lacks its spacing.
    """
    array = _check_array(scan, inputs.channels)
    spacing = np.atleast_1d(np.asarray(spacing_mm))[:3]
    is_length = spacing.dtype.kind in "iuf" and len(spacing) > 1
    if not (
        is_length and (spacing >= SMALLEST_MM).all() and (spacing <= LARGEST_MM).all()
    ):
        raise InputError(
            "an array does not say how large its voxels are: give spacing_mm=(rows, "
            f"columns, slices) in mm, all from {SMALLEST_MM:g} to {LARGEST_MM:g} (it "
            f"is {spacing_mm})"
        )
    *shape, channels = array.shape
    full = array.reshape(*shape, *[1] * (4 - len(shape)), channels)
    axes, sizes = AS_STORED, tuple(spacing.tolist())
    if inputs.pictures and len(shape) == 2:
        axes = PICTURE_AXES
        sizes = axes.of_slices((*sizes[:2], 1.0))
    elif len(sizes) == 3 and len(shape) > 2:
        axes, _, notes = find_axes(full.shape[:3], sizes, None, rule)
        for sentence in count_notes([("the array", notes)]):
            _LOG.warning(sentence)
        sizes = axes.of_slices(sizes)
    if unit_note(sizes[:2]):
        shown = " x ".join(f"{side:g}" for side in sizes[:2])
        _LOG.warning("note: pixels of %s mm are unusual: is spacing_mm in mm?", shown)
    return ArrayScan(axes.to_slices(full), sizes[:2], axes, tuple(shape))


def _check_array(scan: Any, channels: int) -> np.ndarray:
    """Returns what was given as a float32 array whose last axis has the channels.

    Raises:
        InputError: If it is not an array of finite real numbers, or has other axes than
            a scan.
    """
    try:
        scan = np.asarray(scan)
        is_real = scan.dtype.kind in "biuf" or scan.dtype.name == "bfloat16"
    except ValueError:  # lists of different lengths
        is_real = False
    if not is_real:
        raise InputError(
            f"a scan cannot be a {type(scan).__name__}: give an array of real numbers, "
            "or the path of a NIfTI file"
        )
    if channels == 1:
        scan = scan[..., None]
    elif scan.shape[-1:] != (channels,) or scan.ndim > 4:
        raise InputError(
            f"a scan cannot have the shape {scan.shape}, because the network expects "
            f"{channels} channels: give an array [rows, columns, slices, {channels}]"
        )
    if scan.ndim not in (3, 4, 5) or not scan.size:
        raise InputError(
            f"a scan cannot have the shape {scan.shape[:-1]}: give an array [rows, "
            "columns, slices], with or without a further axis for frames"
        )
    with np.errstate(over="ignore"):
        scan = scan.astype(np.float32)
    if not np.isfinite(scan).all():
        raise InputError(
            "the array holds values that are not finite in float32: replace them first"
        )
    return scan
