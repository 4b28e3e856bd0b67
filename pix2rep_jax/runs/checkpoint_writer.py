"""Checkpoints of a run: the newest two and the best one, written by Orbax."""

import errno
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.checkpoint_reader import (
    STATE,
    describe_arrays,
    first_line,
    has_readable_score,
    is_damaged,
    open_manager,
    whole_steps,
)
from pix2rep_jax.training.state import TrainState

__all__ = ["Checkpoints"]

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
        self._manager = open_manager(self._folder, best_metric)

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
        args = ocp.args.Composite(**{STATE: ocp.args.StandardSave(state)})
        metrics = dict(metrics) if metrics else None
        self._guarded(lambda: self._manager.save(step, args=args, metrics=metrics))

    def restore_latest(self, like: TrainState) -> TrainState | None:
        """Restores the newest state, or None where there is none.

        One whose files are damaged is set aside with a notice, and the one before it
        is taken.

        Args:
            like: A state of the same shapes on the devices that it shall lie on.

        Raises:
            InputError: If the newest one is of another network or cannot be read for
                another reason than its files, or if all are damaged.
        """
        return self._restore_first(like, self._manager.latest_step)

    def restore_best(self, like: TrainState) -> TrainState:
        """Restores the state with the best metric, or the newest if none has one.

        Where the files of the best one are damaged it is the best of the others, with
        a notice.

        Args:
            like: As for `restore_latest`.

        Raises:
            InputError: As `restore_latest` does, and if there is no checkpoint.
        """

        def best() -> int | None:
            step = self._manager.best_step()
            return self._manager.latest_step() if step is None else step

        state = self._restore_first(like, best)
        if state is None:
            raise InputError(f"there is no checkpoint in {self._folder}")
        return state

    def _restore_first(
        self, like: TrainState, choose: Callable[[], int | None]
    ) -> TrainState | None:
        """Restores the first whole one of those that are chosen, one after another."""
        self._guarded(self._manager.wait_until_finished)
        damaged = False
        while (step := choose()) is not None:
            path = self._folder / str(step)
            try:
                if _shapes(describe_arrays(path / STATE)["params"]) == _shapes(
                    like.params
                ):
                    return self._restore(step, like)
            except Exception as error:  # Orbax raises what its layers below raise
                if not is_damaged(path / STATE, error):
                    raise InputError(
                        f"the checkpoint in {path} cannot be restored "
                        f"({first_line(error)}), and no damage to it was found: make "
                        "room on the device or the machine and start the same command "
                        "again, or, if another version of this program wrote it, name "
                        "another --workdir"
                    ) from error
                _set_aside(path, "cannot be read")
                self._manager.reload()
                damaged = True
                continue
            raise InputError(
                f"the checkpoint in {path} is of a network of another shape: name "
                "another --workdir"
            )
        if damaged:
            raise InputError(
                f"none of the checkpoints in {self._folder} could be read: bring them "
                "back from a copy, or start the same command again, which then begins "
                "at the first step"
            )
        return None

    def _restore(self, step: int, like: TrainState) -> TrainState:
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        args = ocp.args.Composite(**{STATE: ocp.args.StandardRestore(target)})
        return self._manager.restore(step, args=args)[STATE]

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


def _shapes(tree) -> dict[str, tuple[int, ...]]:
    """Shape of every leaf by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): tuple(leaf.shape) for path, leaf in leaves}


def _set_broken_aside(folder: Path) -> None:
    """Renames numbered folders that Orbax would take for steps and stumble over."""
    if jax.process_index() != 0:
        return
    whole = whole_steps(folder)
    for path in sorted(folder.iterdir()):
        if path.name.isdigit() and int(path.name) not in whole:
            _rename(path, "holds no checkpoint")
        elif path.name.isdigit() and not has_readable_score(path):
            _rename(path, "has a score that cannot be read")


def _set_aside(path: Path, reason: str) -> None:
    """Renames a folder, so that it counts no more but is not lost; once for all."""
    if jax.process_index() == 0:
        _rename(path, reason)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"set aside {path.name}")


def _rename(path: Path, reason: str) -> None:
    """Gives a broken checkpoint a name that says so."""
    target = path.with_name(f"broken-{path.name}")
    while target.exists():
        target = target.with_name(f"{target.name}-again")
    print(f"{path} {reason}; it is now {target.name}", file=sys.stderr)
    os.replace(path, target)


def _is_full(error: Exception) -> bool:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or any(words in str(error).lower() for words in _FULL)
