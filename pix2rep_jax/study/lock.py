"""Which of several processes has a run in hand."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["hold"]


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
