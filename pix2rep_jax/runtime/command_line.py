"""What one command line says about others: the next one, and settings it hides."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pix2rep_jax.errors import name_some
from pix2rep_jax.runtime.config_checks import walk
from pix2rep_jax.wording import for_caller

__all__ = ["next_command", "next_step", "overrides_without_effect"]


def next_command(words: Sequence[str], *, mode: str, workdir: str = "") -> str:
    """Writes the command that runs another mode after this one.

    Args:
        words: The command line of this one, program first; empty where this one was
            called from Python.
        mode: The mode to run next.
        workdir: The run's folder, which remembers the configuration for later modes; ""
            repeats all options.

    Returns:
        A line to type into a shell.
    """
    if not words:
        return f"the same with --mode {mode}"
    program, *options = words
    for index, option in enumerate(options):
        if option in ("--mode", "-mode") and index + 1 < len(options):
            options[index + 1] = mode
        elif option.startswith(("--mode=", "-mode=")):
            options[index] = f"--mode={mode}"
    if workdir:
        options = _without_config(options)
        if not any(re.match(r"--?workdir(=|$)", each) for each in options):
            options = ["--workdir", workdir, *options]
    return shlex.join([*_call(program), *options])


def next_step(
    words: Sequence[str], *, mode: str, workdir: str, options: str = ""
) -> str:
    """Writes what to do after this one: a command, or the call if Python has called.

    Args:
        words: As for `next_command`, like the others.
        mode: The mode to run next.
        workdir: The run's folder.
        options: Further flags, such as ` --input SCANS`.
    """
    call = for_caller(f"--mode {mode} --workdir='{workdir}'{options}")
    if not call.startswith("--"):
        return call
    return next_command(words, mode=mode, workdir=workdir) + options


def _without_config(options: Sequence[str]) -> list[str]:
    """Leaves out the configuration file and its settings."""
    kept, following = [], iter(options)
    for option in following:
        if re.match(r"--?config[.=]|--?config$", option):
            if "=" not in option:
                next(following, None)  # its value
        else:
            kept.append(option)
    return kept


def overrides_without_effect(
    words: Sequence[str],
    section: Mapping,
    *,
    method: str,
    unread: Collection[str] = (),
) -> list[str]:
    """Finds overrides that change nothing in a pretraining.

    Args:
        words: The command line.
        section: The section of the method's name, which overrides `pretrain` again.
        method: Its name.
        unread: Dotted names of settings and sections that the method does not read.

    Returns:
        One sentence for each override that the section hides; and one for all that the
        method does not read.
    """
    hidden = {name for name, _ in walk(section)}
    sentences, ignored = [], []
    for word in words:
        override = re.match(r"--?config\.([\w.]+)", word)
        full = override[1] if override else ""
        name, written = full.removeprefix("pretrain."), word.partition("=")[0]
        if name in hidden:
            sentences.append(
                f"{written} has no effect: pretrain.method={method} has its own value, "
                f"--config.{method}.{name}"
            )
        elif full in unread or full.partition(".")[0] in unread:
            ignored.append(written)
    if ignored:
        sentences.append(
            f"pretrain.method={method} does not read {name_some(ignored)}, so this "
            "changes nothing"
        )
    return sentences


def _call(program: str) -> list[str]:
    """Returns how to call this program from here.

    A virtual environment's programs may not be on PATH.
    """
    if not program.endswith(".py"):  # the installed command
        name = Path(program).name
        return [name if shutil.which(name) == program else _from_here(program)]
    if shutil.which("python") == sys.executable:
        return ["python", program]
    return [_from_here(sys.executable), program]


def _from_here(path: str) -> str:
    """Returns a path relative to the working folder where it lies inside."""
    here = os.path.relpath(path)
    return path if here.startswith("..") else here
