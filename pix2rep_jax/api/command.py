"""The command line that does what a function is asked for."""

import importlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging

from pix2rep_jax.api.run import Place
from pix2rep_jax.cli.config_file import (
    with_found_config,
    with_quoted_words,
    with_run_config,
)
from pix2rep_jax.cli.parse import read_settings
from pix2rep_jax.cli.prepare import check, prepare
from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.remembered import find_source
from pix2rep_jax.wording import in_function

__all__ = ["read_scores", "run_command", "write_command"]


def write_command(
    mode: str,
    workdir: Path,
    settings: Mapping[str, Any],
    *,
    size: str | None = None,
    data: Place | None = None,
    start: Place | None = None,
) -> list[str]:
    """Writes the command line that does the same, program first.

    Args:
        mode: The mode that is to run.
        workdir: The run's workdir.
        settings: By name, with `__` or a dot between its parts.
        size: The configuration's variant. None keeps what `workdir` holds, or is
            "small".
        data: The setting `data.root`.
        start: The setting `init.checkpoint`.

    Raises:
        InputError: If a setting is given twice.
    """
    words = ["pix2rep"]
    if size is None and find_source(workdir, mode) is None:
        size = "small"
    if size is not None:
        words.append(f"--config=configs/pix2rep.py:{size}")
    words += [f"--mode={mode}", f"--workdir={workdir}"]
    given = {name.replace("__", "."): value for name, value in settings.items()}
    for name, place in (("data.root", data), ("init.checkpoint", start)):
        if place is None:
            continue
        if name in given:
            raise InputError(f"{name} is given twice: leave one of both out")
        given[name] = os.fspath(place)
    return words + [f"--config.{name}={_word(x)}" for name, x in given.items()]


def _word(value: Any) -> str:
    """Writes a value as a command line has it."""
    if isinstance(value, list | tuple):
        return repr(tuple(value))
    return str(value)


def run_command(
    mode: str, workdir: Path, words: list[str], **options: Any
) -> tuple[int, str]:
    """Does what the command line does with these words.

    Args:
        mode: The mode.
        workdir: The run's workdir.
        words: From `write_command`.
        **options: Further arguments of the mode's `run`.

    Returns:
        The mode's exit code, and the setting `init.checkpoint`.

    Raises:
        InputError: As on a command line.
        KeyboardInterrupt: If it was interrupted; the state is saved by then.
    """
    with in_function(mode):
        full = with_quoted_words(with_run_config(with_found_config(words)))
        config = read_settings(full)
        places = ("input", "output", "support")
        check(config, {f"--{name}": options.get(name) for name in places})
        prepare(config, workdir, mode, command=words)
        module = importlib.import_module(f"pix2rep_jax.modes.{mode}")
        said = logging.get_verbosity()
        logging.set_verbosity(logging.ERROR)  # Orbax tells every file it writes
        try:
            status = module.run(config, workdir, **options) or 0
        except SystemExit as end:  # a signal: in a notebook the cell was interrupted
            raise KeyboardInterrupt(f"{mode} was stopped; it is saved") from end
        finally:
            logging.set_verbosity(said)
    return status, config.init.checkpoint


def read_scores(folder: Path) -> dict[str, float]:
    """Reads the Dice of evaluation.json; nothing where nothing was scored."""
    path = folder / "evaluation.json"
    if not path.is_file():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))["dice"]
    return {name: math.nan if x is None else x for name, x in found.items()}
