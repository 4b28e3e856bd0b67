"""Files that may be packed: `.gz` in any case. ISA-L does it faster than zlib."""

from pathlib import Path
from typing import BinaryIO, cast

from isal import igzip

__all__ = ["open_to_read", "open_to_write"]

_LEVEL = 1
"""Masks get smaller by it than by zlib's level 1, in a tenth of the time."""


def open_to_read(path: Path) -> BinaryIO:
    """Opens a file, unpacked if its name ends in `.gz`."""
    if path.name.lower().endswith(".gz"):
        return igzip.open(path, "rb")
    return path.open("rb")


def open_to_write(path: Path) -> BinaryIO:
    """Opens a new file, packed if its name ends in `.gz`.

    Equal content makes equal files: the time of writing is left out.
    """
    if path.name.lower().endswith(".gz"):
        packed = igzip.IGzipFile(path, "wb", compresslevel=_LEVEL, mtime=0)
        return cast(BinaryIO, packed)
    return path.open("wb")
