"""Which of several processes has a run in hand."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
import jax
from pix2rep_jax.errors import InputError
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ['hold', 'hold_run']


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[bool]:
    """Keeps other processes from a folder that is made where it is missing.

    Whatever becomes of the process, the folder is free after it. Where files cannot be
    locked it is everybody's.

    Args:
        folder: Of a run.

    Yields:
        Whether the folder was free.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            except OSError:  # such as a network's file system
                pass
        yield True


@contextlib.contextmanager
def hold_run(folder: Path) -> Iterator[None]:
    """Keeps other commands from the run that this one trains, hosts of one run apart.

    Args:
        folder: Of the run.

    Raises:
        InputError: If another one trains it: the two would write over each other.
    """
    if jax.process_index() != 0:
        yield
        return
    with hold(folder) as free:
        if not free:
            raise InputError(
                f"another process is training the run in {folder}: wait for it or stop "
                "it, or name another --workdir"
            )
        yield
