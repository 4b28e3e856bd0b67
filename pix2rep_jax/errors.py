"""The one exception that stands for a mistake a user can mend."""

import errno
import sys
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = [
    "InputError",
    "check_choice",
    "explain_disk",
    "explain_memory",
    "explain_missing",
    "name_some",
]


class InputError(ValueError):
    """Says in one sentence what is wrong, where, and how to mend it.

    The command line prints the sentence without a traceback and exits with 1.
    """


def check_choice(name: str, value: Any, known: Sequence[str]) -> None:
    """Checks that a setting is one of the known words.

    Args:
        name: The setting, as a user would type it.
        value: The setting's value.
        known: The words it may be.

    Raises:
        InputError: If it is another word.
    """
    if value not in known:
        choices = " or ".join(map(repr, known))
        raise InputError(f"{name} is {value!r}: it must be {choices}")


def name_some(names: Iterable[object], *, most: int = 3) -> str:
    """Joins the first of some names, and says how many more there are."""
    listed = list(map(str, names))
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more} more" if more > 0 else "")


def explain_disk(error: Exception) -> str | None:
    """Says which file a disk had no room for, or the user no right to.

    Args:
        error: What any reader or writer of a file raised.

    Returns:
        One sentence, or None for other errors.
    """
    if not isinstance(error, OSError):
        return None
    name, reason = error.filename or "a file", error.strerror
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"{name} cannot be written ({reason}): free some space and start the same "
            "command again; the checkpoints are kept"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and error.filename:
        return (
            f"{name} cannot be used ({reason}): ask its owner for the right, or name "
            "another folder"
        )
    return None


def explain_memory(error: Exception) -> str | None:
    """Explains an error that means a device has too little memory.

    Args:
        error: Any exception that jax raised.

    Returns:
        One sentence, or None where the error means something else.
    """
    code, _, said = str(error).partition(": ")
    if code != "RESOURCE_EXHAUSTED":
        return None
    return (
        f"the device has not enough memory ({said.splitlines()[0].rstrip('.')}): in "
        "another --workdir lower the batch_size of the mode's section, "
        "pretrain.num_points or the model's widths, or end other programs on the "
        "device; the checkpoints are kept"
    )


def explain_missing(error: Exception) -> str | None:
    """Explains an error that means a package is not installed.

    Args:
        error: Any exception.

    Returns:
        One sentence, or None where the error means something else.
    """
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    if error.name.partition(".")[0] in ("pix2rep_jax", "configs"):  # a defect of ours
        return None
    return (
        f"{error.name} is not installed in this Python ({sys.executable}): install it "
        "(pip install -r requirements.txt installs all that this program needs), or "
        "activate the environment that has it"
    )
