"""Full batches of slices that join several scans."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from pix2rep_jax.inference.predict import slices_at_once, slices_kept

__all__ = ["predict_joined"]

Item = TypeVar("Item")


def _as_it_is(item: Any, probabilities: np.ndarray) -> np.ndarray:
    """Keeps the probabilities of a slice."""
    del item
    return probabilities


def predict_joined(
    predict: Callable[[np.ndarray], np.ndarray],
    scans: Iterable[tuple[Item, np.ndarray]],
    *,
    batch_size: int,
    finish: Callable[[Item, np.ndarray], Any] = _as_it_is,
) -> Iterator[tuple[Item, list[Any] | Exception]]:
    """Predicts many scans in full batches, which join the slices of several of them.

    Args:
        predict: Maps slices `[slices, height, width, channels]` to probabilities
            `[slices, height, width, num_classes]`, each slice on its own.
        scans: Whatever tells one scan from another, and its slices
            `[slices, height, width, channels]`. There may be none.
        batch_size: Slices per batch. All calls have full batches, but for the last and
            those before slices of another size.
        finish: What is kept of a slice's probabilities: they themselves, or what takes
            less memory.

    Yields:
        Each scan with what `finish` gives for its slices, by itself the probabilities
        `[height, width, num_classes]`. It comes as soon as it is there, in the order
        of the scans. If the network fails with several scans together, each is
        predicted alone, and the exception takes the place of the results.
    """
    waiting: deque[tuple[Item, np.ndarray]] = deque()  # scans, in part predicted
    left: list[tuple[Item, np.ndarray]] = []  # their slices that are not predicted
    ready: deque[Any] = deque()  # what is kept of the others

    def advance(num_slices: int) -> Iterator[tuple[Item, list[Any] | Exception]]:
        failed: list[tuple[Item, np.ndarray]] = []
        try:
            while num_slices:
                kept = slices_kept(batch_size, left[0][1].shape)
                items, images = zip(*left[: min(num_slices, kept)], strict=True)
                results = predict(np.stack(images))
                ready.extend(map(finish, items, results))
                del left[: len(items)]
                num_slices -= len(items)
        except Exception:
            failed = [*waiting]
            for each in (waiting, left, ready):
                each.clear()
        for item, scan in failed:
            yield item, _try(predict, item, scan, finish)
        while waiting and len(ready) >= len(waiting[0][1]):
            item, scan = waiting.popleft()
            yield item, [ready.popleft() for _ in scan]

    for item, images in scans:
        if left and len(images) and images.shape[1:] != left[0][1].shape:
            yield from advance(len(left))
        waiting.append((item, images))
        left.extend((item, image) for image in images)
        at_once = slices_at_once(batch_size, images.shape[1:3])
        yield from advance(len(left) - len(left) % at_once)
    yield from advance(len(left))


def _try(
    predict: Callable[[np.ndarray], np.ndarray],
    item: Item,
    images: np.ndarray,
    finish: Callable[[Item, np.ndarray], Any],
) -> list[Any] | Exception:
    """Predicts the slices of one scan; returns what is raised instead."""
    try:
        return [finish(item, each) for each in predict(images)] if len(images) else []
    except Exception as error:
        return error
