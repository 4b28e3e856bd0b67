"""One volume: where its files are, and how its slices came onto the network's grid."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pix2rep_jax.data.files import mask
from pix2rep_jax.data.files.axes import AS_STORED, LAST, Axes, SliceAxis, SliceRule
from pix2rep_jax.data.files.labels import UNLABELLED, describe_empty, foreground
from pix2rep_jax.data.files.picture_file import is_picture
from pix2rep_jax.data.files.scan import Scan, read_scan
from pix2rep_jax.data.slices.channels import channel_ranges, prepare_channels
from pix2rep_jax.data.slices.grid import (
    Grid,
    mask_box,
    mask_box_grid,
    scan_box,
    scan_grid,
    share_inside,
)
from pix2rep_jax.data.slices.normalization import Normalization
from pix2rep_jax.data.slices.resample import resample_label
from pix2rep_jax.errors import InputError

__all__ = [
    "PreparedVolume",
    "VolumeFile",
    "VolumeRecord",
    "prepare_file",
    "read_expert",
    "read_mask",
    "take_frame",
]

_DIGEST_BYTES = 8


@dataclasses.dataclass(frozen=True)
class VolumeFile:
    """One volume to read.

    Attributes:
        volume_id: Unique name, for example "patient001_ED".
        patient: Name of the patient, for example "patient001". Splits are made over
            patients.
        subset: "training" or "testing", as the data set's publisher divided it.
        phase: "ED", "ES" or "frame07" in ACDC; "" if unknown.
        group: Pathology, over which few-shot draws are balanced; "" if unknown.
        image_path: File of the scan, or of its first channel.
        label_path: NIfTI file of the expert's mask, or None if there is no mask.
        frame: Number of the frame in a 4-D file, from 0; None for a 3-D file.
        label_values: The value of each class in the mask's file; () for 0, 1, 2, …
        more_channels: Files of the further channels, in their order.
        fourth_axis: What the fourth axis of the files has: "frames" or "channels".
        ignore: The values in the mask's file of pixels without a label.
        empty_slices: What empty slices beside annotated ones are; see `mark_slices`.
    """

    volume_id: str
    patient: str
    subset: str
    phase: str
    group: str
    image_path: Path
    label_path: Path | None
    frame: int | None = None
    label_values: tuple[int, ...] = ()
    more_channels: tuple[Path, ...] = ()
    fourth_axis: str = "frames"
    ignore: tuple[int, ...] = ()
    empty_slices: str = "background"

    @property
    def image_paths(self) -> tuple[Path, ...]:
        """The files of all channels."""
        return (self.image_path, *self.more_channels)


@dataclasses.dataclass(frozen=True)
class VolumeRecord(VolumeFile):
    """A volume, and how its slices were prepared.

    Attributes:
        spacing_mm: Distance of rows, of columns and of slices, mm.
        shape: (rows, columns, slices) of the scan.
        low: The intensity of each channel that became 0.
        high: The intensity of each channel that became 1.
        grids: `[slices, 4]` float64, for each slice its grid's origin (row, column) and
            step (row, column); NaN for a slice that was dropped.
        size: Rows and columns of the network's grid, px.
        uses_ground_truth: Whether the expert's mask decided where to crop.
        image_digest: Digest of the scan's voxels and spacing.
        label_digest: Digest of the mask; "" without a mask.
        label_share: Share of the mask that lies within the field of view, 0 to 1.
        axes: How the file's axes became rows, columns and slices.
        slice_axis: Along which axis the slices lie.
        notes: Keys of notes in `scan_notes`.
        empty: What slices without a structure are, from `describe_empty`.
    """

    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    shape: tuple[int, int, int] = (0, 0, 0)
    low: tuple[float, ...] = (0.0,)
    high: tuple[float, ...] = (1.0,)
    grids: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros((0, 4)), compare=False
    )
    size: tuple[int, int] = (0, 0)
    uses_ground_truth: bool = False
    image_digest: str = ""
    label_digest: str = ""
    label_share: float = 1.0
    axes: Axes = AS_STORED
    slice_axis: SliceAxis = LAST
    notes: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()

    def grid(self, index: int) -> Grid:
        """Returns the grid on which the slice with this index was sampled."""
        row, column, row_step, column_step = self.grids[index].tolist()
        return Grid((row, column), (row_step, column_step), self.shape[:2], self.size)


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
                f"data.crop='mask_box' needs a mask for every scan, but "
                f"{volume.image_path} has none: set data.crop='center'"
            )
        kept = np.flatnonzero(drawn.any((1, 2)))
        if len(kept):
            grid = mask_box_grid(drawn, size=size)
            rows, columns = mask_box(drawn)
            shown = image[:, rows, columns]
    frame = "" if volume.frame is None else f", frame {volume.frame + 1},"
    name = f"the scan {volume.image_path}{frame}"
    low, high, notes = channel_ranges(
        shown, Normalization(*settings["normalization"]), name=name
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
        image_digest=_digest(
            scan.axes.to_file(array if len(low) > 1 else array[..., 0]),
            scan.axes.of_file(scan.spacing_mm),
        ),
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


def _digest(array: np.ndarray, spacing_mm: Sequence[float] = ()) -> str:
    """Computes a hexadecimal digest of an array's values and a scan's spacing."""
    # Four digits of the spacing survive a header's float32.
    about = [array.shape, [f"{size:.4g}" for size in spacing_mm]]
    result = hashlib.blake2b(repr(about).encode(), digest_size=_DIGEST_BYTES)
    result.update(np.ascontiguousarray(array).data)
    return result.hexdigest()


def read_mask(volume: VolumeFile, scan: Scan, *, num_classes: int) -> np.ndarray:
    """Reads the `[rows, columns, slices]` uint8 of a volume's mask, which it has.

    Raises:
        InputError: If the mask cannot be read, or does not fit the scan.
    """
    assert volume.label_path is not None
    if is_picture(volume.label_path) != is_picture(volume.image_path):
        raise InputError(
            f"{volume.image_path} and its mask {volume.label_path} are not both "
            "pictures or both NIfTI: save them in one format"
        )
    return mask.read_label(
        volume.label_path,
        shape=scan.array.shape[:3],
        num_classes=num_classes,
        values=volume.label_values,
        axes=scan.axes,
        like=scan.volume,
        frame=volume.frame,
        ignore=volume.ignore,
        empty_slices=volume.empty_slices,
    )


def read_expert(record: VolumeRecord, *, num_classes: int) -> np.ndarray:
    """Reads the mask of a prepared volume again, on the scan's own grid.

    Args:
        record: The volume, which has a mask.
        num_classes: Number of classes, background included.

    Returns:
        `[rows, columns, slices]` uint8 classes; `UNLABELLED` where there is no label.

    Raises:
        InputError: If the mask cannot be read.
    """
    assert record.label_path is not None
    return mask.read_label(
        record.label_path,
        shape=record.shape,
        num_classes=num_classes,
        values=record.label_values,
        axes=record.axes,
        frame=record.frame,
        ignore=record.ignore,
        empty_slices=record.empty_slices,
    )


def take_frame(volume: VolumeFile, scan: Scan) -> np.ndarray:
    """Takes the `[rows, columns, slices, channels]` of a volume out of its files.

    Raises:
        InputError: If the file holds several frames and the volume names none.
    """
    frames = scan.array.shape[3]
    if volume.frame is not None:
        return scan.array[:, :, :, volume.frame]
    if frames == 1:
        return scan.array[:, :, :, 0]
    raise InputError(
        f"{volume.image_path} has a fourth axis of length {frames}, and nothing says "
        "what it holds: add --config.data.fourth_axis=frames, which makes each frame a "
        "scan of its own, or --config.data.fourth_axis=channels"
    )
