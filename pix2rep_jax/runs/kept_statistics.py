"""BatchNorm's statistics of a pretrained network, kept for the runs that follow it.

Measuring them takes as long as all else that a run does before its first step. Each
probing and fine-tuning of one pretraining needs the same ones.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from pix2rep_jax.data.slices.stored_slices import StoredRows, select
from pix2rep_jax.methods.recalibration import recalibrate_backbone
from pix2rep_jax.models.batch_norm import sample_batches
from pix2rep_jax.models.unet import UNet
from pix2rep_jax.runs.environment import numeric_environment
from pix2rep_jax.runtime.atomic_file import replacing
from pix2rep_jax.runtime.kept_arrays import DAMAGE, read_arrays

__all__ = ["hash_inputs", "keep_statistics", "measure_statistics"]

VERSION = 2
"""Raise it when the same inputs give other statistics."""

_SEAL = "seal"
"""The array of a file that hashes the others, and what they were measured for."""

_LOG = logging.getLogger(__name__)


def measure_statistics(
    data: ConfigDict,
    backbone: UNet,
    params: Mapping[str, Any],
    batch_stats: Mapping[str, Any],
    images: np.ndarray,
    boxes: np.ndarray,
) -> dict[str, Any]:
    """Measures as `recalibrate_backbone` does, once for all runs under `cache_dir`.

    The arguments are those of `recalibrate_backbone`.
    """
    rows = sample_batches(len(images)).ravel()

    def measure() -> Any:
        measured = recalibrate_backbone(
            data, backbone, params, batch_stats, images, boxes
        )
        return measured["backbone"]

    kept = keep_statistics(
        measure,
        folder=Path(data.cache_dir).expanduser(),
        inputs=(params["backbone"], select(images, rows), boxes[rows]),
        settings=[repr(backbone), data.crop, data.size, len(images)],
    )
    return {**batch_stats, "backbone": kept}


def keep_statistics(
    measure: Callable[[], Any], *, folder: Path, inputs: Any, settings: Any
) -> Any:
    """Reads the statistics that an earlier run has measured, or measures them.

    They are equal to the bit to those that would be measured now.

    Args:
        measure: Measures them: a tree of dictionaries with arrays.
        folder: Where they are kept, in one small file for each network and its images.
        inputs: The arrays that they depend on, as a tree.
        settings: What else they depend on, as JSON can hold it.

    Returns:
        The statistics, on the host.
    """
    key = hash_inputs(inputs, settings)
    path = folder / f"statistics-{key}.npz"
    kept = _load(path, key)
    if kept is None:
        kept = jax.device_get(measure())
        _save(path, kept, key)
    return kept


def hash_inputs(inputs: Any, settings: Any) -> str:
    """Hashes what statistics depend on, and what decides their rounding.

    Args:
        inputs: A tree of arrays: their names, types, shapes and bits count.
        settings: As JSON can hold it.
    """
    text = json.dumps([VERSION, settings, numeric_environment()], sort_keys=True)
    return _hash_arrays(inputs, text)[:24]


def _hash_arrays(arrays: Any, text: str) -> str:
    """Hashes a tree of arrays and a text."""
    result = hashlib.sha256(text.encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
        on_disk = isinstance(leaf, StoredRows)
        array = leaf if on_disk else np.ascontiguousarray(leaf)
        name = jax.tree_util.keystr(path)
        result.update(f"{name} {array.dtype} {array.shape}".encode())
        for part in array if on_disk else [array]:
            result.update(part.data)
    return result.hexdigest()


def _save(path: Path, statistics: Mapping[str, Any], key: str) -> None:
    """Writes statistics; if they cannot be written, the next run measures them."""
    arrays = flatten_dict(statistics, sep="/")
    sealed: dict[str, Any] = {_SEAL: np.array(_hash_arrays(arrays, key)), **arrays}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, open(partial, "wb") as file:
            np.savez(file, **sealed)
    except OSError as error:
        _LOG.info("%s could not be written: %s", path, error)


def _load(path: Path, key: str) -> dict[str, Any] | None:
    """Reads what `_save` wrote; None if there is nothing that can be read.

    A file that was measured for something else counts as damaged, and so does one with
    other bits than were written: zip's own checks leave some of them out.
    """
    try:
        if (arrays := read_arrays(path)) is None:
            return None
        seal = str(arrays.pop(_SEAL))
        if seal != _hash_arrays(arrays, key):
            raise ValueError("it holds other numbers than were written for this run")
    except (*DAMAGE, MemoryError) as error:
        _LOG.warning("%s is damaged (%s): it is measured again", path, error)
        return None
    return unflatten_dict(arrays, sep="/")
