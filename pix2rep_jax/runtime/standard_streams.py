"""Standard streams that are closed, or that cannot hold every character."""

import os
import sys

__all__ = ["abandon_output", "mend_streams"]

_MODES = {0: ("stdin", "r"), 1: ("stdout", "w"), 2: ("stderr", "w")}


def mend_streams() -> None:
    r"""Opens the standard streams that are closed, and lets them write any character.

    A shell closes one by `2>&-`. Its number would go to the next file that is opened,
    and whatever a library prints would end up in that file. What a stream's encoding
    lacks is written as an escape, such as `\xe9`.
    """
    for number, (name, mode) in _MODES.items():
        if getattr(sys, name) is None:
            _open_nowhere(number)
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's streams are of another type
            stream.reconfigure(errors="backslashreplace")


def abandon_output() -> None:
    """Writes out what standard output still holds, or drops it if that fails.

    Python would print an error of its own at the end, where a pipe's reader has gone.
    """
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _open_nowhere(1)


def _open_nowhere(number: int) -> None:
    """Lets a standard stream's number stand for a file that keeps nothing."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
    else:
        os.set_inheritable(number, True)
