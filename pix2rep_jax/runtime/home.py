"""Paths as users write them: with ~ for a home folder, in whichever encoding."""

from collections.abc import Mapping
from pathlib import Path

from pix2rep_jax.errors import InputError, printable

__all__ = ["check_homes", "check_utf8", "expand"]


def expand(path: str | Path, option: str) -> Path:
    """Makes an absolute path of one that may begin with ~.

    Args:
        path: As a user has written it.
        option: The flag or the setting that it belongs to.

    Raises:
        InputError: If it names the home of a user who does not have one here.
    """
    try:
        return Path(path).expanduser().resolve()
    except RuntimeError as error:  # of a loop of links too
        raise InputError(
            f"{option} is {path}, which cannot be followed ({error}): write the whole "
            f"path{', or set HOME in the environment' if str(path)[:1] == '~' else ''}"
        ) from error


def check_utf8(path: Path, option: str) -> None:
    """Checks that a run can be kept in a folder: checkpoints need a name in UTF-8.

    Args:
        path: The absolute path.
        option: The flag or the setting that it belongs to.

    Raises:
        InputError: If it holds other bytes, before anything is trained.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{option} is {printable(str(path))}, whose name is not UTF-8, and "
            "checkpoints cannot be kept there: name another folder, or set LC_ALL="
            "C.UTF-8 if its name looks right in the shell"
        ) from error


def check_homes(paths: Mapping[str, str | None]) -> None:
    """Checks that every path that begins with ~ names a home folder.

    Args:
        paths: Paths by their flag or setting; None or "" where there is none.

    Raises:
        InputError: If one does not; names the first.
    """
    for option, path in paths.items():
        if path and str(path).startswith("~"):
            expand(path, option)
