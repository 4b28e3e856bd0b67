"""How the program ends where something failed: a sentence, or a saved traceback."""

import contextlib
import itertools
import os
import platform
import shlex
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import pix2rep_jax
from pix2rep_jax.errors import explain

__all__ = ["BUG", "describe_failure"]

BUG = 70
"""Exit status of a defect; `EX_SOFTWARE` of sysexits.h."""


def describe_failure(
    error: BaseException, workdir: str = "", *, command: Sequence[str] = ()
) -> tuple[str, int]:
    """Says why the program ends.

    Args:
        error: What stopped it.
        workdir: What stands behind `--workdir`; "" if it is not given.
        command: The words of the command line, which are saved with a traceback.

    Returns:
        One line for standard error, and the exit status: 1, or `BUG` where nothing
        that a user can mend explains the error. Its traceback is saved then. A
        sentence may end in a list, whose indented lines stay lines.
    """
    sentence = explain(error)
    if sentence is not None:
        return f"error: {_lay_out(sentence)}", 1
    said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    place = _save_traceback(error, workdir, command)
    where = f"the traceback is in {place}" if place else "its traceback is not saved"
    return (
        f"bug: this is a defect of pix2rep-jax ({said}); {where}. Please report it "
        "with that file in the issues of pix2rep-jax. What was saved is kept",
        BUG,
    )


def _lay_out(sentence: str) -> str:
    """Joins the lines of a sentence, but for an indented list at its end."""
    lines = sentence.strip().splitlines()
    indented = itertools.takewhile(lambda x: x.startswith("  "), reversed(lines))
    listed = [line.rstrip() for line in indented][::-1]
    said = " ".join(" ".join(lines[: len(lines) - len(listed)]).split())
    return "\n".join([said, *listed])


def _save_traceback(error: BaseException, workdir: str, command: Sequence[str]) -> str:
    """Writes a traceback into the run's folder, or else into the temporary one.

    Returns:
        The file's path; "" if it cannot be written anywhere.
    """
    lines = [
        f"pix2rep-jax {pix2rep_jax.__version__}, Python {platform.python_version()}",
        f"platform: {platform.platform()}",
        f"command: {shlex.join(command)}",
        "".join(traceback.format_exception(error)),
    ]
    content = "\n".join(lines).encode("utf-8", "backslashreplace")
    folders = [tempfile.gettempdir]
    if workdir:
        folders.insert(0, lambda: str(Path(workdir).expanduser().resolve(strict=True)))
    for folder in folders:
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            number, path = tempfile.mkstemp(".txt", "traceback-", folder())
            with os.fdopen(number, "wb") as file:
                file.write(content)
            return path
    return ""
