"""Which classes are one piece in all masks of some patients."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.data.slices.volume import VolumeFile, VolumeRecord, read_expert
from pix2rep_jax.data.slices.volume_files import read_files

__all__ = ["NOTHING_KNOWN", "OnePiece", "find_one_piece", "find_pieces"]

_NEIGHBOURS = np.ones((3, 3, 3), bool)
"""Voxels that share a corner belong to one piece."""

_SEVERAL = 2
"""Number of pieces that is given for a mask whose unlabelled pixels may hide some."""


class OnePiece(NamedTuple):
    """What is one piece in every mask of some patients.

    Attributes:
        classes: Names of classes, background never.
        foreground: Whether all classes together are one piece, because they touch.
    """

    classes: tuple[str, ...] = ()
    foreground: bool = False


NOTHING_KNOWN = OnePiece()
"""Without masks."""


def find_one_piece(
    volumes: Sequence[VolumeRecord], patients: Collection[str], classes: Sequence[str]
) -> OnePiece:
    """Finds the classes with at most one piece in every mask.

    Args:
        volumes: The volumes of a data set.
        patients: Those whose masks are read.
        classes: Names of the classes, background first.

    Returns:
        Such classes that occur, and whether the foreground is one piece too.
    """
    masked = [each for each in volumes if each.patient in patients and each.label_path]
    values = range(1, len(classes))
    parts = [*((each,) for each in values), tuple(values)]
    pieces = np.zeros(len(parts), int)
    reading = read_files(
        lambda file: [_count(each, parts) for each in file],
        masked,
        title="read masks",
        progress=True,
    )
    for _, counts in reading:
        if isinstance(counts, Exception):
            raise counts
        pieces = np.maximum(pieces, np.max(counts, axis=0))
    *alone, foreground = (bool(most == 1) for most in pieces)
    found = tuple(name for name, one in zip(classes[1:], alone, strict=True) if one)
    return OnePiece(found, foreground)


def find_pieces(
    labels: np.ndarray, values: Collection[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the pieces of classes, in the box around them alone, to save memory.

    Args:
        labels: `[rows, columns, slices]` uint8.
        values: The classes. Where two of them touch they are one piece.

    Returns:
        The labels in that box, as a view, and the number of each voxel's piece, from 1;
        0 for other classes.
    """
    # Late: a run that has not trained yet need not wait for SciPy's import.
    from scipy import ndimage

    where = np.isin(labels, [*values])
    boxes = ndimage.find_objects(where.view(np.uint8))
    box = boxes[0] if boxes else (slice(0),) * 3
    return labels[box], ndimage.label(where[box], _NEIGHBOURS)[0]


def _count(volume: VolumeFile, parts: Sequence[Collection[int]]) -> list[int]:
    """Counts the pieces of each group of classes in a volume's mask."""
    assert isinstance(volume, VolumeRecord)
    labels = read_expert(volume, num_classes=1 + len(parts[-1]))
    pieces = [find_pieces(labels, each)[1].max(initial=0) for each in parts]
    if (labels == UNLABELLED).any():  # what is drawn may go on in other places
        pieces = [_SEVERAL if each else 0 for each in pieces]
    return pieces
