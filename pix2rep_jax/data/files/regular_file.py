"""Files that a path must lead to: a pipe would be waited for without an end."""

import errno
import os
from pathlib import Path

from pix2rep_jax.errors import InputError

__all__ = ["check_file", "is_there", "read_text"]


def is_there(path: Path) -> bool:
    """Whether a path leads to a file; not if it cannot be followed.

    It does not if it leads to a folder, a pipe, a socket or a device.
    """
    return os.path.isfile(path)  # it never raises, as where a name is too long


def check_file(path: Path) -> None:
    """Checks that a path leads to a file, before it is opened.

    Raises:
        InputError: If there is nothing, or a folder, a pipe, a socket or a device.
    """
    if is_there(path):
        return
    if os.path.exists(path):
        kind = "a folder" if path.is_dir() else "a pipe, a socket or a device"
        raise InputError(f"{path} is not a file but {kind}: give a file")
    raise InputError(f"there is no file {path}: check its name and folder")


def read_text(path: Path, *, errors: str = "strict") -> str:
    """Reads a file of text in UTF-8, with or without a byte-order mark.

    Args:
        path: The file.
        errors: What becomes of other bytes, as of `open`.

    Raises:
        OSError: If it cannot be read, or is a pipe, a socket or a device.
        ValueError: If it has bytes that are not UTF-8, and `errors` is "strict".
    """
    if os.path.exists(path) and not is_there(path):
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    return path.read_text(encoding="utf-8-sig", errors=errors)
