"""Which classes are one piece in all masks of some patients."""

import itertools
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
        classes: Names of such classes, background never.
        foreground: Whether all classes together are one piece, because they touch.
    """

    classes: tuple[str, ...] = ()
    foreground: bool = False


NOTHING_KNOWN = OnePiece()
"""What is known without masks."""


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
    *alone, foreground = (bool(most == 1) for most in pieces)
    found = tuple(name for name, one in zip(classes[1:], alone, strict=True) if one)
    return OnePiece(found, foreground)


def find_pieces(where: np.ndarray) -> tuple[tuple[slice, ...], np.ndarray]:
    """Numbers the pieces of a structure, in the box around it alone, to save memory.

    Args:
        where: `[rows, columns, slices]` bool, the structure's voxels.

    Returns:
        The box, and the number of each voxel's piece in it, from 1; 0 outside.
    """
    # Late: a run that has not trained yet need not wait for SciPy's import.
    from scipy import ndimage

    boxes = ndimage.find_objects(where.view(np.uint8))
    box = boxes[0] if boxes else (slice(0),) * 3
    return box, ndimage.label(where[box], _NEIGHBOURS)[0]


def _count(volume: VolumeFile, num_classes: int) -> list[int]:
    """Counts the pieces of each class in a volume's mask, then of the foreground."""
    assert isinstance(volume, VolumeRecord)
    labels = read_expert(volume, num_classes=num_classes)
    classes = (labels == value for value in range(1, num_classes))
    structures = itertools.chain(classes, [(labels > 0) & (labels < num_classes)])
    pieces = [find_pieces(each)[1].max(initial=0) for each in structures]
    if (labels == UNLABELLED).any():  # what is drawn may go on in other places
        pieces = [_SEVERAL if each else 0 for each in pieces]
    return pieces
