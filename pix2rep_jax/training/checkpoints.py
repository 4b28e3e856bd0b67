"""Checkpoints of a run: the newest two and the best one, written by Orbax."""

import contextlib
import errno
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint.checkpoint_managers import preservation_policy

from pix2rep_jax.errors import InputError
from pix2rep_jax.training.state import TrainState

__all__ = ["Checkpoints", "restore_params"]

_NAME = "state"
_FULL = ("no space left", "disk quota exceeded", "resource_exhausted")


class Checkpoints:
    """Saves and restores the state of a run; a context that waits for its writes.

    Checkpoints are written in the background, each under a temporary name until it
    is whole, so a run that is killed loses no earlier one.
    """

    def __init__(self, folder: Path, *, best_metric: str | None = None) -> None:
        """Opens a folder of checkpoints, making it if needed.

        Args:
            folder: Where they lie, one folder a step.
            best_metric: Of the metrics given to `save`, the one whose largest value
                marks the checkpoint that is kept however old it gets.

        Raises:
            InputError: If the folder cannot be written.
        """
        self._folder = Path(folder).resolve()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _set_broken_aside(self._folder)
        except OSError as error:
            raise self._complaint(error) from error
        self._manager = _open(self._folder, best_metric)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._guarded(self._manager.wait_until_finished)
        finally:
            self._manager.close()

    def save(
        self, state: TrainState, *, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Saves a state in the background, unless its step is saved already.

        Args:
            state: Safe to donate afterwards.
            metrics: Those of a state that may become the best one.

        Raises:
            InputError: If the disk is full; what was saved before stays.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        args = ocp.args.Composite(**{_NAME: ocp.args.StandardSave(state)})
        metrics = dict(metrics) if metrics else None
        self._guarded(lambda: self._manager.save(step, args=args, metrics=metrics))

    def restore_latest(self, like: TrainState) -> TrainState | None:
        """Restores the newest state, or None where there is none.

        One that cannot be read is set aside with a notice, and the one before it is
        taken.

        Args:
            like: A state of the same shapes on the devices that it shall lie on.

        Raises:
            InputError: If the newest one is of another network.
        """
        self._guarded(self._manager.wait_until_finished)
        for step in sorted(self._manager.all_steps(), reverse=True):
            path = self._folder / str(step)
            try:
                if _shapes(_stored(path / _NAME)["params"]) == _shapes(like.params):
                    return self._restore(step, like)
            except Exception:  # Orbax raises what its layers below raise
                _set_aside(path, "cannot be read")
                self._manager.reload()
                continue
            raise InputError(
                f"the checkpoint in {path} is of a network of another shape: name "
                "another --workdir"
            )
        return None

    def restore_best(self, like: TrainState) -> TrainState:
        """Restores the state with the best metric, or the newest if none has one."""
        self._guarded(self._manager.wait_until_finished)
        step = self._manager.best_step()
        return self._restore(
            self._manager.latest_step() if step is None else step, like
        )

    def _restore(self, step: int, like: TrainState) -> TrainState:
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        args = ocp.args.Composite(**{_NAME: ocp.args.StandardRestore(target)})
        return self._manager.restore(step, args=args)[_NAME]

    def _guarded(self, action) -> None:
        """Runs what may find the disk full, and says so in one sentence."""
        try:
            action()
        except Exception as error:
            if _is_full(error):
                raise self._complaint(error) from error
            raise

    def _complaint(self, error: Exception) -> InputError:
        reason = "the disk is full" if _is_full(error) else str(error)
        return InputError(
            f"no checkpoint can be written to {self._folder} ({reason}): make room and "
            "start the same command again; it goes on from the last whole checkpoint"
        )


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
    folder = Path(run).expanduser().resolve() / "checkpoints"
    steps = _whole_steps(folder) if folder.is_dir() else []
    if not steps:
        raise InputError(
            f"there is no checkpoint in {folder}: let the run in {run} get as far as "
            "its first one, or name another by --config.init.checkpoint"
        )
    with _open(folder, best_metric, read_only=True) as manager:
        step = manager.best_step()
    path = folder / str(max(steps) if step not in steps else step) / _NAME
    try:
        stored = _stored(path)
        wanted = {name: stored[name] for name in ("params", "batch_stats")}
        with ocp.PyTreeCheckpointer() as checkpointer:
            tree = checkpointer.restore(
                path,
                args=ocp.args.PyTreeRestore(
                    item=wanted,
                    restore_args=jax.tree.map(
                        lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted
                    ),
                    partial_restore=True,
                ),
            )
    except Exception as error:
        raise InputError(
            f"the checkpoint in {path} cannot be read ({_first_line(error)}): delete "
            f"that folder and start the run in {run} again, or name another run"
        ) from error
    return tree["params"], tree["batch_stats"]


def _open(
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


def _whole_steps(folder: Path) -> list[int]:
    """Steps of the checkpoints whose state is there."""
    return sorted(
        int(path.name)
        for path in folder.iterdir()
        if path.name.isdigit() and (path / _NAME).is_dir()
    )


def _stored(path: Path) -> dict:
    """Describes the arrays of a checkpoint, as a tree, without reading them."""
    with ocp.PyTreeCheckpointer() as checkpointer:
        return checkpointer.metadata(path).item_metadata.tree


def _shapes(tree) -> dict[str, tuple[int, ...]]:
    """Shape of every leaf by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): tuple(leaf.shape) for path, leaf in leaves}


def _set_broken_aside(folder: Path) -> None:
    """Renames numbered folders that hold no state: Orbax takes them for steps."""
    if jax.process_index() != 0:
        return
    whole = _whole_steps(folder)
    for path in sorted(folder.iterdir()):
        if path.name.isdigit() and int(path.name) not in whole:
            _set_aside(path, "holds no checkpoint")


def _set_aside(path: Path, reason: str) -> None:
    """Renames a folder, so that it counts no more but is not lost."""
    target = path.with_name(f"broken-{path.name}")
    while target.exists():
        target = target.with_name(f"{target.name}-again")
    print(f"{path} {reason}; it is now {target.name}", file=sys.stderr)
    os.replace(path, target)


def _is_full(error: Exception) -> bool:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or any(words in str(error).lower() for words in _FULL)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
