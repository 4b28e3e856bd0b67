"""One scan's slices on the network's grid, and the way back."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pix2rep_jax.data import nifti
from pix2rep_jax.data.resample import (
    Grid,
    centre_grid,
    mask_box_grid,
    normalise,
    percentile_range,
    resample_image,
    resample_label,
    share_inside,
)
from pix2rep_jax.errors import InputError

__all__ = ["UNLABELLED", "VolumeFile", "VolumeRecord", "prepare_file", "take_frame"]

UNLABELLED = 255
"""The label of every pixel of a slice without a mask."""

_DIGEST_BYTES = 8


@dataclasses.dataclass(frozen=True)
class VolumeFile:
    """One volume to read.

    Attributes:
        volume_id: Unique name, such as "patient001_ED".
        patient: Splits are made over these, such as "patient001".
        subset: "training" or "testing", as the data set's publisher divided it.
        phase: "ED", "ES" or "frame07" in ACDC; "" where unknown.
        group: Pathology, over which few-shot draws are balanced; "" where unknown.
        image_path: NIfTI file of the scan.
        label_path: NIfTI file of the expert's mask; None where there is none.
        frame: Which frame of a 4-D file, from 0; None for a 3-D file.
    """

    volume_id: str
    patient: str
    subset: str
    phase: str
    group: str
    image_path: Path
    label_path: Path | None
    frame: int | None = None


@dataclasses.dataclass(frozen=True)
class VolumeRecord(VolumeFile):
    """A volume, and how its slices were prepared.

    Attributes:
        spacing_mm: Of rows, columns and slices, mm.
        shape: (rows, columns, slices) of the scan.
        low: The intensity that became 0.
        high: The intensity that became 1.
        grids: `[slices, 4]` float64: origin (row, column) and step (row, column) of
            each slice's grid, NaN for a slice that was dropped.
        size: Side of the network's grid, px.
        uses_ground_truth: Whether the expert's mask decided where to crop.
        image_digest: Of the scan's voxels and spacing.
        label_digest: Of its mask; empty without one.
        label_share: How much of the mask lies within the field of view, 0 to 1.
    """

    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    shape: tuple[int, int, int] = (0, 0, 0)
    low: float = 0.0
    high: float = 1.0
    grids: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros((0, 4)), compare=False
    )
    size: int = 0
    uses_ground_truth: bool = False
    image_digest: str = ""
    label_digest: str = ""
    label_share: float = 1.0

    def grid(self, index: int) -> Grid:
        """Returns the grid on which the slice of this index was sampled."""
        row, column, row_step, column_step = self.grids[index].tolist()
        return Grid(
            (row, column), (row_step, column_step), self.shape[:2], (self.size,) * 2
        )


def prepare_file(
    volumes: Sequence[VolumeFile], settings: Mapping[str, Any]
) -> list[tuple[VolumeRecord, np.ndarray, np.ndarray, np.ndarray]]:
    """Prepares the volumes of one file, which is read once.

    Args:
        volumes: All of one file.
        settings: "crop", "fov_mm", "size", "percentiles" and "num_classes".

    Returns:
        Of each volume its record; its images `[slices, size, size]` float32; its
        labels, likewise, uint8, `UNLABELLED` where there is no mask; and which slices
        of the scan they are.

    Raises:
        InputError: If a file cannot be used.
    """
    scan = nifti.read_volume(volumes[0].image_path)
    return [_prepare_volume(volume, scan, settings) for volume in volumes]


def _prepare_volume(
    volume: VolumeFile, scan: nifti.NiftiVolume, settings: Mapping[str, Any]
) -> tuple[VolumeRecord, np.ndarray, np.ndarray, np.ndarray]:
    """One volume of a file, as `prepare_file` returns it."""
    array = take_frame(volume, scan)
    shape, size = array.shape, settings["size"]
    label, label_share = None, 1.0
    if volume.label_path is not None:
        label = nifti.read_label(
            volume.label_path,
            shape=shape,
            num_classes=settings["num_classes"],
            like=scan,
        )
        label = np.moveaxis(label, 2, 0)
    frame = "" if volume.frame is None else f", frame {volume.frame + 1},"
    name = f"the scan {volume.image_path}{frame}"
    low, high = percentile_range(array, settings["percentiles"], name=name)
    image = normalise(np.moveaxis(array, 2, 0), low, high)
    uses_ground_truth = settings["crop"] == "mask_box"
    if uses_ground_truth:
        if label is None:
            raise InputError(
                f"data.crop='mask_box' needs a mask of every scan, and "
                f"{volume.image_path} has none: set data.crop='center'"
            )
        kept = np.flatnonzero(label.any((1, 2)))
        grids = [mask_box_grid(label[index], size=size) for index in kept]
        pairs = list(zip(kept, grids, strict=True))
        images = [resample_image(image[index], grid) for index, grid in pairs]
        labels = [resample_label(label[index], grid) for index, grid in pairs]
    else:
        kept = np.arange(shape[2])
        grid = centre_grid(
            shape[:2], scan.spacing_mm[:2], fov_mm=settings["fov_mm"], size=size
        )
        grids = [grid] * len(kept)
        images = resample_image(image, grid)
        if label is None:
            labels = np.full(images.shape, UNLABELLED, np.uint8)
        else:
            labels = resample_label(label, grid)
            label_share = share_inside(label, grid)
    rows = np.full((shape[2], 4), np.nan)
    rows[kept] = np.reshape([grid.origin + grid.step for grid in grids], (-1, 4))
    record = VolumeRecord(
        **vars(volume),
        spacing_mm=scan.spacing_mm,
        shape=shape,
        low=low,
        high=high,
        grids=rows,
        size=size,
        uses_ground_truth=uses_ground_truth,
        image_digest=_digest(array, scan.spacing_mm),
        label_digest="" if label is None else _digest(label),
        label_share=label_share,
    )
    side = (-1, size, size)
    return (
        record,
        np.reshape(images, side).astype(np.float32, copy=False),
        np.reshape(labels, side).astype(np.uint8, copy=False),
        kept,
    )


def _digest(array: np.ndarray, spacing_mm: Sequence[float] = ()) -> str:
    """Hexadecimal digits for an array's values and a scan's spacing."""
    # As few digits as a header's float32 is sure of.
    about = [array.shape, [f"{size:.4g}" for size in spacing_mm]]
    result = hashlib.blake2b(repr(about).encode(), digest_size=_DIGEST_BYTES)
    result.update(np.ascontiguousarray(array))
    return result.hexdigest()


def take_frame(volume: VolumeFile, scan: nifti.NiftiVolume) -> np.ndarray:
    """Takes the `[rows, columns, slices]` of a volume out of its file.

    Raises:
        InputError: If the file holds several frames and the volume names none.
    """
    if volume.frame is not None:
        return scan.array[..., volume.frame]
    if scan.array.ndim == 3:
        return scan.array
    if scan.array.shape[3] == 1:
        return scan.array[..., 0]
    raise InputError(
        f"{volume.image_path} holds {scan.array.shape[3]} frames: split it into one "
        "file a frame"
    )
