"""Which classes are one piece in all masks of some patients."""

from collections.abc import Collection, Sequence

import numpy as np

from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.data.slices.volume import VolumeFile, VolumeRecord, read_expert
from pix2rep_jax.data.slices.volume_files import read_files

__all__ = ["find_one_piece", "find_pieces"]

_NEIGHBOURS = np.ones((3, 3, 3), bool)
"""Voxels that share a corner belong to one piece."""

_SEVERAL = 2
"""Number of pieces that is given for a mask whose unlabelled pixels may hide some."""


def find_one_piece(
    volumes: Sequence[VolumeRecord], patients: Collection[str], classes: Sequence[str]
) -> tuple[str, ...]:
    """Finds the classes with at most one piece in every mask.

    Args:
        volumes: The volumes of a data set.
        patients: Those whose masks are read.
        classes: Names of the classes, background first.

    Returns:
        Names of such classes that occur, background never.
    """
    masked = [each for each in volumes if each.patient in patients and each.label_path]
    pieces = np.zeros(len(classes), int)
    reading = read_files(
        lambda file: [_count(each, len(classes)) for each in file],
        masked,
        title="read masks",
        progress=True,
    )
    for _, counts in reading:
        if isinstance(counts, Exception):
            raise counts
        pieces = np.maximum(pieces, np.max(counts, axis=0))
    return tuple(name for name, most in zip(classes, pieces, strict=True) if most == 1)


def find_pieces(labels: np.ndarray, value: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the pieces of a class, in the box around it alone, to save memory.

    Args:
        labels: `[rows, columns, slices]` uint8.
        value: The class.

    Returns:
        The labels in that box, as a view, and the number of each voxel's piece, from 1;
        0 for other classes.
    """
    # Late: a run that has not trained yet need not wait for SciPy's import.
    from scipy import ndimage

    where = labels == value
    boxes = ndimage.find_objects(where.view(np.uint8))
    box = boxes[0] if boxes else (slice(0),) * 3
    return labels[box], ndimage.label(where[box], _NEIGHBOURS)[0]


def _count(volume: VolumeFile, num_classes: int) -> list[int]:
    """Counts the pieces of each class in a volume's mask; 0 for background."""
    assert isinstance(volume, VolumeRecord)
    labels = read_expert(volume, num_classes=num_classes)
    pieces = [find_pieces(labels, x)[1].max(initial=0) for x in range(1, num_classes)]
    if (labels == UNLABELLED).any():  # what is drawn may go on in other places
        pieces = [_SEVERAL if each else 0 for each in pieces]
    return [0, *pieces]
