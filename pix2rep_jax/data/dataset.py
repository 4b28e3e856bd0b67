"""A data set as one array of slices on the network's grid, prepared once and cached."""

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data.checks import check_files
from pix2rep_jax.data.files.axes import SliceAxis, SliceRule
from pix2rep_jax.data.files.labels import EMPTY_SLICES, UNLABELLED
from pix2rep_jax.data.files.nifti_header import LARGEST_MM, SMALLEST_MM
from pix2rep_jax.data.layout import acdc, nifti_folder
from pix2rep_jax.data.layout.class_values import (
    find_class_values,
    ignored_values,
    values_note,
)
from pix2rep_jax.data.layout.dataset_json import plain_name
from pix2rep_jax.data.layout.fourth_axis import find_fourth_axis, name_fourth_axis
from pix2rep_jax.data.phantom import write
from pix2rep_jax.data.slices import slice_cache
from pix2rep_jax.data.slices.grid import CROPS
from pix2rep_jax.data.slices.normalization import NORMALIZATIONS, read_normalization
from pix2rep_jax.data.slices.resample import INTERPOLATIONS
from pix2rep_jax.data.slices.volume import (
    PreparedVolume,
    VolumeFile,
    VolumeRecord,
    prepare_file,
)
from pix2rep_jax.data.slices.volume_files import read_files
from pix2rep_jax.errors import InputError, check_choice, name_some
from pix2rep_jax.runtime.config_checks import (
    above_zero,
    all_of,
    anything,
    choice,
    finite,
    not_below_zero,
    pair,
    seed,
    whole_numbers,
    word_or,
    words,
)

__all__ = [
    "Dataset",
    "field_of_view_mm",
    "list_included",
    "list_volumes",
    "load_dataset",
    "load_volumes",
    "take_own",
]


_LOG = logging.getLogger(__name__)

NAMES = ("phantom", "acdc", "nifti")
"""Kinds of data sets; "auto" has become one of them before scans are listed."""

_MOST_REFUSED = 5
"""After so many scans that cannot be used, no more are read."""

SETTINGS = {
    "name": choice("auto", *NAMES),
    "root": anything,
    "crop": choice(*CROPS),
    "spacing_mm": word_or("auto", above_zero),
    "crop_px": not_below_zero,
    "size": above_zero,
    "interpolation": choice(*INTERPOLATIONS),
    "percentiles": all_of(pair, finite),
    "normalization": choice(*NORMALIZATIONS),
    "window": finite,
    "slice_axis": choice("auto", 0, 1, 2),
    "orientation": choice("file", "canonical"),
    "fourth_axis": choice("auto", "frames", "channels"),
    "classes": words,
    "label_values": whole_numbers,
    "ignore": whole_numbers,
    "empty_slices": choice(*EMPTY_SLICES),
    "exclude": words,
    "all_frames": anything,
    "patient_regex": anything,
    "cache_dir": anything,
    "phantom_seed": seed,
    "phantom_training": not_below_zero,
    "phantom_testing": not_below_zero,
}
"""What this module reads of the configuration's section `data`."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Every slice of every volume, in the volumes' order.

    Attributes:
        images: `[slices, height, width, channels]` in [0, 1]; float32, or float16 for
            whole slices. Those of all volumes begin at the first row and column, and
            are padded with 0 to the size of the largest (`VolumeRecord.size`).
        labels: `[slices, height, width]` uint8; 255 where nobody has labelled, in
            slices without a mask, and beside a whole slice.
        volume_index: `[slices]` int32, for each slice the index of its volume in
            `volumes`.
        slice_index: `[slices]` int32, for each slice its index in the scan.
        boxes: `[slices, 4]` int32, the pixels of each slice that lie in the scan: first
            and last row, then first and last column. The others are padding.
        volumes: The volumes, and how they were prepared.
        excluded: The volumes that were not read because of `data.exclude`.
    """

    images: np.ndarray
    labels: np.ndarray
    volume_index: np.ndarray
    slice_index: np.ndarray
    boxes: np.ndarray
    volumes: tuple[VolumeRecord, ...]
    excluded: tuple[VolumeFile, ...] = ()


def load_dataset(
    data: ConfigDict, *, expected: SliceAxis | None = None, progress: bool = True
) -> Dataset:
    """Loads the data set that a configuration describes.

    The prepared slices are kept in one file under `data.cache_dir`, so the next start
    does not read the scans. The file's name is a hash of the settings and of the scans'
    names, sizes and dates.

    Args:
        data: The `data` section of a configuration.
        expected: The slice axis of the run that the scans are used with; None for the
            run's own scans.
        progress: Whether to show a bar on standard error if it takes more than 5 s.

    Raises:
        InputError: If scans are missing or damaged, or if a setting is invalid.
    """
    _check_settings(data)
    volumes, excluded = list_included(data)
    dataset = load_volumes(volumes, data, expected=expected, progress=progress)
    return dataclasses.replace(dataset, excluded=excluded)


def load_volumes(
    volumes: Sequence[VolumeFile],
    data: ConfigDict,
    *,
    expected: SliceAxis | None = None,
    progress: bool = True,
) -> Dataset:
    """Loads some volumes as `load_dataset` loads those of a folder.

    Args:
        volumes: At least one; those of one file follow each other.
        data: As for `load_dataset`, which checks it.
        expected: As for `load_dataset`.
        progress: As for `load_dataset`.

    Raises:
        InputError: If scans are missing or damaged.
    """
    check_files(volumes)
    settings = {
        "crop": data.crop,
        "fov_mm": field_of_view_mm(data),
        "size": data.size,
        "interpolation": data.interpolation,
        "normalization": read_normalization(data),
        "num_classes": len(data.classes),
        "axes": SliceRule(data.slice_axis, data.orientation, expected),
    }
    path = slice_cache.find_path(Path(data.cache_dir).expanduser(), settings, volumes)
    dataset = slice_cache.load(path, Dataset, VolumeRecord)
    if dataset is None:
        dataset = _prepare(volumes, settings, progress=progress)
        slice_cache.save(path, dataset)
    # When the slices were cached, the same files may have had other relative paths.
    records = tuple(
        dataclasses.replace(record, **vars(volume))
        for record, volume in zip(dataset.volumes, volumes, strict=True)
    )
    return dataclasses.replace(dataset, volumes=records)


def take_own(dataset: Dataset, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Takes slices without what pads them to the size of other volumes' slices.

    Args:
        dataset: All slices.
        rows: `[slices]` indices into `dataset.images`.

    Returns:
        Their images and labels, of the size of the largest volume among them.
    """
    sizes = [dataset.volumes[index].size for index in set(dataset.volume_index[rows])]
    height, width = np.max(sizes, axis=0) if sizes else dataset.labels.shape[1:]
    return dataset.images[rows, :height, :width], dataset.labels[rows, :height, :width]


def list_included(
    data: ConfigDict,
) -> tuple[list[VolumeFile], tuple[VolumeFile, ...]]:
    """Lists the volumes to read, and those that `data.exclude` leaves out.

    Raises:
        InputError: As `list_volumes`, and if `data.exclude` names an unknown patient or
            leaves nothing.
    """
    listed = list_volumes(data)
    unknown = sorted(set(data.exclude) - {volume.patient for volume in listed})
    if unknown:
        raise InputError(
            f"data.exclude names {unknown[0]}, but there is no such patient in "
            f"{data.root or 'the phantom'}: correct the name"
        )
    excluded = tuple(volume for volume in listed if volume.patient in data.exclude)
    volumes = [volume for volume in listed if volume.patient not in data.exclude]
    if not volumes:
        raise InputError("data.exclude names all patients: shorten it")
    return volumes, excluded


def field_of_view_mm(data: Mapping[str, Any]) -> float:
    """Computes the side of the square that the network sees, mm.

    Args:
        data: The `data` section of a configuration. If its `crop_px` is 0, the network
            sees `size` pixels of `spacing_mm` each.
    """
    return data["spacing_mm"] * (data["crop_px"] or data["size"])


def list_volumes(data: ConfigDict) -> list[VolumeFile]:
    """Lists the volumes that a configuration names, and writes the phantom if needed.

    Raises:
        InputError: If `data.name` is unknown, or if its folder is missing.
    """
    root = data.root
    check_choice("data.name", data.name, NAMES)
    if data.name == "phantom":
        counts = (data.phantom_training, data.phantom_testing)
        name = f"phantom-seed{data.phantom_seed}-{counts[0]}-{counts[1]}"
        root = write.write(
            Path(root or Path(data.cache_dir) / name).expanduser(),
            seed=data.phantom_seed,
            num_training=counts[0],
            num_testing=counts[1],
        )
    elif not root:
        raise InputError(
            f"data.name={data.name!r} needs the folder of the scans: add "
            "--config.data.root=FOLDER"
        )
    if data.name == "nifti":
        listed = nifti_folder.list_volumes(root, patient_regex=data.patient_regex)
        listed = name_fourth_axis(listed, find_fourth_axis(data))
    else:
        listed = acdc.list_volumes(
            root, all_frames=data.all_frames, exclude=data.exclude
        )
    if all(volume.label_path is None for volume in listed):
        return listed
    if not data.classes:
        raise InputError(
            "data.classes is empty, and there are masks: name the classes by their "
            "values, background first, such as --config.data.classes=BG,NAME"
        )
    values = find_class_values(data)
    if note := values_note(data, values):
        _LOG.warning(note)
    meaning: dict[str, Any] = {
        "label_values": values,
        "ignore": ignored_values(data, values),
        "empty_slices": data.get("empty_slices", "background"),
    }
    return [dataclasses.replace(volume, **meaning) for volume in listed]


def _check_settings(data: ConfigDict) -> None:
    """Raises InputError if a setting of the preparation is invalid."""
    check_choice("data.crop", data.crop, CROPS)
    check_choice("data.interpolation", data.interpolation, INTERPOLATIONS)
    if "auto" in (data.crop, data.spacing_mm, data.normalization):
        raise InputError(
            "data.crop, data.spacing_mm or data.normalization is 'auto': take what "
            "pix2rep_jax.data.fit.plan.plan_data makes of it, or give a value"
        )
    if data.crop == "whole" and data.crop_px:
        raise InputError(
            f"data.crop_px={data.crop_px} is the side of a centred crop, and "
            "data.crop='whole' has none: set data.crop_px=0, or data.crop='center'"
        )
    if not (data.spacing_mm > 0 and data.crop_px >= 0 and data.size > 0):
        raise InputError(
            "data.spacing_mm and data.size must be above 0, and data.crop_px must be 0 "
            f"or more, but they are {data.spacing_mm}, {data.size} and {data.crop_px}"
        )
    pixel_mm = field_of_view_mm(data) / data.size
    if not SMALLEST_MM <= pixel_mm <= LARGEST_MM:
        raise InputError(
            f"a pixel would measure {pixel_mm:g} mm, because data.spacing_mm is "
            f"{data.spacing_mm:g}, data.crop_px {data.crop_px} and data.size "
            f"{data.size}: choose them so that it measures {SMALLEST_MM:g} to "
            f"{LARGEST_MM:g} mm"
        )
    percentiles = tuple(data.percentiles)
    if len(percentiles) != 2 or not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise InputError(
            f"data.percentiles={percentiles} must be two numbers between 0 and 100, "
            "the lower one first"
        )
    # Without masks nobody needs to know the classes.
    if not (2 <= len(data.classes) <= UNLABELLED or not data.classes):
        raise InputError(
            f"data.classes={tuple(data.classes)} must name 2 to {UNLABELLED} classes, "
            "background first"
        )
    # Scores have the last two names.
    names = [*map(plain_name, data.classes), "mean", "mean_foreground"]
    if twice := [name for name in data.classes if names.count(plain_name(name)) > 1]:
        raise InputError(
            f"data.classes={tuple(data.classes)} has {twice[0]!r} twice (capitals do "
            "not count), or it is the name of an average: give every class a name of "
            "its own"
        )


def _explain(refused: Sequence[tuple[Path, InputError]]) -> InputError:
    """Makes one sentence of what is wrong with several files."""
    first, *others = refused
    if not others:
        return first[1]
    rest = name_some((path.name for path, _ in others), most=_MOST_REFUSED)
    stopped = " (no more were read)" if len(refused) == _MOST_REFUSED else ""
    return InputError(f"{first[1]}; check also {rest}{stopped}")


def _prepare(
    volumes: Sequence[VolumeFile], settings: dict, *, progress: bool
) -> Dataset:
    """Reads and prepares the volumes, several files at the same time."""
    prepared: list[PreparedVolume] = []
    refused: list[tuple[Path, InputError]] = []
    read = functools.partial(prepare_file, settings=settings)
    results = read_files(read, volumes, title="prepare scans", progress=progress)
    with contextlib.closing(results):
        for file, result in results:
            if not isinstance(result, InputError):
                prepared += result
                continue
            refused.append((file[0].image_path, result))
            if len(refused) == _MOST_REFUSED:
                break
    if refused:
        raise _explain(refused)
    records, images, labels, kept, boxes = zip(*prepared, strict=True)
    if not sum(map(len, images)):
        raise InputError(
            "every mask is empty, so data.crop='mask_box' leaves no slice: check the "
            "masks, or set data.crop='center'"
        )
    _check_channels(records)
    counts = [len(indices) for indices in kept]
    return Dataset(
        images=_join(images, 0),
        labels=_join(labels, UNLABELLED),
        volume_index=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        slice_index=np.concatenate(kept).astype(np.int32),
        boxes=np.concatenate(boxes),
        volumes=records,
    )


def _join(arrays: Sequence[np.ndarray], fill: int) -> np.ndarray:
    """Joins `[slices, height, width, …]`, padded at their ends to one size."""
    height, width = np.max([each.shape[1:3] for each in arrays], axis=0)
    shape = (sum(map(len, arrays)), height, width, *arrays[0].shape[3:])
    joined = np.full(shape, fill, arrays[0].dtype)
    start = 0
    for each in arrays:
        rows, columns = each.shape[1:3]
        joined[start : start + len(each), :rows, :columns] = each
        start += len(each)
    return joined


def _check_channels(records: Sequence[VolumeRecord]) -> None:
    """Raises InputError if scans have different numbers of channels."""
    counts = [len(record.low) for record in records]
    if other := next((i for i, count in enumerate(counts) if count != counts[0]), 0):
        raise InputError(
            f"{records[0].image_path} has {counts[0]} channel(s), and "
            f"{records[other].image_path} has {counts[other]}: give all scans the same "
            "channels, or convert all pictures to grey or all to RGB"
        )
