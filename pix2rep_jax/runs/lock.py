"""Which of several processes has a run in hand."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

import jax
from filelock import FileLock, Timeout

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.manifest import make_folder

__all__ = ["hold", "hold_run"]

_UNKNOWN = {
    getattr(errno, name)
    for name in ("ENOSYS", "ENOTSUP", "EOPNOTSUPP", "ENOLCK", "EINVAL")
    if hasattr(errno, name)  # Windows has fewer
}
"""What a file system answers that cannot lock, as some network drives."""


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[bool]:
    """Keeps other processes from a folder, which is made where it is missing.

    The folder is free again when the process ends, however it ends. Where the file
    system cannot lock files, the folder always counts as free.

    Yields:
        Whether the folder was free.

    Raises:
        InputError: If the folder cannot be made, or its lock cannot be opened.
    """
    make_folder(folder)
    lock, free = FileLock(folder / "lock"), True
    try:
        lock.acquire(timeout=0)
    except Timeout:
        free = False
    except NotImplementedError:
        pass
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise InputError(
                f"{folder / 'lock'} cannot be opened ({error.strerror or error}), so "
                "nobody knows whether another process has the folder: remove it if "
                "none has, or ask its owner for the right"
            ) from error
    try:
        yield free
    finally:
        lock.release()


@contextlib.contextmanager
def hold_run(folder: Path) -> Iterator[None]:
    """Keeps other commands from a run. All hosts of this run may enter.

    Raises:
        InputError: If another process trains the run: the two would overwrite each
            other's files.
    """
    if jax.process_index() != 0:
        yield
        return
    with hold(folder) as free:
        if not free:
            raise InputError(
                f"another process is training the run in {folder}: wait for it, stop "
                "it, or name another --workdir"
            )
        yield
