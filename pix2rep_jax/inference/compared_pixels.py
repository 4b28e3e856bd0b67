"""How alike pixels are: maps of cosine similarities, and the most similar pixels."""

from typing import NamedTuple

import numpy as np

from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.nearest_pixels import (
    SupportPixels,
    find_nearest,
    to_unit_length,
)
from pix2rep_jax.wording import count

__all__ = ["NearestPixels", "nearest_pixels", "similarity"]


class NearestPixels(NamedTuple):
    """The pixels of a target that are most like each query, the most similar first.

    Attributes:
        places: `[..., k, axes]` int64, such as slice, row and column.
        similarities: `[..., k]` float32 cosines.
    """

    places: np.ndarray
    similarities: np.ndarray


def similarity(query: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Computes the cosine similarity of pixels to all pixels of a target.

    Args:
        query: `[..., d]`, the embeddings of one or several pixels.
        target: `[slices, rows, columns, d]`, or with any other axes before the last.

    Returns:
        float32 `[..., slices, rows, columns]` in [-1, 1]; 0 where an embedding is 0,
        such as outside of the network's field of view.

    Raises:
        InputError: If these are not embeddings of the same length.

    >>> target = np.array([[[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]])
    >>> similarity(target[0, 1], target).round(3)
    array([[0.   , 1.   , 0.707]], dtype=float32)
    """
    query, target = _check(query, target)
    units = to_unit_length(query).reshape(-1, query.shape[-1])
    parts = target if target.ndim > 2 else target[None]
    parts = parts.reshape(len(parts), -1, target.shape[-1])
    result = np.empty((len(units), *parts.shape[:2]), np.float32)
    for index, part in enumerate(parts):  # a slice at a time takes little memory
        result[:, index] = units @ to_unit_length(part).T
    result = result.clip(-1, 1)
    return result.reshape(*query.shape[:-1], *target.shape[:-1])


def nearest_pixels(
    query: np.ndarray, target: np.ndarray, *, k: int = 1
) -> NearestPixels:
    """Finds the pixels of a target that are most like given pixels.

    Args:
        query: `[..., d]`, the embeddings of one or several pixels.
        target: `[slices, rows, columns, d]`, or with any other axes before the last.
        k: How many pixels; all of the target's if it has fewer.

    Returns:
        Their places and similarities. Of equally similar pixels the first counts.

    Raises:
        InputError: If these are not embeddings of the same length, or if `k` is not a
            whole number above 0.

    >>> target = np.array([[[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]])
    >>> found = nearest_pixels(np.array([0.0, 1.0]), target, k=2)
    >>> found.places.tolist(), found.similarities.round(3).tolist()
    ([[0, 1], [0, 2]], [1.0, 0.7070000171661377])
    """
    query, target = _check(query, target)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InputError(f"k is {k!r}: it must be a whole number above 0")
    vectors = to_unit_length(target).reshape(-1, target.shape[-1])
    numbers = np.arange(len(vectors))
    support = SupportPixels(vectors, numbers, np.ones(len(vectors), np.float32))
    found = find_nearest(query.reshape(-1, query.shape[-1]), support, neighbours=k)
    places = np.stack(np.unravel_index(found.labels, target.shape[:-1]), -1)
    shape = (*query.shape[:-1], found.labels.shape[-1])
    return NearestPixels(
        places.reshape(*shape, target.ndim - 1), found.similarities.reshape(shape)
    )


def _check(query: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Makes arrays of embeddings, at least one of each; raises InputError if not."""
    query, target = np.asarray(query), np.asarray(target)
    are_numbers = query.dtype.kind in "fiub" and target.dtype.kind in "fiub"
    have_axes = query.ndim > 0 and target.ndim > 1
    if not (are_numbers and have_axes and query.size and target.size):
        raise InputError(
            "embeddings must be arrays of real numbers: a query [..., d] and a target "
            f"[slices, rows, columns, d], and not {query.shape} and {target.shape}"
        )
    if query.shape[-1] != target.shape[-1]:
        raise InputError(
            f"the query's embeddings have {count(query.shape[-1], 'value')} and the "
            f"target's {target.shape[-1]}: embed both by the same network"
        )
    return query, target
