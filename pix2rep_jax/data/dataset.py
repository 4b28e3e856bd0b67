"""Scans as one array of slices on the network's grid, prepared once and cached."""

import concurrent.futures
import dataclasses
import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from pix2rep_jax.data import acdc, cache, folder, nifti, phantom
from pix2rep_jax.data.preprocess import (
    Grid,
    centre_grid,
    mask_box_grid,
    normalise,
    percentile_range,
    resample_image,
    resample_label,
)
from pix2rep_jax.data.volume_file import VolumeFile
from pix2rep_jax.errors import InputError

__all__ = [
    "PREPARATION",
    "UNLABELLED",
    "Dataset",
    "VolumeRecord",
    "list_volumes",
    "load_dataset",
    "take_frame",
]

PREPARATION = ("crop", "spacing_mm", "crop_px", "size", "percentiles")
"""Settings of `data` that decide how large, how sharp and how bright anatomy is."""

UNLABELLED = 255
"""The label of every pixel of a slice without a mask."""


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

    def grid(self, index: int) -> Grid:
        """Returns the grid on which the slice of this index was sampled."""
        row, column, row_step, column_step = self.grids[index].tolist()
        return Grid(
            (row, column), (row_step, column_step), self.shape[:2], (self.size,) * 2
        )


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Every slice of every volume, in the volumes' order.

    Attributes:
        images: `[slices, height, width]` float32 in [0, 1].
        labels: `[slices, height, width]` uint8; 255 in slices without a mask.
        volume_index: `[slices]` int32, into `volumes`.
        slice_index: `[slices]` int32, which slice of its scan each one is.
        volumes: What was read, and how it was prepared.
        excluded: What `data.exclude` kept from being read.
    """

    images: np.ndarray
    labels: np.ndarray
    volume_index: np.ndarray
    slice_index: np.ndarray
    volumes: tuple[VolumeRecord, ...]
    excluded: tuple[VolumeFile, ...] = ()


def load_dataset(data: ConfigDict, *, progress: bool = True) -> Dataset:
    """Loads the data set that a configuration describes.

    The prepared slices are kept in one file under `data.cache_dir`, named by a hash of
    the settings and of the scans' names, sizes and dates, so the next start is instant.

    Args:
        data: The `data` part of a configuration.
        progress: Whether to show a bar on standard error once it takes 5 s.

    Raises:
        InputError: If the scans are missing or damaged, or the settings senseless.
    """
    _check_settings(data)
    listed = list_volumes(data)
    unknown = sorted(set(data.exclude) - {volume.patient for volume in listed})
    if unknown:
        raise InputError(
            f"data.exclude names {unknown[0]}, and there is no such patient in "
            f"{data.root or 'the phantom'}: correct the name"
        )
    excluded = tuple(each for each in listed if each.patient in data.exclude)
    volumes = [each for each in listed if each.patient not in data.exclude]
    if not volumes:
        raise InputError("data.exclude leaves no patient: shorten it")
    settings = {
        "crop": data.crop,
        "fov_mm": data.spacing_mm * data.crop_px,
        "size": data.size,
        "percentiles": tuple(data.percentiles),
        "num_classes": len(data.classes),
    }
    path = cache.find_path(Path(data.cache_dir).expanduser(), settings, volumes)
    dataset = cache.load(path, Dataset, VolumeRecord)
    if dataset is None:
        dataset = _prepare(volumes, settings, progress=progress)
        cache.save(path, dataset)
    # The same files may have been named relative to another folder when cached.
    records = tuple(
        dataclasses.replace(record, **vars(volume))
        for record, volume in zip(dataset.volumes, volumes, strict=True)
    )
    return dataclasses.replace(dataset, volumes=records, excluded=excluded)


def list_volumes(data: ConfigDict) -> list[VolumeFile]:
    """Lists the volumes that a configuration names, writing the phantom if needed.

    Raises:
        InputError: If `data.name` is no known layout, or its folder is missing.
    """
    root = data.root
    if data.name == "phantom":
        counts = (data.phantom_training, data.phantom_testing)
        name = f"phantom-seed{data.phantom_seed}-{counts[0]}-{counts[1]}"
        root = phantom.write(
            Path(root or Path(data.cache_dir) / name).expanduser(),
            seed=data.phantom_seed,
            num_training=counts[0],
            num_testing=counts[1],
        )
    elif data.name not in ("acdc", "nifti"):
        raise InputError(
            f"data.name={data.name!r} is no layout that is known: set it to 'phantom', "
            "'acdc' or 'nifti'"
        )
    elif not root:
        raise InputError(
            f"data.name={data.name!r} needs the folder of the scans: add "
            "--config.data.root=FOLDER"
        )
    if data.name == "nifti":
        return folder.list_volumes(root, patient_regex=data.patient_regex)
    return acdc.list_volumes(root, all_frames=data.all_frames, exclude=data.exclude)


def _check_settings(data: ConfigDict) -> None:
    """Raises InputError where the settings of the preparation make no sense."""
    if data.crop not in ("center", "mask_box"):
        raise InputError(
            f"data.crop={data.crop!r} is no crop: set it to 'center' or 'mask_box'"
        )
    if not (data.spacing_mm > 0 and data.crop_px > 0 and data.size > 0):
        raise InputError(
            "data.spacing_mm, data.crop_px and data.size must be above 0; they are "
            f"{data.spacing_mm}, {data.crop_px} and {data.size}"
        )
    percentiles = tuple(data.percentiles)
    if len(percentiles) != 2 or not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise InputError(
            f"data.percentiles={percentiles} must be two numbers between 0 and 100, "
            "the lower one first"
        )
    if not 2 <= len(data.classes) <= UNLABELLED:
        raise InputError(
            f"data.classes={tuple(data.classes)} must name 2 to {UNLABELLED} classes, "
            "background first"
        )
    names = (*data.classes, "mean", "mean_foreground")  # scores have these names too
    if twice := [name for name in data.classes if names.count(name) > 1]:
        raise InputError(
            f"data.classes={tuple(data.classes)} has {twice[0]!r} twice, or as the "
            "name of an average: give every class a name of its own"
        )


def _prepare(
    volumes: Sequence[VolumeFile], settings: dict, *, progress: bool
) -> Dataset:
    """Reads and prepares the volumes, several files at once."""
    files = [
        list(group)
        for _, group in itertools.groupby(volumes, lambda volume: volume.image_path)
    ]
    workers = min(8, os.cpu_count() or 1)
    prepared = []
    with (
        concurrent.futures.ThreadPoolExecutor(workers) as executor,
        tqdm(
            desc="prepare scans",
            total=len(files),
            unit="scan",
            file=sys.stderr,
            delay=5,
            disable=not progress,
        ) as bar,
    ):
        try:
            for result in executor.map(lambda f: _prepare_file(f, settings), files):
                prepared += result
                bar.update()
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise
    records, images, labels, kept = zip(*prepared, strict=True)
    if not sum(map(len, images)):
        raise InputError("every mask is empty, so data.crop='mask_box' leaves no slice")
    counts = [len(indices) for indices in kept]
    return Dataset(
        images=np.concatenate(images),
        labels=np.concatenate(labels),
        volume_index=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        slice_index=np.concatenate(kept).astype(np.int32),
        volumes=records,
    )


def _prepare_file(volumes: Sequence[VolumeFile], settings: dict) -> list[tuple]:
    """Prepares the volumes of one file, which is read once."""
    scan = nifti.read_volume(volumes[0].image_path)
    return [_prepare_volume(volume, scan, settings) for volume in volumes]


def _prepare_volume(
    volume: VolumeFile, scan: nifti.NiftiVolume, settings: dict
) -> tuple[VolumeRecord, np.ndarray, np.ndarray, np.ndarray]:
    """A volume's record, its images and labels, and which slices they are."""
    array = take_frame(volume, scan)
    shape, size = array.shape, settings["size"]
    label = None
    if volume.label_path is not None:
        label = nifti.read_label(
            volume.label_path,
            shape=shape,
            num_classes=settings["num_classes"],
            like=scan,
        )
        label = np.moveaxis(label, 2, 0)
    low, high = percentile_range(array, settings["percentiles"])
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
        labels = (
            np.full(images.shape, UNLABELLED, np.uint8)
            if label is None
            else resample_label(label, grid)
        )
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
    )
    side = (-1, size, size)
    return (
        record,
        np.reshape(images, side).astype(np.float32, copy=False),
        np.reshape(labels, side).astype(np.uint8, copy=False),
        kept,
    )


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
