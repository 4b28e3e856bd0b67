"""Whether a path leads to a file: a pipe would be waited for without an end."""

import os
from pathlib import Path

from pix2rep_jax.errors import InputError

__all__ = ["check_file", "is_there"]


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
