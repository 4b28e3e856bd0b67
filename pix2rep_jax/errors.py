"""The one exception that stands for a mistake a user can mend."""

import errno
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from pix2rep_jax.wording import for_caller

__all__ = [
    "InputError",
    "check_choice",
    "explain",
    "explain_disk",
    "explain_memory",
    "explain_missing",
    "name_some",
    "plain_text",
    "printable",
]


class InputError(ValueError):
    """Says in one sentence what is wrong, where, and how to mend it.

    The command line prints the sentence without a traceback and exits with 1. The
    sentence names flags, and in Python it is read with arguments in their place.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self._said = for_caller(sentence)  # the function may have ended when it is read

    def __str__(self) -> str:
        return self._said

    def __reduce__(self) -> tuple[type["InputError"], tuple[Any, ...]]:
        return type(self), self.args  # a process that helps may speak of flags


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


def explain(error: BaseException) -> str | None:
    """Explains an error that a file, the machine or its settings may always cause.

    Args:
        error: What any layer below the command line raised.

    Returns:
        One sentence that says what is wrong and how to mend it; None if the error
        means a defect of the program.
    """
    if isinstance(error, InputError):
        return str(error)
    explained = (
        explain_memory,
        explain_disk,
        explain_missing,
        _explain_name,
        _explain_environment,
    )
    return next(filter(None, (each(error) for each in explained)), None)


def explain_disk(error: BaseException) -> str | None:
    """Says which file could not be read or written, and why.

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
    if error.errno == errno.EPIPE:
        return (
            "the program that read the output has ended, and so this one ends too: "
            "write the output to a file, and start the same command again; the "
            "checkpoints are kept"
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return (
            f"{name} cannot be opened ({reason}): raise the limit by 'ulimit -n 4096' "
            "and start the same command again"
        )
    if error.filename is None:
        return None
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"{name} cannot be used ({reason}): ask its owner for the right, or name "
            "another folder"
        )
    if error.errno in _OTHER_FILE_FAULTS:
        return (
            f"{name} cannot be used ({reason}): mend or move it, or name another "
            "folder, and start the same command again"
        )
    return None


_OTHER_FILE_FAULTS = {
    getattr(errno, name)
    for name in (
        *("ENOENT", "ENOTDIR", "EISDIR", "EEXIST", "ENOTEMPTY", "ELOOP"),
        *("ENAMETOOLONG", "EIO", "EBUSY", "ENXIO", "ENODEV", "ETXTBSY", "EFBIG"),
        *("ESTALE", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EILSEQ", "EINVAL"),
    )
    if hasattr(errno, name)  # Windows has fewer
}
"""What else the system says of a file: another type, a broken disk, a lost share."""


def explain_memory(error: BaseException) -> str | None:
    """Explains an error that means a device or this machine has too little memory.

    Args:
        error: Any exception.

    Returns:
        One sentence, or None where the error means something else.
    """
    if isinstance(error, MemoryError):
        said = str(error).rstrip(".") or "an array could not be made"
        return (
            f"this machine has not enough memory ({said}): end other programs, lower "
            "--config.data.size, or leave scans out by --config.data.exclude; the "
            "checkpoints are kept"
        )
    code, _, said = str(error).partition(": ")
    if code != "RESOURCE_EXHAUSTED":
        return None
    return (
        f"the device has not enough memory ({said.splitlines()[0].rstrip('.')}): in "
        "another --workdir lower the batch_size of the mode's section, "
        "--config.pretrain.num_points or the model's widths, or end other programs on "
        "the device; the checkpoints are kept"
    )


def explain_missing(error: BaseException) -> str | None:
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


def _explain_name(error: BaseException) -> str | None:
    """Explains a file's name that a library cannot take."""
    if not isinstance(error, UnicodeEncodeError):
        return None
    name = " ".join(error.object[max(0, error.start - 40) : error.end + 40].split())
    return (
        f"{printable(name)} holds a character that is not valid {error.encoding}, and "
        "a library cannot use it: rename that file or folder"
    )


def plain_text(name: str) -> str:
    """Writes a name as it is compared and printed, however a file system spells it.

    A letter with an accent may be one character or two, as on a Mac.
    """
    return unicodedata.normalize("NFC", printable(name))


def printable(text: str) -> str:
    r"""Writes bytes of a name that are not UTF-8 as escapes, such as `\udce9`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _explain_environment(error: BaseException) -> str | None:
    """Explains what jax and Python say of the environment that they run in."""
    said = " ".join(str(error).split())
    if isinstance(error, RuntimeError) and said.startswith(
        ("Unable to initialize backend", "Unknown backend", "No visible")
    ):
        return (
            f"jax cannot use the device that it was told to ({said.rstrip('.')}): "
            "correct JAX_PLATFORMS in the environment; JAX_PLATFORMS=cpu always works"
        )
    if isinstance(error, RuntimeError) and "home directory" in said:
        return (
            "a folder begins with ~, and that user does not have a home folder here: "
            "write the whole path, or set HOME in the environment"
        )
    if isinstance(error, RuntimeError) and said.startswith("Symlink loop"):
        return f"{said[:1].lower()}{said[1:]}: mend that link, or name another path"
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return (
            "the folder that this program was started in is not there any more: "
            "change to another one, and start the same command again"
        )
    if isinstance(error, ValueError) and "timestamps before 1980" in said:
        return "this machine's clock stands before 1980: set it to today's date"
    return None
