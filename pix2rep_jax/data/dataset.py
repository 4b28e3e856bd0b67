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

from pix2rep_jax.data import acdc, nifti_folder, slice_cache
from pix2rep_jax.data.phantom import write
from pix2rep_jax.data.volume import UNLABELLED, VolumeFile, VolumeRecord, prepare_file
from pix2rep_jax.errors import InputError

__all__ = [
    "PREPARATION",
    "Dataset",
    "list_volumes",
    "load_dataset",
]

PREPARATION = ("crop", "spacing_mm", "crop_px", "size", "percentiles")
"""Settings of `data` that decide how large, how sharp and how bright anatomy is."""


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
    path = slice_cache.find_path(Path(data.cache_dir).expanduser(), settings, volumes)
    dataset = slice_cache.load(path, Dataset, VolumeRecord)
    if dataset is None:
        dataset = _prepare(volumes, settings, progress=progress)
        slice_cache.save(path, dataset)
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
        root = write.write(
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
        return nifti_folder.list_volumes(root, patient_regex=data.patient_regex)
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
            for result in executor.map(lambda f: prepare_file(f, settings), files):
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
