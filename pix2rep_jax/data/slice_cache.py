"""One file of prepared slices for each set of scans and settings."""

import hashlib
import json
import os
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pix2rep_jax.data.volume import VolumeFile
from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.atomic_file import replacing

__all__ = ["find_path", "load", "save"]

VERSION = 5  # raise it when the same scans and settings give other slices or records

_PATHS = ("image_path", "label_path")

_ARRAYS = ("images", "labels", "volume_index", "slice_index")


def find_path(
    folder: Path, settings: Mapping[str, Any], volumes: Sequence[VolumeFile]
) -> Path:
    """Names the cache's file after a hash of all that its content depends on.

    Args:
        folder: Of the caches.
        settings: Of the preparation.
        volumes: What is prepared; the files' sizes and dates count.

    Returns:
        A path in the folder, whether the file exists or not.
    """
    inputs = []
    for volume in volumes:
        fields = {name: str(value) for name, value in vars(volume).items()}
        for name in _PATHS:
            if (path := getattr(volume, name)) is not None:
                try:
                    status = path.stat()
                except OSError as error:
                    raise InputError(
                        f"{path} cannot be read ({error.strerror}): check the folder"
                    ) from error
                stamp = (str(path.resolve()), status.st_size, status.st_mtime_ns)
                fields[name] = stamp
        inputs.append(fields)
    text = json.dumps([VERSION, settings, inputs], sort_keys=True)
    return folder / f"slices-{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"


def save(path: Path, dataset: Any) -> None:
    """Writes a data set so that the file is there whole or not at all.

    A run has its slices in memory, so where they cannot be written (a full disk) it is
    told so on standard error and goes on.
    """
    records = [
        {name: value for name, value in vars(record).items() if name != "grids"}
        for record in dataset.volumes
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, open(partial, "wb") as file:
            np.savez(
                file,
                records=np.array(json.dumps(records, default=str)),
                grids=np.concatenate([each.grids for each in dataset.volumes]),
                **{name: getattr(dataset, name) for name in _ARRAYS},
            )
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        print(
            f"the prepared scans could not be kept in {path.parent} "
            f"({error.strerror or error}), so the next start prepares them again: free "
            "some space or set --config.data.cache_dir",
            file=sys.stderr,
        )


def load(path: Path, dataset_type: type, record_type: type) -> Any | None:
    """Reads a data set that `save` wrote.

    Args:
        path: From `find_path`.
        dataset_type: `Dataset`.
        record_type: `VolumeRecord`.

    Returns:
        The data set; None where there is no file, or where it is damaged, which is
        said on standard error.
    """
    try:
        if not path.is_file():
            return None
        # np.load leaves a file open that it cannot read.
        with open(path, "rb") as stream, np.load(stream) as file:
            arrays = {name: file[name] for name in _ARRAYS}
            fields = json.loads(file["records"].item())
            grids = file["grids"]
        counts = [each["shape"][2] for each in fields]
        own = np.split(grids, np.cumsum(counts)[:-1])
        records = [
            _make_record(record_type, each, grid)
            for each, grid in zip(fields, own, strict=True)
        ]
        return dataset_type(**arrays, volumes=tuple(records))
    except (
        OSError,
        EOFError,
        KeyError,
        RuntimeError,
        TypeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        print(
            f"the cache {path} is damaged ({error}): the scans are prepared again",
            file=sys.stderr,
        )
        return None


def _make_record(record_type: type, fields: dict, grids: np.ndarray) -> Any:
    """A record from its fields as JSON has them."""
    fields = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in fields.items()
    }
    paths = {
        name: None if fields[name] is None else Path(fields[name]) for name in _PATHS
    }
    return record_type(**{**fields, **paths, "grids": grids})
