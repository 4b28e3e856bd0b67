"""Finds the checkpoints of a run, and the step that is its result."""

import contextlib
import glob
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from orbax.checkpoint.checkpoint_managers import preservation_policy

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.checkpoint_sums import METRICS, ChangedError, check_parts
from pix2rep_jax.runs.weights_file import is_weights, read_about
from pix2rep_jax.wording import count

__all__ = [
    "BEST",
    "LAST",
    "SCORE",
    "STATE",
    "LiteralPath",
    "check_steps",
    "checkpoint_folder",
    "has_checkpoint",
    "has_readable_score",
    "is_step",
    "newest_step",
    "open_manager",
    "quiet",
    "result_step",
    "unfinished",
    "whole_steps",
]

STATE = "state"
"""Name of the training state inside a checkpoint."""

LAST, BEST = "last", "best"
"""Which checkpoint of a run is its result: the newest, or that of the best `SCORE`."""

SCORE = "val_dice"
"""The metric that segmenters save with their checkpoints; pretrainings save none."""

_LocalPath: Any = type(epath.Path("/"))


class LiteralPath(_LocalPath):
    """A path for Orbax whose own characters are never taken for a pattern.

    Orbax merges its files by `folder.glob("ocdbt.process_*")`, and etils reads a `[`,
    `]`, `*` or `?` in the folder's path as part of that pattern. Then nothing matches,
    and Orbax finalises a checkpoint that cannot be read.
    """

    def glob(self, pattern: str) -> Iterator["LiteralPath"]:
        """Yields what matches a pattern below this path."""
        for match in glob.glob(os.path.join(glob.escape(os.fspath(self)), pattern)):
            yield self._new(match)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps Orbax from logging what the caller reports itself, if it matters."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


@quiet()
def result_step(run: str | Path, *, keep: str = LAST) -> int:
    """Finds the step whose parameters are a run's result.

    Args:
        run: The folder of one mode's run.
        keep: `LAST`, or `BEST` for the best validation score. Without any score that
            is the newest step too.

    Raises:
        InputError: If there is no checkpoint, or if the best one is wanted and a score
            is damaged.
    """
    newest = newest_step(run)
    if keep == LAST or is_weights(run):
        return newest
    folder = checkpoint_folder(run)
    steps = whole_steps(folder)
    for step in steps:
        if not has_readable_score(path := folder / str(step)):
            raise InputError(
                f"the score in {path / 'metrics'} is damaged, so it is unknown "
                f"which checkpoint is the best: start the run in {run} again with its "
                "own command, which sets that checkpoint aside, or delete the folder"
            )
    with open_manager(folder, SCORE, read_only=True) as manager:
        best = manager.best_step()
    return best if best in steps else newest


def has_checkpoint(run: str | Path) -> bool:
    """Tells whether a run has saved a checkpoint."""
    return checkpoint_folder(run).is_dir() and bool(whole_steps(checkpoint_folder(run)))


def newest_step(run: str | Path) -> int:
    """Finds the step of a run's newest checkpoint, or of a file of weights.

    Raises:
        InputError: If there is no checkpoint.
    """
    if is_weights(run):
        return read_about(run).step
    if not has_checkpoint(run):
        raise InputError(
            f"there is no checkpoint in {checkpoint_folder(run)}: let the run in {run} "
            "get as far as its first one, or name another by --config.init.checkpoint"
        )
    return max(whole_steps(checkpoint_folder(run)))


def unfinished(run: str | Path, num_steps: int) -> str:
    """Says how far an unfinished run has come.

    Args:
        run: The folder of one mode's run.
        num_steps: Steps of the whole run, as its record says.

    Returns:
        A sentence, or "" if the run has finished.

    Raises:
        InputError: As `check_steps`, or if there is no checkpoint.
    """
    check_steps(run, num_steps)
    if (newest := newest_step(run)) == num_steps:
        return ""
    return (
        f"note: the run in {run} stands at step {newest} of {num_steps}; start its own "
        "command again to finish it"
    )


def check_steps(run: str | Path, num_steps: int) -> None:
    """Checks that a run has no checkpoint of a later step than its last.

    It would be another run's, as where one folder was copied over another.

    Raises:
        InputError: If it has one.
    """
    if has_checkpoint(run) and (newest := newest_step(run)) > num_steps:
        raise InputError(
            f"the run in {run} has {count(num_steps, 'step')}, and a checkpoint of "
            f"step {newest} lies there, so its files are those of two runs: copy the "
            "run again into an empty folder"
        )


def open_manager(
    folder: Path, best_metric: str | None, *, read_only: bool = False
) -> ocp.CheckpointManager:
    """Opens Orbax's manager on a folder, keeping the newest two and the best one."""
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
        preservation_policy=policy,
        best_fn=score,
        read_only=read_only,
        # An error in one of Orbax's threads would be raised too late, or never.
        enable_async_checkpointing=False,
    )
    return ocp.CheckpointManager(LiteralPath(folder), options=options)


def whole_steps(folder: Path) -> list[int]:
    """Lists the steps that have a state, in ascending order."""
    return sorted(
        int(path.name)
        for path in folder.iterdir()
        if is_step(path.name) and (path / STATE).is_dir()
    )


def is_step(name: str) -> bool:
    """Tells whether a folder has the name of a step, as Orbax writes it."""
    return name.isascii() and name.isdigit() and name == str(int(name))


def has_readable_score(path: Path) -> bool:
    """Tells whether a checkpoint has no score, or the one that was saved."""
    try:
        text = (path / "metrics" / "metrics").read_text(encoding="utf-8")
        check_parts(path, {METRICS: json.loads(text)})
    except FileNotFoundError:
        return True
    except (ValueError, ChangedError):
        return False
    return True


def checkpoint_folder(run: str | Path) -> Path:
    """Returns the folder of a run's checkpoints as the absolute path Orbax needs."""
    return Path(run).expanduser().resolve() / "checkpoints"
