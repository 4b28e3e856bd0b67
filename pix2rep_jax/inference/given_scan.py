"""A scan as a caller gives it: the files of its channels, an image, or an array."""

import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from nibabel.spatialimages import SpatialImage

from pix2rep_jax.data.files.axes import SliceRule
from pix2rep_jax.data.files.nifti_file import NiftiSource
from pix2rep_jax.data.files.scan import Scan, read_scan
from pix2rep_jax.data.scan_notes import count_notes
from pix2rep_jax.data.slice_summary import Inputs
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.array_scan import ArrayScan, turn_array
from pix2rep_jax.inference.scan_files import find_channels
from pix2rep_jax.inference.scan_format import check_format
from pix2rep_jax.wording import count

__all__ = ["Given", "is_batch", "read_given", "read_scan_files"]

Given = str | os.PathLike[str] | SpatialImage | np.ndarray | Sequence[Any]
"""A path, an image of nibabel, an array, the paths of all channels, or a batch."""

_LOG = logging.getLogger(__name__)


def is_batch(scan: Any, inputs: Inputs) -> TypeGuard[Sequence[Any]]:
    """Tells whether these are several scans.

    A list of paths is one case if the network expects several channels. A list of
    numbers is an array.

    Args:
        scan: What a caller gives.
        inputs: What the network expects.
    """
    if not isinstance(scan, list | tuple) or not scan:
        return False
    return all(
        isinstance(each, SpatialImage)
        or (inputs.channels == 1 and isinstance(each, str | os.PathLike))
        or getattr(each, "ndim", 0) > 1
        or (inputs.channels > 1 and _are_paths(each))
        for each in scan
    )


def read_given(
    scan: Any, spacing_mm: tuple[float, ...] | None, rule: SliceRule, inputs: Inputs
) -> ArrayScan | Scan:
    """Reads files or turns an array; notes on that are logged.

    Args:
        scan: As for `Segmenter.predict`, but no batch.
        spacing_mm: As for `Segmenter.predict`.
        rule: How the axis of the slices is found.
        inputs: What the network expects.

    Raises:
        InputError: If it is not such a scan as the network expects.
    """
    paths: Sequence[NiftiSource]
    if isinstance(scan, SpatialImage):
        paths = [scan]
    elif isinstance(scan, str | os.PathLike):
        paths = find_channels(Path(scan), inputs.files)
    elif _are_paths(scan):
        paths = [Path(each) for each in scan]
    else:
        return turn_array(scan, spacing_mm, rule, inputs)
    read = read_scan_files(paths, rule, inputs)
    for sentence in count_notes([(str(read.path), read.notes)]):
        _LOG.warning(sentence)
    return read


def read_scan_files(
    paths: Sequence[NiftiSource], rule: SliceRule, inputs: Inputs
) -> Scan:
    """Reads the files of a scan.

    Args:
        paths: One file per channel, or one file or image that holds all channels.
        rule: How the axis of the slices is found.
        inputs: What the network expects.

    Raises:
        InputError: If a file cannot be read, if there are more or fewer channels than
            the network expects, or if the size of a pixel is not known.
    """
    several = inputs.channels > 1 and len(paths) == 1
    fourth_axis = "channels" if several else "frames"
    scan = read_scan(paths, rule, fourth_axis=fourth_axis)
    if (found := scan.array.shape[4]) != inputs.channels:
        raise InputError(
            f"{scan.path} has {count(found, 'channel')}, and the network expects "
            f"{inputs.channels}: give it the same channels as in training, in the same "
            "order"
        )
    more = check_format(
        scan.path, spacing_mm=scan.spacing_mm, notes=scan.notes, inputs=inputs
    )
    return dataclasses.replace(scan, notes=(*scan.notes, *more))


def _are_paths(scan: Any) -> bool:
    """Whether these are the paths of channels."""
    is_list = isinstance(scan, list | tuple) and len(scan) > 0
    return is_list and all(isinstance(each, str | os.PathLike) for each in scan)
