"""Checkpoints of a run: the newest two and the best one, written by Orbax."""

import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.checkpoint_reader import describe_arrays, first_line, is_damaged
from pix2rep_jax.runs.checkpoint_steps import (
    STATE,
    has_readable_score,
    is_step,
    open_manager,
    quiet,
    whole_steps,
)
from pix2rep_jax.runs.checkpoint_sums import METRICS, SUMS, check_parts, sum_part
from pix2rep_jax.runs.silent_tasks import silent_tasks
from pix2rep_jax.training.state import TrainState

__all__ = ["Checkpoints"]

_LOG = logging.getLogger(__name__)

_FULL = (errno.ENOSPC, errno.EDQUOT)
_TEMPORARY = ".orbax-checkpoint-tmp"


class Checkpoints:
    """Saves and restores the state of a run.

    A checkpoint has a temporary name until it is whole, so a run that is killed or
    finds the disk full keeps every earlier one. `save` returns when the checkpoint is
    on the disk: an error is raised where it can be handled, not in a thread.
    """

    def __init__(self, folder: Path, *, best_metric: str | None = None) -> None:
        """Opens a folder of checkpoints and makes it if needed.

        Args:
            folder: Holds one folder per step. Its path may hold any character.
            best_metric: The metric given to `save` whose largest value marks the best
                checkpoint. That one is kept however old it gets.

        Raises:
            InputError: If the folder cannot be written.
        """
        self._folder = Path(folder).resolve()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _tidy(self._folder)
        except OSError as error:
            raise _cannot_write(self._folder, error.strerror or str(error)) from error
        self._manager = open_manager(self._folder, best_metric)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        self._manager.close()

    def save(
        self, state: TrainState, *, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Saves a state, unless its step is saved already.

        Args:
            state: Stays valid; it may be donated afterwards.
            metrics: Scores of a state that may become the best one.

        Raises:
            InputError: If the checkpoint cannot be written. Earlier ones stay.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        metrics = dict(metrics) if metrics else None
        parts = _parts(state) | {METRICS: metrics}
        sums = {name: sum_part(part) for name, part in parts.items()}
        args = ocp.args.Composite(
            **{STATE: ocp.args.StandardSave(state), SUMS: ocp.args.JsonSave(sums)}
        )
        fault = ""
        try:
            with quiet(), silent_tasks():
                _reserve(self._folder, _expected_bytes(state))
                self._manager.save(step, args=args, metrics=metrics)
        except (OSError, RuntimeError, ValueError) as error:
            full = isinstance(error, OSError) and error.errno in _FULL
            fault = "the disk is full" if full else first_line(error)
        if fault:
            if jax.process_count() == 1:
                shutil.rmtree(self._folder / f"{step}{_TEMPORARY}", ignore_errors=True)
            raise _cannot_write(self._folder, fault)

    def restore_latest(self, like: TrainState) -> TrainState | None:
        """Restores the newest state, or returns None if there is no checkpoint.

        A damaged checkpoint is set aside with a notice, and the one before is taken.

        Args:
            like: A state of the same shapes, on the devices for the result.

        Raises:
            InputError: If the newest checkpoint is of another network, if it is whole
                but cannot be restored now, or if all checkpoints are damaged.
        """
        return self._restore_first(like, self._manager.latest_step)

    def restore_best(self, like: TrainState) -> TrainState:
        """Restores the state with the best metric, or the newest if none has one.

        If the best checkpoint is damaged, it is set aside and the next best is taken.

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
        """Restores the first whole checkpoint among those chosen one after another."""
        damaged = False
        while (step := choose()) is not None:
            path = self._folder / str(step)
            try:
                stored = describe_arrays(path / STATE)
                if _shapes(stored["params"]) == _shapes(like.params):
                    return self._restore(step, like, stored["opt_state"])
            except Exception as error:  # Orbax raises what its layers below raise
                if not is_damaged(path / STATE, error):
                    raise InputError(
                        f"the checkpoint in {path} is whole but cannot be restored now "
                        f"({first_line(error)}): make room in memory or on the device "
                        "and start the same command again; if another version of this "
                        "program wrote it, name another --workdir"
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
                "back from a copy, or start the same command again to begin at the "
                "first step"
            )
        return None

    def _restore(self, step: int, like: TrainState, stored: Any) -> TrainState:
        """Restores a step; `stored` describes the arrays of its optimiser."""
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        earlier = len(jax.tree.leaves(stored)) > len(jax.tree.leaves(like.opt_state))
        if earlier:
            target = target.replace(opt_state=_at_place(stored, like.step))
        args = ocp.args.Composite(**{STATE: ocp.args.StandardRestore(target)})
        with silent_tasks():
            restored = self._manager.restore(step, args=args)[STATE]
        check_parts(self._folder / str(step), _parts(restored))
        if earlier:
            joined = _join(restored.opt_state, like.opt_state)
            restored = restored.replace(opt_state=joined)
        return jax.tree.map(_typed_key, restored, like)


def _parts(state: TrainState) -> dict[str, Any]:
    return {each.name: getattr(state, each.name) for each in fields(state)}


def _at_place(stored: Any, like: jax.Array) -> Any:
    """Describes arrays as they are stored, for the devices of another array."""
    return jax.tree.map(
        lambda each: jax.ShapeDtypeStruct(
            each.shape, each.dtype, sharding=like.sharding
        ),
        stored,
    )


def _join(stored: Any, like: Any) -> Any:
    """Joins Adam's moments to vectors; before, each parameter had its own array."""
    arrays = iter(jax.tree.leaves(stored))

    def take(leaf: jax.Array) -> jax.Array:
        taken = [next(arrays)]
        while sum(each.size for each in taken) < leaf.size:
            taken.append(next(arrays))
        vector = jnp.concatenate([jnp.ravel(each) for each in taken])
        return jax.device_put(vector.reshape(leaf.shape), leaf.sharding)

    return jax.tree.map(take, like)


def _typed_key(restored: jax.Array, like: jax.Array) -> jax.Array:
    """Makes a random key of its bits, if the file is lost that says that it is one."""
    if restored.dtype == like.dtype or not jax.dtypes.issubdtype(
        like.dtype, jax.dtypes.prng_key
    ):
        return restored
    return jax.random.wrap_key_data(restored, impl=jax.random.key_impl(like))


def _cannot_write(folder: Path, reason: str) -> InputError:
    return InputError(
        f"no checkpoint can be written to {folder} ({reason}): mend that, such as by "
        "freeing some space, and start the same command again; it goes on from the "
        "last checkpoint"
    )


def _expected_bytes(state: TrainState) -> int:
    """Estimates the size of a checkpoint on the disk from above.

    Orbax compresses the arrays, and describes each in a few small files.
    """
    leaves = jax.tree.leaves(state)
    arrays = sum(leaf.nbytes for leaf in leaves)
    return int(1.1 * arrays) + 4096 * len(leaves) + 2**18


def _reserve(folder: Path, num_bytes: int) -> None:
    """Checks that a folder has room, by taking it for a moment.

    Orbax's own writers meet a full disk in many threads: some of them print pages of
    tracebacks, and some never return. So they must not meet one.

    Raises:
        OSError: With ENOSPC or EDQUOT if there is less room, counting quotas.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS, Windows
        if shutil.disk_usage(folder).free < num_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, num_bytes)
        except OSError as error:
            if error.errno in _FULL:  # some file systems cannot reserve at all
                raise


def _shapes(tree) -> dict[str, tuple[int, ...]]:
    """Maps the path of every leaf to its shape."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): tuple(leaf.shape) for path, leaf in leaves}


def _tidy(folder: Path) -> None:
    """Removes what a killed run left half written, and sets broken folders aside."""
    if jax.process_index() != 0:
        return
    whole = whole_steps(folder)
    for path in sorted(folder.iterdir()):
        if path.name.endswith(_TEMPORARY):
            shutil.rmtree(path, ignore_errors=True)
        elif not path.name.isdigit():  # nothing that Orbax takes for a step
            continue
        elif not is_step(path.name) or int(path.name) not in whole:
            _rename(path, "holds no checkpoint")
        elif not has_readable_score(path):
            _rename(path, "has a damaged score")


def _set_aside(path: Path, reason: str) -> None:
    """Renames a broken checkpoint in process 0, and lets all processes wait for it."""
    if jax.process_index() == 0:
        _rename(path, reason)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"set aside {path.name}")


def _rename(path: Path, reason: str) -> None:
    """Names a broken checkpoint so that it no longer counts but is not lost."""
    target = path.with_name(f"broken-{path.name}")
    while target.exists():
        target = target.with_name(f"{target.name}-again")
    _LOG.warning("%s %s; it is now %s", path, reason, target.name)
    os.replace(path, target)
