"""Arrays that are kept in a cache: read whole, and perhaps damaged."""

import contextlib
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

__all__ = ["DAMAGE", "read_arrays"]

DAMAGE = (
    AttributeError,
    OSError,
    EOFError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a damaged npz raises, or using what it holds."""


def read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """Reads all arrays of an npz, and marks it as used now; None if there is no file.

    The limit of the caches goes by when a file was used last.

    Raises:
        Exception: One of `DAMAGE`, or MemoryError, if the file is damaged.
    """
    if not path.is_file():
        return None
    with contextlib.suppress(OSError):  # another user's
        os.utime(path)
    # If np.load cannot read a file that it opened itself, it leaves it open.
    with open(path, "rb") as stream:
        if not zipfile.is_zipfile(stream):  # NumPy takes it for a pickle, and says so
            raise zipfile.BadZipFile("it is not the archive of arrays that was written")
        stream.seek(0)
        with np.load(stream) as file:
            return {name: file[name] for name in file.files}
