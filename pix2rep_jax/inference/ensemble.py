"""Several networks as one: the mean of their probabilities."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pix2rep_jax.data.slices import resample
from pix2rep_jax.data.slices.grid import Grid
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.predict import restore_scan
from pix2rep_jax.runs.run_record import RunRecord

__all__ = [
    "Prediction",
    "average_networks",
    "check_same_task",
    "mean_labels",
    "mean_slice",
    "mean_slices",
    "slice_by_slice",
]


class Prediction(NamedTuple):
    """What networks of one grid say of a scan.

    Attributes:
        probabilities: `[height, width, num_classes]` for each slice, frame by frame.
            They may be computed while they are used, because all of them would fill the
            memory.
        grid: The grid on which all of them were sampled.
        weight: How many networks these are the mean of.
    """

    probabilities: Iterable[np.ndarray]
    grid: Grid
    weight: int = 1


def average_networks(
    networks: Sequence[Callable[[np.ndarray], np.ndarray]],
) -> Callable[[np.ndarray], np.ndarray]:
    """Averages the probabilities of networks that see the same slices.

    Args:
        networks: Each maps slices `[slices, height, width, channels]` to probabilities
            `[slices, height, width, num_classes]`.
    """
    if len(networks) == 1:
        return networks[0]

    def averaged(images: np.ndarray) -> np.ndarray:
        each = (network(images) for network in networks)
        return functools.reduce(np.add, each) / np.float32(len(networks))

    return averaged


def mean_slice(
    predictions: Sequence[Prediction], index: int, classes: slice = slice(None)
) -> np.ndarray:
    """Takes the probabilities of a slice to the scan's grid, and averages them.

    Args:
        predictions: One for each grid, at least one; all of a sequence of slices.
        index: Which slice, frame by frame.
        classes: Those that are wanted.

    Returns:
        float32 `[rows, columns, classes]`. Where a network saw nothing, background has
        probability 1 for it.
    """

    def restore(each: Prediction) -> np.ndarray:
        assert isinstance(each.probabilities, Sequence | np.ndarray)
        part = each.probabilities[index][..., classes]
        restored = resample.restore_probabilities(part, each.grid)
        if classes.start:  # the first of these classes is not the background
            restored[..., 0] *= each.grid.is_seen(0)[:, None] & each.grid.is_seen(1)
        return restored * np.float32(each.weight)

    total = functools.reduce(np.add, map(restore, predictions))
    return total / np.float32(sum(each.weight for each in predictions))


def slice_by_slice(predictions: Sequence[Prediction]) -> Iterator[list[Prediction]]:
    """Yields the predictions of each slice alone, in their order."""
    slices = zip(*(each.probabilities for each in predictions), strict=True)
    for parts in slices:
        yield [
            each._replace(probabilities=[part])
            for each, part in zip(predictions, parts, strict=True)
        ]


def mean_slices(predictions: Sequence[Prediction]) -> Iterator[np.ndarray]:
    """Yields what `mean_slice` gives for each slice, in their order."""
    return (mean_slice(each, 0) for each in slice_by_slice(predictions))


def mean_labels(
    predictions: Sequence[Prediction], *, shape: Sequence[int]
) -> np.ndarray:
    """Takes the mean of probabilities on the scan's grid, and the most probable class.

    Args:
        predictions: One for each grid, at least one.
        shape: `(rows, columns, slices)`, or with a fourth axis of frames.

    Returns:
        uint8 of that shape.
    """
    if len(predictions) == 1:
        (only,) = predictions
        return restore_scan(only.probabilities, only.grid, shape=shape)
    labels = np.zeros(shape, np.uint8, order="F")  # as NIfTI stores them
    slices = labels.reshape(*shape[:2], -1, order="F")
    for index, each in enumerate(mean_slices(predictions)):
        slices[..., index] = each.argmax(-1)
    return labels


def check_same_task(
    configs: Mapping[Path, Mapping[str, Any]], records: Mapping[Path, RunRecord]
) -> None:
    """Checks that networks segment the same classes of the same kind of scans.

    Args:
        configs: The whole configurations of the networks' runs by folder.
        records: What run.json of each holds.

    Raises:
        InputError: If two differ in classes, channels, kind of file or slices; names
            both.
    """
    first, *others = configs
    for run in others:
        for what in _TASK:
            one, other = (_TASK[what](configs[x], records[x]) for x in (first, run))
            if one != other:
                raise InputError(
                    f"the networks in {first} and {run} cannot be an ensemble, because "
                    f"their {what} differ ({one} and {other}): name networks that were "
                    "trained for the same task by --workdir"
                )


_TASK: Mapping[str, Callable[[Mapping[str, Any], RunRecord], Any]] = {
    "classes": lambda config, _: ",".join(config["data"]["classes"]),
    "numbers of channels": lambda _, record: record.inputs.channels,
    "numbers of files per scan": lambda _, record: record.inputs.files,
    "kinds of files": lambda _, record: (
        "pictures" if record.inputs.pictures else "NIfTI"
    ),
    "axes of slices": lambda config, record: (
        f"{record.slice_axis.axis} {record.slice_axis.anatomy}".strip()
    ),
    "settings data.orientation": lambda config, _: config["data"]["orientation"],
}
"""What all networks of an ensemble must have alike, by its name in the message."""
