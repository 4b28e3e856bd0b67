"""One file of prepared slices for each set of scans and settings."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pix2rep_jax.data.files.axes import Axes, SliceAxis
from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.data.files.nifti_paths import file_parts
from pix2rep_jax.data.files.picture_file import is_picture, list_size_files
from pix2rep_jax.data.slices.cache_limit import limit_cache
from pix2rep_jax.data.slices.stored_slices import StoredRows
from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.atomic_file import replacing
from pix2rep_jax.runtime.kept_arrays import DAMAGE, read_arrays

__all__ = ["find_path", "load", "open_stored", "save", "stored_path"]

VERSION = 14
"""Raise it when the same scans and settings give other slices or records, or none."""

_LOG = logging.getLogger(__name__)

_PATHS = ("image_path", "label_path")

_ARRAYS = ("images", "labels", "volume_index", "slice_index", "boxes")

_STORED = ("places", "dtype", "channels", "bytes")
"""What describes slices in a file of their own, in place of images and labels."""


def find_path(
    folder: Path,
    settings: Mapping[str, Any],
    volumes: Sequence[VolumeFile],
    *,
    kind: str = "slices-{}.npz",
) -> Path:
    """Names the cache's file by a hash of everything that its content depends on.

    Args:
        folder: The folder of all caches.
        settings: The settings of the preparation.
        volumes: The volumes to prepare. The sizes and dates of their files count.
        kind: The file's name, with a place for the hash.

    Returns:
        A path in the folder. The file need not exist.
    """
    inputs = []
    resolve = functools.cache(Path.resolve)  # a folder holds several files
    for volume in volumes:
        fields: dict[str, Any] = {
            name: str(value) for name, value in vars(volume).items()
        }
        for name in _PATHS:
            if (path := getattr(volume, name)) is not None:
                fields[name] = [_stamp(part, resolve) for part in file_parts(path)]
        read = [part for path in volume.more_channels for part in file_parts(path)]
        if is_picture(volume.image_path):
            read += list_size_files(volume.image_path)
        fields["more_channels"] = [_stamp(part, resolve) for part in read]
        inputs.append(fields)
    text = json.dumps([VERSION, settings, inputs], sort_keys=True)
    return folder / kind.format(hashlib.sha256(text.encode()).hexdigest()[:24])


def _stamp(path: Path, resolve: Callable[[Path], Path]) -> tuple[str, int, int]:
    """Returns a file's place without links, its size and its date."""
    try:
        status = path.stat()
        place = resolve(path) if path.is_symlink() else resolve(path.parent) / path.name
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): check its folder"
        ) from error
    return str(place), status.st_size, status.st_mtime_ns


def stored_path(path: Path) -> Path:
    """Names the file of slices that do not fit the memory."""
    return path.with_suffix(".bin")


def open_stored(
    file: Path, described: Mapping[str, np.ndarray]
) -> dict[str, StoredRows]:
    """Opens images and labels that a `SliceWriter` wrote.

    Args:
        file: The file.
        described: From `SliceWriter.describe`.
    """
    how = dict(described)
    return {
        "images": StoredRows(file, how, labels=False, fill=0),
        "labels": StoredRows(file, how, labels=True, fill=UNLABELLED),
    }


def save(
    path: Path,
    dataset: Any,
    *,
    limit_gb: float = 0.0,
    described: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Writes a data set atomically, and removes what was not used for longest.

    A run has its slices. So if they cannot be written (a full disk), there is a warning
    and no error.

    Args:
        path: The path that `find_path` returned.
        dataset: The data set.
        limit_gb: As for `limit_cache`.
        described: What describes the slices' own file; None if they have none.
    """
    names = [*_ARRAYS[2:], "annotated"]
    if described is None:
        names += _ARRAYS[:2]
    records = [
        {
            **{name: value for name, value in vars(record).items() if name != "grids"},
            "axes": dataclasses.astuple(record.axes),
        }
        for record in dataset.volumes
    ]
    arrays: dict[str, Any] = {
        "name": np.array(path.name),
        "records": np.array(json.dumps(records, default=str)),
        "grids": np.concatenate([record.grids for record in dataset.volumes]),
        **{name: getattr(dataset, name) for name in names},
        **(described or {}),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, open(partial, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, ValueError) as error:  # a clock before 1980 is a ValueError
        _LOG.warning(
            "the prepared scans could not be kept in %s (%s), so the next start "
            "prepares them again: free some space or set --config.data.cache_dir",
            path.parent,
            getattr(error, "strerror", None) or error,
        )
        return
    limit_cache(path.parent, limit_gb=limit_gb, keep=path)


def load(path: Path, dataset_type: type, record_type: type) -> Any | None:
    """Reads a data set that `save` wrote.

    Args:
        path: The path that `find_path` returned.
        dataset_type: `Dataset`.
        record_type: `VolumeRecord`.

    Returns:
        The data set, or None if there is no file. If the file is damaged, or was
        written for other scans, it is None too, with a warning.
    """
    try:
        if (found := read_arrays(path)) is None:
            return None
        if (name := found["name"].item()) != path.name:
            raise ValueError(f"it was written as {name}, for other scans")
        arrays: dict[str, Any] = {name: found[name] for name in _ARRAYS[2:]}
        if "places" in found:
            with contextlib.suppress(OSError):  # another user's
                os.utime(stored_path(path))
            arrays |= open_stored(
                stored_path(path), {name: found[name] for name in _STORED}
            )
        else:
            arrays |= {name: found[name] for name in _ARRAYS[:2]}
        arrays["annotated"] = found.get("annotated")  # older files lack it
        fields, grids = json.loads(found["records"].item()), found["grids"]
        counts = [volume["shape"][2] for volume in fields]
        grids_by_volume = np.split(grids, np.cumsum(counts)[:-1])
        records = [
            _make_record(record_type, *volume)
            for volume in zip(fields, grids_by_volume, strict=True)
        ]
        return dataset_type(**arrays, volumes=tuple(records))
    except DAMAGE as error:
        _LOG.warning(
            "the cache %s is damaged (%s): the scans are prepared again", path, error
        )
        return None


def _make_record(record_type: type, fields: dict, grids: np.ndarray) -> Any:
    """Makes a record from its fields in JSON."""
    fields = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in fields.items()
    }
    paths = {
        name: None if fields[name] is None else Path(fields[name]) for name in _PATHS
    }
    more = {"more_channels": tuple(map(Path, fields["more_channels"]))}
    axes = {
        "axes": Axes(*map(tuple, fields["axes"])),
        "slice_axis": SliceAxis(*fields["slice_axis"]),
    }
    return record_type(**{**fields, **paths, **axes, **more, "grids": grids})
