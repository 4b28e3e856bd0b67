"""The choice of patients and slices that a picture shows."""

from collections.abc import Collection, Sequence
from typing import TypeVar

import numpy as np

from pix2rep_jax.data.dataset import Dataset
from pix2rep_jax.data.files.labels import UNLABELLED, foreground

__all__ = [
    "by_group",
    "first_volumes",
    "middle_slice",
    "spread",
    "take_windows",
]

T = TypeVar("T")


def spread(items: Sequence[T], number: int) -> list[T]:
    """Takes `number` items evenly from first to last, or all if there are fewer."""
    if len(items) <= number:
        return list(items)
    return [
        items[i] for i in np.linspace(0, len(items) - 1, number).round().astype(int)
    ]


def first_volumes(
    dataset: Dataset, patients: Collection[str], *, labeled: bool
) -> list[int]:
    """Finds the first volume of each patient, which in ACDC is end diastole.

    Args:
        dataset: Holds the volumes.
        patients: Names of the patients.
        labeled: Whether to take only volumes with an expert's mask.

    Returns:
        Indices into `dataset.volumes`, ascending.
    """
    first: dict[str, int] = {}
    shown = set(dataset.volume_index.tolist())
    for index, volume in enumerate(dataset.volumes):
        fits = volume.label_path is not None or not labeled
        if index in shown and fits and volume.patient in patients:
            first.setdefault(volume.patient, index)
    return list(first.values())


def by_group(dataset: Dataset, volumes: Sequence[int], *, number: int) -> list[int]:
    """Takes the first volume of each pathology, or evenly if no pathology is known.

    Args:
        dataset: Holds the volumes.
        volumes: Indices into `dataset.volumes`.
        number: Largest number of volumes.
    """
    first: dict[str, int] = {}
    for index in volumes:
        first.setdefault(dataset.volumes[index].group, index)
    if len(first) < 2:
        return spread(volumes, number)
    return [first[group] for group in sorted(first)][:number]


def take_windows(
    dataset: Dataset, slices: Sequence[int], *, side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts what a picture shows out of slices: a window around their structures.

    Args:
        dataset: Holds the slices.
        slices: Indices into `dataset.images`.
        side: Rows and columns of a window, px. Crops of that size stay as they are.

    Returns:
        Images `[slices, side, side, channels]`, labels `[slices, side, side]`, and the
        boxes `[slices, 4]` in the windows. A slice without a structure is cut about
        the middle of its scan.
    """
    if dataset.images.shape[1:3] == (side, side):
        return dataset.images[slices], dataset.labels[slices], dataset.boxes[slices]
    images, labels, boxes = [], [], []
    for index in slices:
        label, box = dataset.labels[index], dataset.boxes[index]
        cut, moved = [], []
        shown = foreground(label)
        for axis, length in enumerate(label.shape):
            lines = np.flatnonzero(shown.any(1 - axis))
            ends = lines[[0, -1]] if len(lines) else box[2 * axis : 2 * axis + 2]
            start = int(np.clip(ends.sum() // 2 + 1 - side // 2, 0, length - side))
            cut.append(slice(start, start + side))
            inside = box[2 * axis : 2 * axis + 2] - start
            moved += np.clip(inside, 0, side - 1).tolist()
        images.append(dataset.images[index][cut[0], cut[1]])
        labels.append(label[cut[0], cut[1]])
        boxes.append(moved)
    return np.stack(images), np.stack(labels), np.array(boxes, dataset.boxes.dtype)


def middle_slice(dataset: Dataset, volume: int) -> int:
    """Finds the middle one of a volume's slices that show a structure.

    Args:
        dataset: Holds the slices.
        volume: Index into `dataset.volumes`. The volume has slices.

    Returns:
        Index into `dataset.images`. If other slices show more structures, it is the
        middle one of those that show most. Without an expert's mask, or if the mask is
        empty, it is the middle one of all slices.
    """
    rows = np.flatnonzero(dataset.volume_index == volume)
    shown = np.array(
        [len({*np.unique(label)} - {0, UNLABELLED}) for label in dataset.labels[rows]]
    )
    if shown.any():
        rows, shown = rows[shown > 0], shown[shown > 0]
    middle = len(rows) // 2
    if shown[middle] < shown.max():
        rows = rows[shown == shown.max()]
        middle = len(rows) // 2
    return int(rows[middle])
