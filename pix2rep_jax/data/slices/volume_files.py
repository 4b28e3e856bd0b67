"""Reads the files of many volumes, several at the same time."""

import concurrent.futures
import itertools
import os
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.progress_bar import open_progress_bar

__all__ = ["read_files"]

Result = TypeVar("Result")


def read_files(
    read: Callable[[Sequence[VolumeFile]], Result],
    volumes: Sequence[VolumeFile],
    *,
    title: str,
    progress: bool,
) -> Generator[tuple[Sequence[VolumeFile], Result | InputError]]:
    """Calls a function on the volumes of each file, so that a file is read once.

    Args:
        read: What is called, in threads.
        volumes: Those of one file follow each other.
        title: Names the progress bar, which is shown on standard error after 5 s.
        progress: Whether there is a bar.

    Yields:
        The volumes of each file in their order, with the result. An `InputError` that
        `read` raises takes its place. If the caller stops early, no more are read.
    """
    groups = itertools.groupby(volumes, lambda volume: volume.image_paths)
    files = [list(group) for _, group in groups]
    with (
        concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as executor,
        open_progress_bar(
            len(files), description=title, unit="scan", delay_s=5, show=progress
        ) as bar,
    ):
        waiting = [executor.submit(read, file) for file in files]
        try:
            for file, future in zip(files, waiting, strict=True):
                try:
                    result: Result | InputError = future.result()
                except InputError as error:
                    result = error
                yield file, result
                bar.update()
        finally:
            executor.shutdown(cancel_futures=True)
