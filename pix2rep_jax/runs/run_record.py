"""What a run is: the content of run.json."""

import json
import platform
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax

import pix2rep_jax
from pix2rep_jax.data.files.axes import BODY, LAST, SliceAxis
from pix2rep_jax.data.one_piece import NOTHING_KNOWN, OnePiece
from pix2rep_jax.data.slice_summary import Inputs
from pix2rep_jax.data.split_record import Split
from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.environment import numeric_environment
from pix2rep_jax.runs.weights_file import is_weights, read_about

__all__ = [
    "RUN_FILE",
    "VERSION",
    "Origin",
    "RunRecord",
    "describe_environment",
    "make_record",
    "read_content",
    "read_num_steps",
    "read_run",
    "record_to_dict",
]

VERSION = 3
"""Raise it when a run's files or its numbers are not what they were before.

A run of another version is refused, and a study does not count it as finished.
"""

_EARLIER = "check out the commit that CHANGELOG.md names for that version"

RUN_FILE = "run.json"


_ONE_CHANNEL = Inputs()

_THIRD = {"index": LAST.axis, "anatomy": LAST.anatomy}
"""What runs took that do not say along which axis their slices lie."""


class Origin(NamedTuple):
    """The pretrained network that a run started from.

    Attributes:
        run: The folder of the pretraining run.
        step: The step of the checkpoint that was read.
        digest: A hash of every parameter and statistic that was taken.
        weights: What `init.checkpoint` named, if that was a file of weights or a name
            on the hub. `run` is then the file's path. "" for a run's folder.
    """

    run: str
    step: int
    digest: str
    weights: str = ""


class RunRecord(NamedTuple):
    """What run.json holds, besides its version.

    Attributes:
        num_steps: Steps of the whole run.
        trained: Dotted names of the parts of the network that are trained at its end.
        origin: The network that it started from; None for random weights.
        split: Who trains, validates and tests, with the digests of the scans.
        environment: Versions and devices at the first start.
        command: The command line of the first start; "" where there was none.
        slice_axis: Along which axis the slices of most scans lie.
        inputs: What the scans have in common, such as their number of channels.
        one_piece: What is one piece in every training mask.
    """

    num_steps: int
    trained: tuple[str, ...]
    origin: Origin | None
    split: Split
    environment: Mapping[str, Any]
    command: str = ""
    slice_axis: SliceAxis = LAST
    inputs: Inputs = _ONE_CHANNEL
    one_piece: OnePiece = NOTHING_KNOWN


def make_record(
    *,
    num_steps: int,
    trained: Sequence[str],
    origin: Origin | None,
    split: Split,
    command: Sequence[str] = (),
    slice_axis: SliceAxis = LAST,
    inputs: Inputs = _ONE_CHANNEL,
    one_piece: OnePiece = NOTHING_KNOWN,
) -> RunRecord:
    """Makes the record of a run that starts here and now.

    Args:
        num_steps: As in `RunRecord`, like the next three.
        trained: Parts of the network.
        origin: The network to start from.
        split: Who trains, validates and tests.
        command: The words of the command line.
        slice_axis: As in `RunRecord`.
        inputs: As in `RunRecord`.
        one_piece: As in `RunRecord`.
    """
    return RunRecord(
        num_steps=num_steps,
        trained=tuple(trained),
        origin=origin,
        split=split,
        environment=describe_environment(),
        command=shlex.join(command),
        slice_axis=slice_axis,
        inputs=inputs,
        one_piece=one_piece,
    )


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


def read_run(run: str | Path) -> RunRecord:
    """Reads run.json.

    Args:
        run: The folder of one mode's run.

    Raises:
        InputError: If it is damaged, or if another version of this program wrote the
            run.
    """
    content = read_content(Path(run))
    try:
        return record_from_dict(content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(Path(run) / RUN_FILE, error) from error


def read_content(run: Path) -> dict[str, Any]:
    """Reads what run.json holds, if this version of the program wrote it.

    Raises:
        InputError: If not.
    """
    path = run / RUN_FILE
    try:
        if is_weights(run):
            path, content = run, read_about(run).run
        else:
            content = json.loads(path.read_text(encoding="utf-8"))
        version = content["version"]
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(
            f"the run in {run} has no run.json, so an earlier version of this program "
            f"wrote it: train again in another workdir, or {_EARLIER}"
        ) from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(path, error) from error
    if version != VERSION:
        raise InputError(
            f"{path} has version {version!r} and this program writes version "
            f"{VERSION}: train again in another workdir, or {_EARLIER}"
        )
    return content


def read_num_steps(run: str | Path) -> int:
    """Reads how many steps a run is to have.

    Raises:
        InputError: As `read_run`.
    """
    return read_run(run).num_steps


def _damaged(path: Path, error: Exception) -> InputError:
    if isinstance(error, KeyError):
        error = ValueError(f"{error} is missing")
    reason = error if isinstance(error, OSError) else f"it is damaged: {error}"
    return InputError(
        f"{path} cannot be read ({reason}), so nobody knows how the run in "
        f"{path.parent} began: bring the file back from a copy, or name another "
        "--workdir"
    )


def record_to_dict(record: RunRecord) -> dict[str, Any]:
    """The content of run.json."""
    return {
        "version": VERSION,
        "command": record.command,
        "environment": dict(record.environment),
        "num_steps": record.num_steps,
        "trained": list(record.trained),
        "origin": record.origin and record.origin._asdict(),
        "slice_axis": {
            "index": record.slice_axis.axis,
            "anatomy": record.slice_axis.anatomy,
            "in_plane": record.slice_axis.in_plane,
        },
        "inputs": {
            "channels": record.inputs.channels,
            "files": record.inputs.files,
            "pictures": record.inputs.pictures,
            "label_values": list(record.inputs.label_values),
            "sizes": record.inputs.sizes,
        },
        "one_piece": list(record.one_piece.classes),
        "one_piece_foreground": record.one_piece.foreground,
        "split": record.split.to_dict(),
    }


def record_from_dict(content: Mapping[str, Any]) -> RunRecord:
    """Reads the content of run.json.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: If it is not a run's.
    """
    origin = content["origin"]
    if origin is not None:
        step = _whole(origin["step"])
        run, hashed = (_text(origin[name], name) for name in ("run", "digest"))
        origin = Origin(run, step, hashed, _text(origin.get("weights", ""), "weights"))
    trained = _texts(content["trained"], "trained")
    if not trained:
        raise ValueError("trained does not list a part of the network")
    environment = dict(content["environment"])
    if not isinstance(environment.get("numerics", {}), dict):
        raise ValueError("environment.numerics is not an object")
    return RunRecord(
        num_steps=_whole(content["num_steps"]),
        trained=trained,
        origin=origin,
        split=Split.from_dict(content["split"]),
        environment=environment,
        command=_text(content["command"], "command"),
        slice_axis=_slice_axis(content.get("slice_axis", _THIRD)),
        inputs=_inputs(content.get("inputs", {})),
        one_piece=_one_piece(content),
    )


def _one_piece(content: Mapping[str, Any]) -> OnePiece:
    """Reads what is one piece; older records know nothing of the foreground."""
    foreground = content.get("one_piece_foreground", False)
    if not isinstance(foreground, bool):
        raise ValueError("one_piece_foreground is not true or false")
    return OnePiece(_texts(content.get("one_piece", []), "one_piece"), foreground)


def _slice_axis(content: Mapping[str, Any]) -> SliceAxis:
    """Reads along which axis the slices lie; raises ValueError if it is none."""
    axis, anatomy = content["index"], content["anatomy"]
    in_plane = content.get("in_plane", "")
    is_axis = type(axis) is int and axis in (0, 1, 2)
    if not (is_axis and anatomy in ("", *BODY) and isinstance(in_plane, str)):
        shown = f"{axis!r}, {anatomy!r}, {in_plane!r}"
        raise ValueError(f"{shown} is not an axis of slices")
    return SliceAxis(axis, anatomy, in_plane)


def _inputs(content: Mapping[str, Any]) -> Inputs:
    """Reads what the scans have in common; earlier runs had NIfTI of one channel."""
    channels, files = (_whole(content.get(name, 1)) for name in ("channels", "files"))
    if not channels or not files:
        raise ValueError("a scan without channels cannot be")
    values = content.get("label_values", [])
    if not (isinstance(values, list) and all(type(x) is int for x in values)):
        raise ValueError("inputs.label_values is not a list of whole numbers")
    pictures, sizes = (content.get(name, False) for name in ("pictures", "sizes"))
    if not (isinstance(pictures, bool) and isinstance(sizes, bool)):
        raise ValueError("inputs.pictures or inputs.sizes is neither true nor false")
    return Inputs(channels, files, pictures, tuple(values), sizes)


def _text(value: Any, name: str) -> str:
    """Returns a text; raises ValueError where it is another thing."""
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a text")
    return value


def _texts(values: Any, name: str) -> tuple[str, ...]:
    """Returns a list of texts; raises ValueError where it is another thing."""
    if not isinstance(values, list):
        raise ValueError(f"{name} is not a list")
    return tuple(_text(value, name) for value in values)


def _whole(value: Any) -> int:
    """Returns a number of steps; raises ValueError where it is another thing."""
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is not a number of steps")
    return value
