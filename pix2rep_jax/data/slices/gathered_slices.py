"""Slices of one volume after the other: in memory while they fit, else in a file."""

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from pix2rep_jax.data.slices import stored_slices
from pix2rep_jax.data.slices.stored_slices import SliceWriter
from pix2rep_jax.runtime.atomic_file import replacing

__all__ = ["GatheredSlices"]


class GatheredSlices:
    """Takes the slices of all volumes.

    Attributes:
        images: `[slices, height, width, channels]` of each volume that is in memory.
        labels: `[slices, height, width]` of each.
    """

    def __init__(self, path: Path | None) -> None:
        """Begins with nothing.

        Args:
            path: The file for slices that would fill the memory; None keeps all there.
        """
        self.images: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []
        self._path, self._number, self._size = path, 0, (0, 0)
        self._stack = contextlib.ExitStack()
        self._file: BinaryIO | None = None
        self._writer: SliceWriter | None = None

    def __enter__(self) -> "GatheredSlices":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)  # after an error nothing is moved

    def add(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Adds the slices of a volume.

        Raises:
            OSError: If the file cannot be written, such as on a full disk.
        """
        self.images.append(images)
        self.labels.append(labels)
        self._number += len(images)
        height, width = map(max, self._size, labels.shape[1:])
        self._size = height, width
        # In memory each slice would be padded to the size of the largest.
        each_pixel = images.shape[-1] * images.itemsize + labels.itemsize
        needed = self._number * height * width * each_pixel
        if self._path is None or (
            self._writer is None and needed <= stored_slices.STORED_BYTES
        ):
            return
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._stack.enter_context(replacing(self._path))
            self._file = self._stack.enter_context(partial.open("wb"))
            self._writer = SliceWriter(self._file)
        for each in zip(self.images, self.labels, strict=True):
            self._writer.add(*each)
        self.images.clear()
        self.labels.clear()

    def finish(self) -> dict[str, np.ndarray] | None:
        """Moves the file to its place.

        Returns:
            What describes the file; None if all slices are in memory.

        Raises:
            OSError: As `add`.
        """
        if self._file is None or self._writer is None:
            return None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._stack.close()  # closes the file, and moves it
        return self._writer.describe()
