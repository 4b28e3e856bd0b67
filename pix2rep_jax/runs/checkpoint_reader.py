"""Reads the checkpoints of a run, for other modes and other machines."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.checkpoint_steps import (
    LAST,
    STATE,
    LiteralPath,
    checkpoint_folder,
    quiet,
    result_step,
)
from pix2rep_jax.runs.checkpoint_sums import check_parts
from pix2rep_jax.runs.silent_tasks import silent_tasks
from pix2rep_jax.runs.weights_file import is_weights, read_weights
from pix2rep_jax.training.state import ModelState

__all__ = [
    "describe_arrays",
    "first_line",
    "is_damaged",
    "restore_model",
    "restore_params",
]


@quiet()
def restore_params(run: str | Path, *, keep: str = LAST):
    """Restores what a run trained, for another mode or machine.

    Args:
        run: The folder of one mode's run.
        keep: As for `result_step`.

    Returns:
        `(params, batch_stats)` as trees of numpy arrays.

    Raises:
        InputError: If there is no checkpoint, or it cannot be read.
    """
    return _restore(run, ("params", "batch_stats"), keep=keep)


@quiet()
def restore_model(run: str | Path, *, keep: str) -> tuple[Any, ModelState]:
    """Restores all that a run trained: `restore_params` and its extra state.

    Returns:
        `(params, model_state)` as trees of numpy arrays.
    """
    names = ("params", "batch_stats", "extra")
    params, *rest = _restore(run, names, keep=keep)
    return params, ModelState(*rest)


def _restore(run: str | Path, names: Sequence[str], *, keep: str) -> tuple:
    """Restores parts of the state that is a run's result."""
    if is_weights(run):
        params, batch_stats = read_weights(run)
        tree = {"params": params, "batch_stats": batch_stats, "extra": {}}
        return tuple(tree[name] for name in names)
    path = checkpoint_folder(run) / str(result_step(run, keep=keep)) / STATE
    try:
        tree = _read(path, names)
    except Exception as error:
        mend = "the files are whole or cannot be reached, so mend that and try again"
        if is_damaged(path, error):
            mend = f"delete it and start the run in {run} again, or name another run"
        raise InputError(
            f"the checkpoint in {path} cannot be read ({first_line(error)}): {mend}"
        ) from error
    return tuple(tree[name] for name in names)


def describe_arrays(path: Path) -> dict:
    """Describes the arrays of a checkpoint as a tree, without reading them."""
    with silent_tasks(), ocp.PyTreeCheckpointer() as checkpointer:
        return checkpointer.metadata(LiteralPath(path)).item_metadata.tree


def is_damaged(path: Path, error: Exception) -> bool:
    """Tells damage of a checkpoint from a cause that may pass.

    Missing permission, too few open files, an I/O error and too little memory are
    causes that may pass: files that cannot be opened may well be whole.

    Args:
        path: The folder of the checkpoint's state.
        error: What was raised over the checkpoint.

    Returns:
        Whether every file can be opened and read, and yet the arrays cannot.
    """
    if isinstance(error, json.JSONDecodeError):  # in Orbax's notes beside the state
        return True
    try:
        _read_files(path)
    except (OSError, MemoryError):
        return False
    try:
        _read(path, tuple(describe_arrays(path)))
    except FileNotFoundError:
        return True
    except (OSError, MemoryError):
        return False
    except Exception:  # Orbax raises what its layers below raise
        return True
    return False


def first_line(error: Exception) -> str:
    """Returns the first line of an error's text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _read(path: Path, names: Sequence[str]) -> dict:
    """Reads parts of a checkpoint as numpy arrays, on this machine alone."""
    stored = describe_arrays(path)
    wanted = {name: stored[name] for name in names}
    args = ocp.args.PyTreeRestore(
        item=wanted,
        restore_args=jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted
        ),
        partial_restore=True,
    )
    with silent_tasks(), ocp.PyTreeCheckpointer() as checkpointer:
        found = checkpointer.restore(LiteralPath(path), args=args)
    check_parts(path.parent, {name: found[name] for name in names})
    return found


def _read_files(folder: Path) -> None:
    """Reads every file of a folder to its end.

    Raises:
        OSError: If a folder or a file cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    for parent, _, names in os.walk(folder, onerror=fail):
        for name in names:
            with open(os.path.join(parent, name), "rb") as file:
                while file.read(2**20):
                    pass
