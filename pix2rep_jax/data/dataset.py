"""A data set as one array of slices on the network's grid, prepared once and cached."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data.checks import check_files
from pix2rep_jax.data.files.axes import SliceAxis, SliceRule
from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.data.preparation import check_preparation, field_of_view_mm
from pix2rep_jax.data.slices import slice_cache
from pix2rep_jax.data.slices.gathered_slices import GatheredSlices
from pix2rep_jax.data.slices.normalization import read_normalization
from pix2rep_jax.data.slices.prepared_volume import PreparedVolume, prepare_file
from pix2rep_jax.data.slices.stored_slices import select
from pix2rep_jax.data.slices.volume import VolumeFile, VolumeRecord
from pix2rep_jax.data.slices.volume_files import read_files
from pix2rep_jax.data.volume_list import list_included
from pix2rep_jax.errors import InputError, name_some
from pix2rep_jax.wording import count

__all__ = ["Dataset", "load_dataset", "load_volumes", "take_own"]

_MOST_REFUSED = 5
"""After so many scans that cannot be used, no more are read."""


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
        annotated: `[slices]` bool, whether any pixel has a label; None looks at them.

    Images and labels that would fill the memory are `StoredRows`, which are indexed as
    arrays are.
    """

    images: np.ndarray
    labels: np.ndarray
    volume_index: np.ndarray
    slice_index: np.ndarray
    boxes: np.ndarray
    volumes: tuple[VolumeRecord, ...]
    excluded: tuple[VolumeFile, ...] = ()
    annotated: np.ndarray | None = None

    def is_annotated(self) -> np.ndarray:
        """Tells of each slice whether any pixel of it has a label."""
        if self.annotated is not None:
            return self.annotated
        return _is_annotated(self.labels)


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
    check_preparation(data)
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
        place = slice_cache.stored_path(path)
        try:
            dataset, described = _prepare(volumes, settings, place, progress=progress)
        except OSError:  # `save` says so
            dataset, described = _prepare(volumes, settings, None, progress=progress)
        limit_gb = data.get("cache_gb", 0.0)  # runs of earlier versions lack it
        slice_cache.save(path, dataset, limit_gb=limit_gb, described=described)
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
        Their images and labels, of the size of the largest volume among them; what
        would fill the memory stays on the disk.
    """
    sizes = [dataset.volumes[index].size for index in set(dataset.volume_index[rows])]
    height, width = np.max(sizes, axis=0) if sizes else dataset.labels.shape[1:]
    images, labels = (
        select(each, rows, size=(height, width))
        for each in (dataset.images, dataset.labels)
    )
    return images, labels


def _explain(refused: Sequence[tuple[Path, InputError]]) -> InputError:
    """Makes one sentence of what is wrong with several files."""
    first, *others = refused
    if not others:
        return first[1]
    rest = name_some((path.name for path, _ in others), most=_MOST_REFUSED)
    stopped = " (no more were read)" if len(refused) == _MOST_REFUSED else ""
    return InputError(f"{first[1]}; check also {rest}{stopped}")


class _Prepared(NamedTuple):
    """What is known of all volumes, beside their images and labels."""

    records: list[VolumeRecord]
    kept: list[np.ndarray]
    boxes: list[np.ndarray]
    annotated: list[np.ndarray]


def _prepare(
    volumes: Sequence[VolumeFile],
    settings: dict,
    path: Path | None,
    *,
    progress: bool,
) -> tuple[Dataset, dict[str, np.ndarray] | None]:
    """Reads and prepares the volumes, several files at the same time.

    Args:
        volumes: The volumes.
        settings: As for `prepare_file`.
        path: The file for slices that would fill the memory; None keeps all there.
        progress: As for `load_dataset`.

    Returns:
        The data set; and of slices that are in a file, what describes it.

    Raises:
        InputError: If scans cannot be used.
        OSError: If the file cannot be written.
    """
    found = _Prepared([], [], [], [])
    with contextlib.ExitStack() as stack:
        pixels = stack.enter_context(GatheredSlices(path))
        for each in _read_all(volumes, settings, progress=progress):
            pixels.add(each.images, each.labels)
            found.records.append(each.record)
            found.kept.append(each.kept)
            found.boxes.append(each.boxes)
            found.annotated.append(_is_annotated(each.labels))
        if not sum(map(len, found.kept)):
            raise InputError(
                "every mask is empty, so data.crop='mask_box' leaves no slice: check "
                "the masks, or set --config.data.crop=center"
            )
        _check_channels(found.records)
        described = pixels.finish()
    counts = [len(indices) for indices in found.kept]
    arrays: dict[str, Any]
    if described is None or path is None:
        arrays = {
            "images": _join(pixels.images, 0),
            "labels": _join(pixels.labels, UNLABELLED),
        }
    else:
        arrays = slice_cache.open_stored(path, described)
    dataset = Dataset(
        **arrays,
        volume_index=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        slice_index=np.concatenate(found.kept).astype(np.int32),
        boxes=np.concatenate(found.boxes),
        volumes=tuple(found.records),
        annotated=np.concatenate(found.annotated),
    )
    return dataset, described


def _read_all(
    volumes: Sequence[VolumeFile], settings: dict, *, progress: bool
) -> Iterator[PreparedVolume]:
    """Yields the prepared volumes in their order.

    Raises:
        InputError: At the end, or after the first few, if files cannot be used.
    """
    refused: list[tuple[Path, InputError]] = []
    read = functools.partial(prepare_file, settings=settings)
    results = read_files(
        read, volumes, title="prepare scans", progress=progress, processes=True
    )
    with contextlib.closing(results):
        for file, result in results:
            if not isinstance(result, InputError):
                if not refused:
                    yield from result
                continue
            refused.append((file[0].image_path, result))
            if len(refused) == _MOST_REFUSED:
                break
    if refused:
        raise _explain(refused)


def _is_annotated(labels: np.ndarray) -> np.ndarray:
    return np.array([(label != UNLABELLED).any() for label in labels], bool)


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
    if other := next((i for i, each in enumerate(counts) if each != counts[0]), 0):
        raise InputError(
            f"{records[0].image_path} has {count(counts[0], 'channel')}, and "
            f"{records[other].image_path} has {counts[other]}: give all scans the same "
            "channels, or convert all pictures to grey or all to RGB"
        )
