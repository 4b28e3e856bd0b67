"""The batch at which a training diverged, kept so that its step can be replayed."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import unflatten_dict

from pix2rep_jax.runtime.atomic_file import replacing

__all__ = ["load_batch", "save_batch"]

_LOG = logging.getLogger(__name__)


def save_batch(folder: Path, step: int, batch: Any) -> Path | None:
    """Writes the arrays of a batch to `diverged-STEP.npz`, without any pickle.

    Args:
        folder: The run's folder.
        step: The step that used the batch, from 1.
        batch: Nested mappings of arrays.

    Returns:
        The file's path; None if it cannot be written, or if this process holds only a
        part of the batch. The run has another error to report then.
    """
    leaves = jax.tree_util.tree_leaves_with_path(batch)
    if jax.process_count() > 1:
        return None
    arrays: dict[str, Any] = {
        "/".join(map(_name, path)) or "batch": leaf for path, leaf in leaves
    }
    path = Path(folder) / f"diverged-{step}.npz"
    try:
        with replacing(path) as partial, open(partial, "wb") as file:
            plain: Any = {name: _plain(x) for name, x in arrays.items()}
            np.savez(file, **plain)
    except (OSError, ValueError) as error:
        _LOG.warning("the batch of step %d could not be kept: %s", step, error)
        return None
    return path


def load_batch(path: Path) -> Mapping[str, Any]:
    """Reads a batch that `save_batch` wrote.

    Raises:
        ValueError: If the file holds an object, which would run code when it is read.
    """
    with np.load(path, allow_pickle=False) as file:
        return unflatten_dict({name: file[name] for name in file.files}, sep="/")


def _name(part: Any) -> str:
    """Names one step of the way to an array: a mapping's key, or a place in a list."""
    return str(getattr(part, "key", getattr(part, "idx", part)))


def _plain(array: Any) -> np.ndarray:
    """Makes an array of a type that NumPy itself has; bfloat16 becomes float32."""
    host = np.asarray(array)
    return host.astype(np.float32) if host.dtype.kind == "V" else host
