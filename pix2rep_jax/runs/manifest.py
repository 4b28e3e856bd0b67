"""A run's folder: config.json and run.json, written and compared here alone."""

import errno
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.data_checks import check_same_channels, check_same_split
from pix2rep_jax.runs.dependencies import (
    add_missing,
    changed_settings,
    missing_settings,
)
from pix2rep_jax.runs.find_weights import find_weights
from pix2rep_jax.runs.run_record import (
    RUN_FILE,
    Origin,
    RunRecord,
    read_content,
    read_run,
    record_to_dict,
)
from pix2rep_jax.runs.weights_file import is_weights, read_about
from pix2rep_jax.runtime.atomic_file import write_whole
from pix2rep_jax.runtime.config_checks import effective

__all__ = [
    "change_setting",
    "check_begun",
    "check_place",
    "find_run",
    "make_folder",
    "open_run",
    "read_config",
]


_CONFIG = "config.json"


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
    if (before := check_begun(folder, settings)) is not None:
        check_same_channels(record.inputs.channels, before.inputs.channels, folder)
        check_same_split(before.split, record.split, folder)
        check_same_origin(before.origin, record.origin, folder, begun=begun)
        record = record._replace(
            origin=before.origin if begun else record.origin,
            environment=before.environment,
            command=before.command,
        )
        if record_to_dict(record) != record_to_dict(
            before
        ):  # such as a mask that came since
            _write(folder / RUN_FILE, record_to_dict(record))
        if (keep := settings["segmentation"]["keep"]) != (
            read_config(folder)["segmentation"]["keep"]
        ):
            # What has been trained stays, and another checkpoint becomes the result.
            change_setting(folder, "segmentation", "keep", keep)
        return record
    make_folder(folder)
    # config.json comes last: without it the folder holds no run.
    _write(folder / RUN_FILE, record_to_dict(record))
    _write(folder / _CONFIG, settings)
    return record


def change_setting(folder: Path, section: str, name: str, value: Any) -> None:
    """Changes a setting of a run that no number depends on.

    Args:
        folder: The run's folder.
        section: The setting's section.
        name: Its name there.
        value: What JSON can hold.
    """
    stored = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    stored[section][name] = value
    _write(folder / _CONFIG, stored)


def check_begun(folder: Path, settings: Mapping[str, Any]) -> RunRecord | None:
    """Checks, before any work, that the run in a folder can go on.

    Args:
        folder: `<workdir>/<mode>`.
        settings: The whole configuration that it would go on with.

    Returns:
        The record of the run that is there; None if there is none.

    Raises:
        InputError: If it is of another version of this program, damaged, or of other
            settings.
    """
    if not (folder / _CONFIG).exists():
        return None
    before = read_run(folder)
    if changes := changed_settings(read_config(folder), settings, folder.name):
        start = settings["init"]["checkpoint"] or folder.parent
        raise InputError(
            f"{folder} holds a run with another configuration ({'; '.join(changes)}): "
            f"name another --workdir (and --config.init.checkpoint={start} to start "
            "from that), or use its settings again"
        )
    return before


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
        is_segmenter = Path(now.run).name == "finetune"
        named = now.weights or (now.run if is_segmenter else Path(now.run).parent)
        # To delete the folder would delete what is to be started from.
        delete = "" if is_segmenter else f", or delete {folder}"
        raise InputError(
            f"the run in {folder} started from the network of {before.run} at step "
            f"{before.step}, but the network of {now.run} at step {now.step} has other "
            "values: to start from it, name another --workdir and --config.init."
            f"checkpoint={named}{delete}"
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
    """Makes a folder and its parents, unless they are there, to write into it.

    Args:
        path: The folder.
        option: The option of the command line that names another one.

    Raises:
        InputError: If it cannot be made, or if nothing can be written there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):  # before hours of work
            raise OSError(errno.EACCES, "it cannot be written into")
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        is_other = error.errno in (errno.EEXIST, errno.ENOTDIR)
        reason = "a file or a link stands there" if is_other else error.strerror
        raise InputError(
            f"the folder {path} cannot be used ({reason}): "
            f"{'free some space or ' if is_full else ''}name another {option}"
        ) from error


def find_run(path: str | Path, mode: str) -> Path:
    """Finds a mode's run in a workdir; a pretraining may be a file of weights.

    Args:
        path: A workdir, or the folder of the mode in it. For a pretraining also what
            `find_weights` takes.
        mode: Such as "pretrain".

    Returns:
        The folder of the run, or the file of weights.

    Raises:
        InputError: If there is none.
    """
    if mode == "pretrain" and (weights := find_weights(path)) is not None:
        return weights
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

    Settings that came later have the value of what the program did before.

    Raises:
        InputError: If there is none, if it is damaged, or if another version of this
            program wrote the run, whose settings may mean something else.
    """
    read_content(Path(run))
    path = Path(run) / _CONFIG
    try:
        if is_weights(run):
            path, config = Path(run), read_about(run).config
        else:
            config = json.loads(path.read_text(encoding="utf-8"))
        if missing := missing_settings(config):
            raise ValueError(f"it has no {missing[0]}")
        add_missing(config, mode=Path(run).name)
        effective(config)  # compares values, which raises where one is of another type
        return config
    except (
        OSError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
    ) as error:
        raise InputError(
            f"{path} cannot be read ({error}): without its configuration the run in "
            f"{run} is lost; delete that folder or name another"
        ) from error


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
