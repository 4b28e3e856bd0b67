"""One volume: where its files are, and how its slices were prepared."""

import dataclasses
from pathlib import Path

import numpy as np

from pix2rep_jax.data.files import mask
from pix2rep_jax.data.files.axes import AS_STORED, LAST, Axes, SliceAxis
from pix2rep_jax.data.files.picture_file import is_picture
from pix2rep_jax.data.files.scan import Scan
from pix2rep_jax.data.slices.grid import Grid
from pix2rep_jax.errors import InputError

__all__ = [
    "VolumeFile",
    "VolumeRecord",
    "read_expert",
    "read_mask",
    "take_frame",
]


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
