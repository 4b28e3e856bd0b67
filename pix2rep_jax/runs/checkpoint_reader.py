"""What lies in the checkpoints of a run, for whoever comes after it."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint.checkpoint_managers import preservation_policy

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.manifest import read_num_steps
from pix2rep_jax.training.state import ModelState

__all__ = [
    "STATE",
    "describe_arrays",
    "first_line",
    "has_checkpoint",
    "has_readable_score",
    "is_damaged",
    "newest_step",
    "open_manager",
    "restore_model",
    "restore_params",
    "result_step",
    "unfinished",
    "whole_steps",
]

STATE = "state"
"""Name of a training state among what a checkpoint may hold."""

_PASSING = (
    "resource_exhausted",
    "out of memory",
    "cannot allocate",
    "too many open files",
    "permission denied",
    "input/output error",
    "stale file handle",
    "timed out",
)
"""What keeps whole files from being read for a while."""


@contextlib.contextmanager
def _quiet():
    """Keeps Orbax from warning of what is meant so, as a folder that is only read."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


@_quiet()
def restore_params(run: str | Path, *, best_metric: str = "val_dice"):
    """Restores what a run trained, for another mode or machine.

    Args:
        run: The folder of one mode's run.
        best_metric: As the run saved it; a run without metrics gives its newest.

    Returns:
        `(params, batch_stats)` as trees of numpy arrays.

    Raises:
        InputError: If there is no checkpoint, or none that can be read.
    """
    return _restore(run, ("params", "batch_stats"), best_metric=best_metric)


@_quiet()
def restore_model(
    run: str | Path, *, best_metric: str = "val_dice"
) -> tuple[Any, ModelState]:
    """Restores all that a run trained, as `restore_params` does, with its extra state.

    Returns:
        `(params, model_state)` as trees of numpy arrays.
    """
    names = ("params", "batch_stats", "extra")
    params, *rest = _restore(run, names, best_metric=best_metric)
    return params, ModelState(*rest)


def _restore(run: str | Path, names: Sequence[str], *, best_metric: str) -> tuple:
    """Restores parts of the state that is a run's result."""
    path = _folder(run) / str(result_step(run, best_metric=best_metric)) / STATE
    try:
        tree = _read(path, names)
    except Exception as error:
        mend = f"delete that folder and start the run in {run} again, or name another"
        if _is_passing(error):
            mend = "make room, or mend the disk, and try again"
        raise InputError(
            f"the checkpoint in {path} cannot be read ({first_line(error)}): {mend}"
        ) from error
    return tuple(tree[name] for name in names)


@_quiet()
def result_step(run: str | Path, *, best_metric: str = "val_dice") -> int:
    """Finds the step whose parameters are a run's result.

    Args:
        run: The folder of one mode's run.
        best_metric: As the run saved it.

    Returns:
        The best one, or the newest where none has a metric.

    Raises:
        InputError: If there is no checkpoint, or a score that cannot be read.
    """
    newest = newest_step(run)
    folder = _folder(run)
    steps = whole_steps(folder)
    for step in steps:
        if not has_readable_score(path := folder / str(step)):
            raise InputError(
                f"the score in {path / 'metrics'} cannot be read, so it is unknown "
                f"which checkpoint is the best: start the run in {run} again with its "
                "own command, which sets this one aside, or delete that folder"
            )
    with open_manager(folder, best_metric, read_only=True) as manager:
        best = manager.best_step()
    return best if best in steps else newest


def has_checkpoint(run: str | Path) -> bool:
    """Tells whether a run has come as far as a checkpoint."""
    return _folder(run).is_dir() and bool(whole_steps(_folder(run)))


def newest_step(run: str | Path) -> int:
    """Finds the step up to which a run has come.

    Raises:
        InputError: If there is no checkpoint.
    """
    if not has_checkpoint(run):
        raise InputError(
            f"there is no checkpoint in {_folder(run)}: let the run in {run} get as "
            "far as its first one, or name another by --config.init.checkpoint"
        )
    return max(whole_steps(_folder(run)))


def unfinished(run: str | Path) -> str:
    """Says how far a run has come that has not come to its end.

    Args:
        run: The folder of one mode's run.

    Returns:
        A sentence; empty where it has ended, or is older than such records.
    """
    num_steps = read_num_steps(run)
    if num_steps is None or (newest := newest_step(run)) >= num_steps:
        return ""
    return (
        f"note: the run in {run} stands at step {newest} of {num_steps}: its own "
        "command lets it come to its end"
    )


def open_manager(
    folder: Path, best_metric: str | None, *, read_only: bool = False
) -> ocp.CheckpointManager:
    """Opens Orbax's manager on a folder."""
    newest = preservation_policy.LatestN(n=2)
    score = None
    if best_metric is not None:
        score = lambda metrics: metrics[best_metric]  # noqa: E731
    policy = preservation_policy.AnyPreservationPolicy(
        [newest]
        if score is None
        else [
            newest,
            preservation_policy.BestN(
                n=1, get_metric_fn=score, keep_checkpoints_without_metrics=False
            ),
        ]
    )
    options = ocp.CheckpointManagerOptions(
        preservation_policy=policy, best_fn=score, read_only=read_only
    )
    return ocp.CheckpointManager(folder, options=options)


def whole_steps(folder: Path) -> list[int]:
    """Steps of the checkpoints whose state is there."""
    return sorted(
        int(path.name)
        for path in folder.iterdir()
        if path.name.isdigit() and (path / STATE).is_dir()
    )


def has_readable_score(path: Path) -> bool:
    """Whether the score of a checkpoint is none, or can be read."""
    try:
        json.loads((path / "metrics" / "metrics").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True


def describe_arrays(path: Path) -> dict:
    """Describes the arrays of a checkpoint, as a tree, without reading them."""
    with ocp.PyTreeCheckpointer() as checkpointer:
        return checkpointer.metadata(path).item_metadata.tree


def is_damaged(path: Path, error: Exception) -> bool:
    """Whether a checkpoint's own files are to blame for what was raised over it."""
    if isinstance(error, json.JSONDecodeError):  # Orbax's notes beside the arrays
        return True
    try:
        _read(path, tuple(describe_arrays(path)))
    except Exception as fault:
        return not _is_passing(fault)
    return False


def first_line(error: Exception) -> str:
    """What an error says, in a line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _folder(run: str | Path) -> Path:
    """Where a run's checkpoints lie; Orbax wants whole paths."""
    return Path(run).expanduser().resolve() / "checkpoints"


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
    with ocp.PyTreeCheckpointer() as checkpointer:
        return checkpointer.restore(path, args=args)


def _is_passing(error: Exception) -> bool:
    """Whether an error says something of the machine rather than of a file."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(words in said for words in _PASSING)
