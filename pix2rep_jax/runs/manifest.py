"""A run's folder: config.json and run.json, written and compared here alone."""

import json
import os
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax
import jax
from ml_collections import ConfigDict

import pix2rep_jax
from pix2rep_jax.data.splits import Split
from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.data_checks import check_same_split
from pix2rep_jax.runs.dependencies import changed_settings, missing_settings
from pix2rep_jax.runs.environment import numeric_environment
from pix2rep_jax.runtime.atomic_file import write_whole

__all__ = [
    "VERSION",
    "Origin",
    "RunRecord",
    "check_place",
    "describe_environment",
    "find_run",
    "make_folder",
    "make_record",
    "open_run",
    "read_config",
    "read_num_steps",
    "read_run",
]

VERSION = 2
"""Raise it when run.json or the checkpoints hold something else than before."""

_CONFIG = "config.json"
_RUN = "run.json"


class Origin(NamedTuple):
    """The pretrained network that a run started from.

    Attributes:
        run: The folder of the pretraining run.
        step: The step of the checkpoint that was read.
        digest: A hash of every parameter and statistic that was taken.
    """

    run: str
    step: int
    digest: str


class RunRecord(NamedTuple):
    """What run.json holds, besides its version.

    Attributes:
        num_steps: Steps of the whole run.
        trained: Dotted names of the parts of the network that are trained at its end.
        origin: The network that it started from; None for random weights.
        split: Who trains, validates and tests, with the digests of the scans.
        environment: Versions and devices at the first start.
        command: The command line of the first start; "" where there was none.
    """

    num_steps: int
    trained: tuple[str, ...]
    origin: Origin | None
    split: Split
    environment: Mapping[str, Any]
    command: str = ""


def open_run(
    folder: Path, config: ConfigDict, record: RunRecord, *, begun: bool
) -> RunRecord:
    """Makes a run's folder, or checks that the run that is there is this one.

    The name of the folder is the mode: "pretrain", "probe" or "finetune".

    Args:
        folder: `<workdir>/<mode>`.
        config: The whole configuration.
        record: What would be written for a new run.
        begun: Whether the run has a checkpoint. Until then it may start from another
            network than at its first start.

    Returns:
        The record of the run that goes on: `origin`, `environment` and `command` are
        those of the first start.

    Raises:
        InputError: If the folder cannot be written, or if it holds another run: other
            settings, patients, scans or another network to start from.
    """
    settings = json.loads(config.to_json_best_effort())
    if (folder / _CONFIG).exists():
        before = read_run(folder)
        if changes := changed_settings(read_config(folder), settings, folder.name):
            raise InputError(
                f"{folder} holds a run with another configuration ("
                + "; ".join(changes)
                + "): name another --workdir (and --config.init.checkpoint="
                f"{folder.parent} to start from its pretraining), or use its settings "
                "again"
            )
        check_same_split(before.split, record.split, folder)
        check_same_origin(before.origin, record.origin, folder, begun=begun)
        record = record._replace(
            origin=before.origin if begun else record.origin,
            environment=before.environment,
            command=before.command,
        )
        if _to_dict(record) != _to_dict(before):  # such as a mask that came since
            _write(folder / _RUN, _to_dict(record))
        return record
    make_folder(folder)
    # config.json comes last: without it the folder holds no run.
    _write(folder / _RUN, _to_dict(record))
    _write(folder / _CONFIG, settings)
    return record


def check_same_origin(
    before: Origin | None, now: Origin | None, folder: Path, *, begun: bool
) -> None:
    """Checks that a run goes on from the network that it started from.

    The pretraining may have gone on since, or may have been run anew. Where it lies
    does not matter.

    Args:
        before: What the run in the folder started from.
        now: What it would start from.
        folder: The run's folder.
        begun: As for `open_run`.

    Raises:
        InputError: If it would start from other values, or from random weights, or no
            longer from them.
    """
    if (before is None) != (now is None):
        old, new = (x.run if x else "random weights" for x in (before, now))
        raise InputError(
            f"the run in {folder} started from {old}, but init.checkpoint now says "
            f"{new}: use the same --config.init.checkpoint again, or name another "
            "--workdir"
        )
    if begun and before is not None and now is not None and before.digest != now.digest:
        raise InputError(
            f"the run in {folder} started from the network of {before.run} at step "
            f"{before.step}, but the network of {now.run} at step {now.step} has other "
            "values: to start from it, name another --workdir and --config.init."
            f"checkpoint={Path(now.run).parent}, or delete {folder}"
        )


def check_place(workdir: Path) -> None:
    """Checks, before any work, that a run's folder could be made and written.

    Raises:
        InputError: If not, as far as that can be told without writing.
    """
    path = Path(workdir)
    there = next(place for place in (path, *path.parents) if os.path.exists(place))
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        reason = "cannot be written" if there.is_dir() else "is not a folder"
        raise InputError(
            f"a run cannot be kept in {path}, because {there} {reason}: name another "
            "--workdir"
        )


def make_folder(path: Path, *, option: str = "--workdir") -> None:
    """Makes a folder and its parents, unless they are there.

    Args:
        path: The folder.
        option: The option of the command line that names another one.

    Raises:
        InputError: If it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder {path} cannot be made ({error.strerror}): free some space or "
            f"name another {option}"
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
        InputError: If there is none, if it is damaged, or if another version of this
            program wrote the run, whose settings may mean something else.
    """
    _read_content(Path(run))
    path = Path(run) / _CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if missing := missing_settings(config):
            raise ValueError(f"it has no {missing[0]}")
        return config
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): without its configuration the run in "
            f"{run} is lost; delete that folder or name another"
        ) from error


def read_run(run: str | Path) -> RunRecord:
    """Reads run.json.

    Args:
        run: The folder of one mode's run.

    Raises:
        InputError: If it is damaged, or if another version of this program wrote the
            run.
    """
    content = _read_content(Path(run))
    try:
        return _from_dict(content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(Path(run) / _RUN, error) from error


def read_num_steps(run: str | Path) -> int:
    """Reads how many steps a run is to have.

    Raises:
        InputError: As `read_run`.
    """
    return read_run(run).num_steps


def describe_environment() -> dict[str, Any]:
    """Describes what a reader needs to repeat a run, besides its configuration.

    Returns:
        Versions and the platform; and under "numerics" what the last digits depend on.
    """
    return {
        "pix2rep_jax": pix2rep_jax.__version__,
        "python": platform.python_version(),
        "flax": flax.__version__,
        "platform": platform.platform(),
        "numerics": numeric_environment(),
    }


def make_record(
    *,
    num_steps: int,
    trained: Sequence[str],
    origin: Origin | None,
    split: Split,
    command: Sequence[str] = (),
) -> RunRecord:
    """Makes the record of a run that starts here and now.

    Args:
        num_steps: As in `RunRecord`, like the next three.
        trained: Parts of the network.
        origin: The network to start from.
        split: Who trains, validates and tests.
        command: The words of the command line.
    """
    return RunRecord(
        num_steps=num_steps,
        trained=tuple(trained),
        origin=origin,
        split=split,
        environment=describe_environment(),
        command=shlex.join(command),
    )


def _read_content(run: Path) -> dict[str, Any]:
    """Reads what run.json holds, if this version of the program wrote it.

    Raises:
        InputError: If not.
    """
    path = run / _RUN
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["version"]
    except FileNotFoundError as error:
        raise InputError(
            f"the run in {run} has no run.json, so an earlier version of this program "
            "wrote it: start anew in another --workdir, or use the version that wrote "
            "it"
        ) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(path, error) from error
    if version != VERSION:
        raise InputError(
            f"{path} has version {version!r} and this program writes version "
            f"{VERSION}: start anew in another --workdir, or use the version that "
            "wrote it"
        )
    return content


def _damaged(path: Path, error: Exception) -> InputError:
    if isinstance(error, KeyError):
        error = ValueError(f"{error} is missing")
    reason = error if isinstance(error, OSError) else f"it is damaged: {error}"
    return InputError(
        f"{path} cannot be read ({reason}), so nobody knows how the run in "
        f"{path.parent} began: bring the file back from a copy, or name another "
        "--workdir"
    )


def _to_dict(record: RunRecord) -> dict[str, Any]:
    """The content of run.json."""
    return {
        "version": VERSION,
        "command": record.command,
        "environment": dict(record.environment),
        "num_steps": record.num_steps,
        "trained": list(record.trained),
        "origin": record.origin and record.origin._asdict(),
        "split": record.split.to_dict(),
    }


def _from_dict(content: Mapping[str, Any]) -> RunRecord:
    """Reads the content of run.json.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: If it is not a run's.
    """
    origin = content["origin"]
    if origin is not None:
        step = _whole(origin["step"])
        origin = Origin(str(origin["run"]), step, str(origin["digest"]))
    if not isinstance(content["trained"], list):
        raise ValueError("trained is not a list")
    return RunRecord(
        num_steps=_whole(content["num_steps"]),
        trained=tuple(map(str, content["trained"])),
        origin=origin,
        split=Split.from_dict(content["split"]),
        environment=dict(content["environment"]),
        command=str(content["command"]),
    )


def _whole(value: Any) -> int:
    """Returns a number of steps; raises ValueError where it is another thing."""
    if type(value) is not int:
        raise ValueError(f"{value!r} is not a whole number")
    return value


def _write(path: Path, content: Any) -> None:
    """Writes JSON for people to read; the first of several processes does."""
    if jax.process_index() == 0:
        text = json.dumps(content, indent=2)
        # Lists of numbers take one line. No string holds a line break.
        text = re.sub(r"\[\n[\d\s,]*\]", _in_one_line, text)
        write_whole(path, text + "\n")


def _in_one_line(found: re.Match) -> str:
    """A list of numbers without line breaks."""
    return "[" + " ".join(found[0][1:-1].split()) + "]"
