"""Pixels and slices that nobody has labelled, and what marks them in a mask."""

import numpy as np

__all__ = ["EMPTY_SLICES", "UNLABELLED", "describe_empty", "foreground", "mark_slices"]

UNLABELLED = 255
"""Label of a pixel without an expert's opinion; losses and scores leave it out."""

EMPTY_SLICES = ("auto", "background", "unannotated")
"""What empty slices beside annotated ones may be: `data.empty_slices`."""


def foreground(label: np.ndarray) -> np.ndarray:
    """Finds the pixels on which an expert drew a structure.

    Args:
        label: Classes, with `UNLABELLED`.

    Returns:
        Bool of the same shape.
    """
    return ~np.isin(label, (0, UNLABELLED))


def mark_slices(label: np.ndarray, empty_slices: str) -> np.ndarray:
    """Marks the empty slices of a mask that nobody has annotated.

    A slice is empty if all its pixels are background. With "auto", empty slices above
    and below a structure are background, because a structure ends somewhere. An empty
    slice between two annotated ones means that slices were skipped, as where every
    third slice is annotated. Then nobody looked at any of the empty slices.

    Args:
        label: `[rows, columns, slices]` uint8 classes, with `UNLABELLED`.
        empty_slices: One of `EMPTY_SLICES`.

    Returns:
        The mask itself, or a copy in which all pixels of unannotated slices are
        `UNLABELLED`. A mask that shows no structure at all stays as it is.
    """
    empty = np.asarray(~label.any((0, 1)))
    drawn = np.flatnonzero(foreground(label).any((0, 1)))
    if empty_slices == "background" or not (len(drawn) and empty.any()):
        return label
    if empty_slices == "auto" and not empty[drawn[0] : drawn[-1]].any():
        return label
    marked = label.copy()
    marked[..., empty] = UNLABELLED
    return marked


def describe_empty(label: np.ndarray) -> tuple[str, ...]:
    """Names what slices without a structure are in a mask that shows one.

    Args:
        label: `[rows, columns, slices]` classes, from `mark_slices`.

    Returns:
        "empty_background" if some are background alone, and "empty_unannotated" if
        some have no label at all.
    """
    if not foreground(label).any():
        return ()
    blank = (label == UNLABELLED).all((0, 1))
    found = {
        "empty_background": ~label.any((0, 1)),
        "empty_unannotated": blank,
    }
    return tuple(key for key, slices in found.items() if slices.any())
