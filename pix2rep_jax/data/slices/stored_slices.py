"""Slices that do not fit the memory: written one by one, and read when they are taken.

All images and labels lie behind each other in one file, each slice in its own size.
"""

import mmap
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.errors import InputError

__all__ = ["STORED_BYTES", "SliceWriter", "StoredRows", "blank", "select"]

STORED_BYTES = 2**28
"""A data set with more bytes of slices stays on the disk; so does a selection."""

_BLANK = -1
"""In the place of a row: a slice that holds the padding alone."""


class SliceWriter:
    """Appends the slices of volumes to a file, and notes where each lies."""

    def __init__(self, file: BinaryIO) -> None:
        """Begins at the file's end.

        Args:
            file: Open for writing, and empty.
        """
        self._file = file
        self._places: list[tuple[int, int, int, int, int, int]] = []
        self._form: tuple[np.dtype, int] | None = None
        self._end = 0

    def add(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Appends the slices of a volume.

        Args:
            images: `[slices, height, width, channels]`.
            labels: `[slices, height, width]` uint8.
        """
        self._form = self._form or (images.dtype, images.shape[-1])
        for image, label in zip(images, labels, strict=True):
            parts = (image.tobytes(), label.tobytes())
            checks = map(zlib.crc32, parts)
            starts = (self._end, self._end + len(parts[0]))
            self._places.append((*starts, *label.shape, *checks))
            self._file.write(b"".join(parts))
            self._end += sum(map(len, parts))

    def describe(self) -> dict[str, np.ndarray]:
        """Describes the file in arrays, which `StoredRows` takes."""
        assert self._form is not None
        dtype, channels = self._form
        return {
            "places": np.array(self._places, np.int64).reshape(-1, 6),
            "dtype": np.array(dtype.name),
            "channels": np.array(channels),
            "bytes": np.array(self._end),
        }


class StoredRows:
    """An array of slices in a file, of which those are read that are taken.

    It is indexed as an array is, by rows first. Slices are padded at their ends to the
    size of the largest. What is read is compared with the checksum of each slice.

    Attributes:
        shape: `(slices, height, width)`, and of images the channels.
        dtype: The type of the values that are read.
    """

    def __init__(
        self, path: Path, described: dict[str, np.ndarray], *, labels: bool, fill: int
    ) -> None:
        """Opens the file.

        Args:
            path: The file that a `SliceWriter` wrote.
            described: From its `describe`.
            labels: Whether to read the labels, in place of the images.
            fill: What slices are padded with.

        Raises:
            ValueError: If the file has another length.
            OSError: If it cannot be opened.
        """
        places, part = described["places"], int(labels)
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if len(self._map) != int(described["bytes"]):
            raise ValueError(f"{path} has {len(self._map)} bytes, and others were kept")
        self._path, self._fill = path, fill
        self._starts, self._checks = places[:, part], places[:, 4 + part]
        self._sizes = places[:, 2:4]
        self._rows = np.arange(len(places))
        self._inner = () if labels else (int(described["channels"]),)
        self._stored = np.dtype("uint8" if labels else described["dtype"].item())
        self.dtype = self._stored
        self._frame = tuple(self._sizes.max(0).tolist())

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole array."""
        return (len(self._rows), *self._frame, *self._inner)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes that all rows would take in memory."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)

    def __getitem__(self, key: Any) -> Any:
        first, *rest = key if isinstance(key, tuple) else (key,)
        rows = self._rows[first]
        if np.ndim(rows) == 0:
            return self._read(int(rows))[tuple(rest)]
        taken = np.full((len(rows), *self._frame, *self._inner), self._fill, self.dtype)
        for target, row in zip(taken, rows.tolist(), strict=True):
            self._read(row, target)
        return taken[(slice(None), *rest)]

    def select(
        self,
        rows: np.ndarray,
        *,
        size: Sequence[int] | None = None,
        dtype: Any = None,
    ) -> "StoredRows":
        """Selects rows without reading them; the arguments are those of `select`."""
        frame = self._frame if size is None else (int(size[0]), int(size[1]))
        given = self.dtype if dtype is None else np.dtype(dtype)
        return self._with(_rows=self._rows[rows], _frame=frame, dtype=given)

    def blank(self, which: np.ndarray) -> "StoredRows":
        """Makes slices hold the padding alone, without reading others."""
        return self._with(_rows=np.where(which, _BLANK, self._rows))

    def _with(self, **changes: Any) -> "StoredRows":
        """Makes another array of the same file."""
        other = object.__new__(StoredRows)
        vars(other).update(vars(self), **changes)
        return other

    def _read(self, row: int, target: np.ndarray | None = None) -> np.ndarray:
        """Reads a slice, and checks it.

        Raises:
            InputError: If it is not what was written.
        """
        if target is None:
            shape = (*self._frame, *self._inner)
            target = np.full(shape, self._fill, self.dtype)
        if row == _BLANK:
            return target
        height, width = self._sizes[row].tolist()
        start = int(self._starts[row])
        shape = (height, width, *self._inner)
        end = start + int(np.prod(shape)) * self._stored.itemsize
        content = self._map[start:end]
        if zlib.crc32(content) != self._checks[row]:
            raise InputError(
                f"the cache {self._path} is damaged: delete it, and start the same "
                "command again, which prepares the scans anew"
            )
        target[:height, :width] = np.frombuffer(content, self._stored).reshape(shape)
        self._release(start, end)
        return target

    def _release(self, start: int, end: int) -> None:
        """Takes pages that were read out of this process; the system keeps them."""
        if hasattr(mmap, "MADV_DONTNEED"):
            first = start // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, first, end - first)


def select(
    array: Any,
    rows: np.ndarray,
    *,
    size: Sequence[int] | None = None,
    dtype: Any = None,
) -> Any:
    """Takes rows of an array; of `StoredRows` many stay on the disk.

    Args:
        array: An array, or `StoredRows`.
        rows: `[rows]` indices.
        size: Height and width to cut the slices to, at least their own; None for those
            of the array.
        dtype: The type of what is taken; None for that of the array.
    """
    if isinstance(array, StoredRows):
        chosen = array.select(rows, size=size, dtype=dtype)
        return chosen if chosen.nbytes > STORED_BYTES else chosen[:]
    taken = array[rows] if size is None else array[rows, : size[0], : size[1]]
    return taken if dtype is None else taken.astype(dtype)


def blank(labels: Any, which: np.ndarray) -> Any:
    """Takes the labels out of some slices.

    Args:
        labels: `[slices, height, width]`, an array or `StoredRows`.
        which: `[slices]` bool.

    Returns:
        A copy, or `StoredRows`, in which all pixels of these slices are `UNLABELLED`.
    """
    if isinstance(labels, StoredRows):
        return labels.blank(which)
    return np.where(which[:, None, None], np.uint8(UNLABELLED), labels)
