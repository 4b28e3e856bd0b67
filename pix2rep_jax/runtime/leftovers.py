"""Half-written files that a killed process left, told from those of a living one."""

import contextlib
import functools
import os
import re
import shutil
import socket
import time
import uuid
import zlib
from pathlib import Path

__all__ = ["partial_path", "remove_leftovers"]

_NAME = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}(\.\w+)*")
"""A hidden name: that of the whole file, the machine, the process, and chance."""

_SHOWN = 50
"""Characters of the whole name in a hidden one, which may have 255 bytes in all."""

_OLD_S = 24 * 3600.0
"""After as many seconds nobody is still writing, on whichever machine."""


def partial_path(path: Path, *, suffix: str = "") -> Path:
    """Names a hidden file or folder beside `path`, to be written and moved there.

    Args:
        path: The file or folder that it will be.
        suffix: The end of the name.
    """
    tag = f"{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    return path.with_name(f".{path.name[:_SHOWN]}.{tag}{suffix}")


def remove_leftovers(folder: Path) -> None:
    """Removes what processes that have ended left half written in a folder.

    A process of this machine that still runs may be writing, and so may one of another
    machine, until its file is a day old. What cannot be removed stays.
    """
    try:
        entries = [each for each in folder.iterdir() if each.name.startswith(".")]
    except OSError:
        return
    for path in entries:
        found = _NAME.fullmatch(path.name)
        if found is None:
            continue
        with contextlib.suppress(OSError):
            here = found[1] == _machine()
            is_old = time.time() - path.lstat().st_mtime > _OLD_S
            if is_old or (here and not _is_running(int(found[2]))):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()


@functools.cache
def _machine() -> str:
    """Names this machine since it was started, or the container on it.

    Processes have their numbers within it. Machines may share a name and a disk.
    """
    name = socket.gethostname()
    with contextlib.suppress(OSError):  # Linux only
        name += Path("/proc/sys/kernel/random/boot_id").read_text()
        name += os.readlink("/proc/self/ns/pid")
    return f"{zlib.crc32(name.encode('utf-8', 'surrogateescape')):08x}"


def _is_running(number: int) -> bool:
    """Whether a process of this machine is there; unknown counts as yes."""
    if os.name != "posix":  # elsewhere signal 0 would end it
        return True
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
