"""Paths that begin with ~, which stands for a user's home folder."""

from collections.abc import Mapping
from pathlib import Path

from pix2rep_jax.errors import InputError

__all__ = ["check_homes", "expand"]


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
