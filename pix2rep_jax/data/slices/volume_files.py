"""Reads the files of many volumes, several at the same time."""

import collections
import concurrent.futures
import contextlib
import itertools
import os
import queue
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeVar

from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.data.slices.worker import Worker
from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.progress_bar import open_progress_bar

__all__ = ["read_files"]

Result = TypeVar("Result")

MANY = 256
"""As many files are worth the start of processes, a second of a core each."""

_AHEAD = 2
"""Files under way or waiting for the caller, for each that is read at a time."""


def read_files(
    read: Callable[[Sequence[VolumeFile]], Result],
    volumes: Sequence[VolumeFile],
    *,
    title: str,
    progress: bool,
    processes: bool = False,
) -> Generator[tuple[Sequence[VolumeFile], Result | InputError]]:
    """Calls a function on the volumes of each file, so that a file is read once.

    Few results are in memory at once, however many files there are.

    Args:
        read: What is called, in threads.
        volumes: Those of one file follow each other.
        title: Names the progress bar, which is shown on standard error after 5 s.
        progress: Whether there is a bar.
        processes: Whether many files are read in processes, on all cores. `read` and
            its results must be such as can be pickled.

    Yields:
        The volumes of each file in their order, with the result. An `InputError` that
        `read` raises takes its place. If the caller stops early, no more are read.
    """
    # Windows has other pipes, and reads in threads.
    groups = itertools.groupby(volumes, lambda volume: volume.image_paths)
    files = [list(group) for _, group in groups]
    number, cores = min(8, os.cpu_count() or 1), count_cores()
    with contextlib.ExitStack() as stack:
        call = read
        if processes and len(files) >= MANY and cores > 1 and os.name == "posix":
            number = min(8, cores)  # each has a scan in memory
            call = stack.enter_context(_in_processes(read, number))
        executor = stack.enter_context(concurrent.futures.ThreadPoolExecutor(number))
        bar = stack.enter_context(
            open_progress_bar(
                len(files), description=title, unit="scan", delay_s=5, show=progress
            )
        )
        following = iter(files)
        waiting: collections.deque = collections.deque()
        try:
            for file in itertools.islice(following, _AHEAD * number):
                waiting.append((file, executor.submit(call, file)))
            while waiting:
                file, future = waiting.popleft()
                try:
                    result: Result | InputError = future.result()
                except InputError as error:
                    result = error
                del future
                for other in itertools.islice(following, 1):
                    waiting.append((other, executor.submit(call, other)))
                yield file, result
                bar.update()
        finally:
            executor.shutdown(cancel_futures=True)


def count_cores() -> int:
    """Counts the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def _in_processes(
    read: Callable[[Sequence[VolumeFile]], Result], number: int
) -> Iterator[Callable[[Sequence[VolumeFile]], Result]]:
    """Gives a function that has the same results, from one of several processes."""
    free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    workers = [Worker() for _ in range(number)]
    for worker in workers:
        free.put(worker)

    def call(file: Sequence[VolumeFile]) -> Result:
        worker = free.get()
        try:
            return worker.call(read, file)
        finally:
            free.put(worker)

    try:
        yield call
    finally:
        for worker in workers:
            worker.close()
