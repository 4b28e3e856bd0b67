"""A volume's slices on the network's grid, with their intensities from 0 to 1."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pix2rep_jax.data.files.axes import SliceRule
from pix2rep_jax.data.files.labels import UNLABELLED, describe_empty, foreground
from pix2rep_jax.data.files.scan import Scan, read_scan
from pix2rep_jax.data.slices.channels import channel_ranges, prepare_channels
from pix2rep_jax.data.slices.grid import (
    mask_box,
    mask_box_grid,
    scan_box,
    scan_grid,
    share_inside,
)
from pix2rep_jax.data.slices.normalization import Normalization
from pix2rep_jax.data.slices.resample import resample_label
from pix2rep_jax.data.slices.volume import (
    VolumeFile,
    VolumeRecord,
    read_mask,
    take_frame,
)
from pix2rep_jax.errors import InputError

__all__ = ["PreparedVolume", "digest_scan", "prepare_file"]

_DIGEST_BYTES = 8


class PreparedVolume(NamedTuple):
    """A volume's slices on the network's grid.

    Attributes:
        record: The volume, and how it was prepared.
        images: `[slices, height, width, channels]` in [0, 1]; float32, or float16 for
            whole slices.
        labels: `[slices, height, width]` uint8; `UNLABELLED` if there is no mask.
        kept: `[slices]`, the index of each slice in the scan.
        boxes: `[slices, 4]` int32, the pixels that lie in the scan: first and last row,
            then first and last column.
    """

    record: VolumeRecord
    images: np.ndarray
    labels: np.ndarray
    kept: np.ndarray
    boxes: np.ndarray


def prepare_file(
    volumes: Sequence[VolumeFile], settings: Mapping[str, Any]
) -> list[PreparedVolume]:
    """Prepares the volumes of one file, which is read once.

    Args:
        volumes: Volumes with the same `image_paths`.
        settings: "crop", "fov_mm", "size", "interpolation", "num_classes",
            "normalization", which are the entries of a `Normalization`, and "axes",
            those of a `SliceRule`.

    Raises:
        InputError: If a file cannot be used.
    """
    scan = read_scan(
        volumes[0].image_paths,
        SliceRule(*settings["axes"]),
        fourth_axis=volumes[0].fourth_axis,
    )
    return [_prepare_volume(volume, scan, settings) for volume in volumes]


def _prepare_volume(
    volume: VolumeFile, scan: Scan, settings: Mapping[str, Any]
) -> PreparedVolume:
    """Prepares one volume of a file that has been read."""
    array = take_frame(volume, scan)
    shape, size = array.shape[:3], settings["size"]
    label, drawn, label_digest = None, None, ""
    empty: tuple[str, ...] = ()
    if volume.label_path is not None:
        label = read_mask(volume, scan, num_classes=settings["num_classes"])
        label_digest = _digest(np.moveaxis(scan.axes.to_file(label), 2, 0))
        empty = describe_empty(label)
        label = np.moveaxis(label, 2, 0)
        drawn = foreground(label)
    image = np.moveaxis(array, 2, 0)
    shown, kept = image, np.arange(shape[2])
    crop = settings["crop"]
    grid = scan_grid(
        shape[:2], scan.spacing_mm[:2], crop=crop, fov_mm=settings["fov_mm"], size=size
    )
    uses_ground_truth = crop == "mask_box"
    if uses_ground_truth:
        if drawn is None:
            raise InputError(
                "data.crop='mask_box' needs a mask for every scan, but "
                f"{volume.image_path} has none: set --config.data.crop=center"
            )
        kept = np.flatnonzero(drawn.any((1, 2)))
        if len(kept):
            grid = mask_box_grid(drawn, size=size)
            rows, columns = mask_box(drawn)
            shown = image[:, rows, columns]
    frame = "" if volume.frame is None else f", frame {volume.frame + 1},"
    name = f"the scan {volume.image_path}{frame}"
    low, high, notes = channel_ranges(
        shown,
        Normalization(*settings["normalization"]),
        name=name,
        trained=SliceRule(*settings["axes"]).expected is not None,
    )
    images = prepare_channels(
        image[kept], low, high, grid, interpolation=settings["interpolation"]
    )
    if label is None:
        labels = np.full(images.shape[:3], UNLABELLED, np.uint8)
    else:
        labels = resample_label(
            label[kept], grid, interpolation=settings["interpolation"]
        )
    box = scan_box(grid)
    if crop == "whole":  # nothing is known of what lies beyond the scan
        outside = np.ones(grid.size, bool)
        outside[box[0] : box[1] + 1, box[2] : box[3] + 1] = False
        labels[:, outside] = UNLABELLED
    grids = np.full((shape[2], 4), np.nan)
    grids[kept] = grid.origin + grid.step
    record = VolumeRecord(
        **vars(volume),
        spacing_mm=scan.spacing_mm,
        shape=shape,
        low=low,
        high=high,
        grids=grids,
        size=grid.size,
        uses_ground_truth=uses_ground_truth,
        image_digest=_digest_image(scan, array),
        label_digest=label_digest,
        label_share=1.0 if drawn is None else share_inside(drawn, grid),
        axes=scan.axes,
        slice_axis=scan.slice_axis,
        notes=(*scan.notes, *notes),
        empty=empty,
    )
    return PreparedVolume(
        record,
        # Whole slices are large, and half a float tells 2,048 intensities apart.
        images.astype(np.float16 if crop == "whole" else np.float32, copy=False),
        labels.astype(np.uint8, copy=False),
        kept,
        np.tile(box, (len(kept), 1)),
    )


def digest_scan(volume: VolumeFile) -> str:
    """Computes the digest of a scan that its `VolumeRecord` has; it needs no settings.

    Raises:
        InputError: If the file cannot be read.
    """
    scan = read_scan(volume.image_paths, fourth_axis=volume.fourth_axis)
    return _digest_image(scan, take_frame(volume, scan))


def _digest_image(scan: Scan, array: np.ndarray) -> str:
    """The digest of a frame `[rows, columns, slices, channels]`, as the file has it."""
    return _digest(
        scan.axes.to_file(array if array.shape[-1] > 1 else array[..., 0]),
        scan.axes.of_file(scan.spacing_mm),
    )


def _digest(array: np.ndarray, spacing_mm: Sequence[float] = ()) -> str:
    """Computes a hexadecimal digest of an array's values and a scan's spacing."""
    # Four digits of the spacing survive a header's float32.
    about = [array.shape, [f"{size:.4g}" for size in spacing_mm]]
    result = hashlib.blake2b(repr(about).encode(), digest_size=_DIGEST_BYTES)
    result.update(np.ascontiguousarray(array).data)
    return result.hexdigest()
