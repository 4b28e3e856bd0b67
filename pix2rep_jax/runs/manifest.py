"""A run's folder: what it was asked for, and where other modes find it."""

import json
import os
import platform
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax
import jax
from ml_collections import ConfigDict

import pix2rep_jax
from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.atomic_file import read_object, write_whole
from pix2rep_jax.runtime.config_checks import effective

__all__ = [
    "check_place",
    "find_run",
    "make_folder",
    "open_run",
    "read_config",
    "read_num_steps",
    "read_trained",
    "write_num_steps",
    "write_trained",
]

_CONFIG = "config.json"

_ENVIRONMENT = "environment.json"

_TRAINED = "trained.json"

_STEPS = "steps.json"

NEUTRAL = (
    "data.cache_dir",
    "data.device_budget_mb",
    "log.metrics_every",
    "log.checkpoint_every",
    "log.checkpoint_minutes",
    "variant",
)
"""Settings that may differ when a run goes on: they do not change its numbers."""


def open_run(
    workdir: Path,
    mode: str,
    config: ConfigDict,
    *,
    sections: Sequence[str],
    neutral: Sequence[str] = (),
    command: Sequence[str] = (),
) -> Path:
    """Makes the folder of a run, or finds the one that is to go on.

    Writes config.json, and environment.json with the command and the versions.

    Args:
        workdir: The run's folder.
        mode: Name of its part.
        config: The whole configuration.
        sections: Its parts that this mode depends on: if they differ from those of
            the run that is there, it cannot go on.
        neutral: Further settings that may differ, such as "data.draw".
        command: The words of the command line; none from Python.

    Returns:
        `<workdir>/<mode>`.

    Raises:
        InputError: If the folder cannot be written, or holds a run with another
            configuration; names the fields that differ.
    """
    path = Path(workdir) / mode
    ours = json.loads(config.to_json_best_effort())
    if (path / _CONFIG).exists():
        theirs = read_config(path)
        changes = list(_changes(theirs, ours, sections, {*NEUTRAL, *neutral}))
        if changes:
            raise InputError(
                f"{path} holds a run with another configuration ("
                + "; ".join(changes)
                + "): name another --workdir (and --config.init.checkpoint="
                f"{workdir} to start from its pretraining), or use its settings again"
            )
        return path
    make_folder(path)
    if jax.process_index() == 0:
        _write(path / _ENVIRONMENT, _environment(command))
        _write(path / _CONFIG, ours)
    return path


def check_place(workdir: Path) -> None:
    """Checks, before any work, that a run's folder could be made and written.

    Raises:
        InputError: If not, as far as can be told without writing.
    """
    path = Path(workdir)
    there = next(each for each in (path, *path.parents) if os.path.exists(each))
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        reason = "cannot be written" if there.is_dir() else "is no folder"
        raise InputError(
            f"a run cannot be kept in {path}, as {there} {reason}: name another "
            "--workdir"
        )


def make_folder(path: Path) -> None:
    """Makes a folder of a run, with those that it lies in, unless it is there.

    Raises:
        InputError: If it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder {path} cannot be made ({error.strerror}): free some space or "
            "name another --workdir"
        ) from error


def find_run(path: str | Path, mode: str) -> Path:
    """Finds a mode's run in a workdir.

    Args:
        path: A workdir, or the folder of the mode in it.
        mode: Such as "pretrain".

    Raises:
        InputError: If there is none.
    """
    path = Path(path).expanduser().resolve()
    for folder in (path / mode, path):
        if (folder / _CONFIG).is_file() and folder.name == mode:
            return folder
    raise InputError(
        f"there is no {mode} run in {path}: run --mode {mode} there first, or name a "
        "run by --config.init.checkpoint=FOLDER (none starts from random weights)"
    )


def read_config(run: str | Path) -> dict[str, Any]:
    """Reads the configuration that a run was started with, as JSON holds it.

    Raises:
        InputError: If there is none, or it is damaged.
    """
    path = Path(run) / _CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not (config and isinstance(config, dict)):
            raise ValueError("it holds no settings")
        return config
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): without its configuration the run in "
            f"{run} is lost; delete that folder or name another"
        ) from error


def write_num_steps(run: str | Path, num_steps: int) -> None:
    """Records how many steps a run is to have."""
    if jax.process_index() == 0:
        _write(Path(run) / _STEPS, {"num_steps": num_steps})


def read_num_steps(run: str | Path) -> int | None:
    """Reads what `write_num_steps` recorded; None where there is no such record."""
    try:
        return int(read_object(Path(run) / _STEPS)["num_steps"])
    except (ValueError, TypeError, KeyError):
        return None


def write_trained(run: str | Path, names: Sequence[str]) -> None:
    """Records the dotted names of the parts of the network that a run has trained."""
    if jax.process_index() == 0:
        _write(Path(run) / _TRAINED, list(names))


def read_trained(run: str | Path) -> tuple[str, ...]:
    """Reads what `write_trained` recorded.

    Args:
        run: The folder of a pretraining run. One without a record is older than it,
            and has trained the whole backbone.

    Raises:
        InputError: If the record is damaged.
    """
    path = Path(run) / _TRAINED
    try:
        return tuple(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return ("backbone",)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): start the run in {run} again with its "
            "own command, which writes it anew, or name another run"
        ) from error


def _changes(
    theirs: Mapping, ours: Mapping, sections: Sequence[str], neutral: set[str]
) -> Iterator[str]:
    """Yields "name: old -> new" for each setting that differs and matters."""
    old, new = effective(theirs), effective(ours)
    for name in sorted({*old, *new}):
        matters = name.split(".")[0] in sections and name not in neutral
        if matters and old.get(name) != new.get(name):
            yield f"{name}: {old.get(name)} -> {new.get(name)}"


def _environment(command: Sequence[str]) -> dict[str, str]:
    """What a reader needs to repeat the run, besides its configuration."""
    device = jax.devices()[0]
    return {
        "command": shlex.join(command),
        "pix2rep_jax": pix2rep_jax.__version__,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "flax": flax.__version__,
        "platform": platform.platform(),
        "devices": f"{jax.device_count()} x {device.device_kind}",
    }


def _write(path: Path, content: Any) -> None:
    """Writes JSON for people to read."""
    write_whole(path, json.dumps(content, indent=2, sort_keys=True) + "\n")
