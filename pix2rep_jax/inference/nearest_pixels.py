"""The support pixels that are nearest to each pixel, and their vote on its class.

Pixels are compared by the cosine similarity of their embeddings. The similarities are
matrix products of blocks, so the matrix of all pairs is never in memory.
"""

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.models.batch_norm import in_boxes
from pix2rep_jax.runtime.compiler import compiler_options

__all__ = [
    "ChosenPixels",
    "Neighbours",
    "SupportPixels",
    "choose_pixels",
    "find_nearest",
    "join_support",
    "to_unit_length",
    "vote",
]

QUERY_BLOCK = 128
"""Query pixels that are compared at once."""

SUPPORT_BLOCK = 65536
"""Largest number of support pixels that are compared at once, with `QUERY_BLOCK` in
32 MB. Every block sorts anew, so few long blocks are faster than many short ones.
"""

_CHUNK = 32
"""Columns whose largest similarity is found first, because sorting all is slow."""

_STEP = 2048
"""A block is filled up to a multiple of this, or of a chunk if the support is smaller
than that, so that few programs are compiled.
"""

_PIXELS_AT_ONCE = 2**22
"""Pixels of masks that are looked at at once: 64 slices of 256 x 256."""


class SupportPixels(NamedTuple):
    """Pixels whose class is known.

    Attributes:
        vectors: `[pixels, d]` float32, embeddings of length 1.
        labels: `[pixels]` uint8 classes.
        weights: `[pixels]` float32, how many pixels of the scans each stands for.
    """

    vectors: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


class ChosenPixels(NamedTuple):
    """Some pixels of slices, in their order.

    Attributes:
        places: `[pixels]` int64, their indices in the flattened array.
        labels: `[pixels]` classes.
        weights: `[pixels]` float32, how many pixels each stands for.
    """

    places: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


class Neighbours(NamedTuple):
    """The nearest support pixels of each query pixel, the nearest first.

    Attributes:
        similarities: `[pixels, k]` float32 cosines.
        labels: `[pixels, k]` uint8 classes.
        weights: `[pixels, k]` float32, as in `SupportPixels`.
    """

    similarities: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


def choose_pixels(
    labels: np.ndarray, boxes: np.ndarray, *, most_pixels: int, seed: int = 0
) -> ChosenPixels:
    """Chooses the pixels that new pixels are compared with, a bounded number per class.

    A part of the slices is looked at at a time: first to count the pixels of each
    class, then to find those that were drawn.

    Args:
        labels: `[slices, height, width]` classes. Pixels with 255 (`UNLABELLED`) are
            left out.
        boxes: `[slices, 4]`, the pixels that lie in the scan, as in `Dataset`. Padding
            is left out.
        most_pixels: Largest number of pixels of one class. If there are more they are
            drawn at random.
        seed: Seed of the draw.
    """
    generator = np.random.default_rng(seed)
    counts = np.zeros(UNLABELLED + 1, np.int64)
    for _, part in _usable_parts(labels, boxes):
        counts += np.bincount(part, minlength=len(counts))
    counts[UNLABELLED] = 0
    # Of each class the numbers of those that are drawn, as its pixels come.
    drawn = {
        value: np.sort(generator.choice(count, most_pixels, replace=False))
        if count > most_pixels
        else np.arange(count)
        for value, count in enumerate(counts.tolist())
        if count
    }
    places, seen = {value: [np.zeros(0, np.int64)] for value in drawn}, counts * 0
    for start, part in _usable_parts(labels, boxes):
        for value, numbers in drawn.items():
            found = np.flatnonzero(part == value)
            ends = np.searchsorted(numbers, seen[value] + np.array([0, len(found)]))
            chosen = numbers[ends[0] : ends[1]] - seen[value]
            places[value].append(start + found[chosen])
            seen[value] += len(found)
    joined = {value: np.concatenate(each) for value, each in places.items()}
    parts = [
        ChosenPixels(
            each,
            np.full(len(each), value, labels.dtype),
            np.full(len(each), counts[value] / len(each), np.float32),
        )
        for value, each in joined.items()
    ]
    nothing = ChosenPixels(
        np.zeros(0, np.int64), np.zeros(0, labels.dtype), np.zeros(0, np.float32)
    )
    result = [np.concatenate(each) for each in zip(nothing, *parts, strict=True)]
    order = np.argsort(result[0])
    return ChosenPixels(*(each[order] for each in result))


def _usable_parts(
    labels: np.ndarray, boxes: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the first place of some slices, and their labels in one row.

    What lies outside of the boxes is `UNLABELLED`.
    """
    size = math.prod(labels.shape[1:])
    number = max(1, _PIXELS_AT_ONCE // size)
    for first in range(0, len(labels), number):
        rows = slice(first, first + number)
        inside = in_boxes(boxes[rows], *labels.shape[1:])
        yield first * size, np.where(inside, labels[rows], UNLABELLED).reshape(-1)


def join_support(*parts: SupportPixels) -> SupportPixels:
    """Joins the support pixels of several scans or frames."""
    return SupportPixels(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def to_unit_length(vectors: np.ndarray) -> np.ndarray:
    """Divides vectors `[..., d]` by their length; a vector of zeros stays as it is."""
    vectors = np.asarray(vectors, np.float32)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(length, np.finfo(np.float32).tiny)


def find_nearest(
    queries: np.ndarray,
    support: SupportPixels,
    *,
    neighbours: int,
    query_block: int = QUERY_BLOCK,
    support_block: int = SUPPORT_BLOCK,
) -> Neighbours:
    """Finds the most similar support pixels of each query pixel, exactly.

    At most `query_block * support_block` similarities are in memory. Of equally similar
    pixels those that stand first in the support count.

    Args:
        queries: `[pixels, d]` embeddings of any length.
        support: At least one pixel.
        neighbours: k; all support pixels if there are fewer.
        query_block: Query pixels per product.
        support_block: Largest number of support pixels per product.
    """
    count = len(support.labels)
    k = min(neighbours, count)
    step = _STEP if count > _STEP else _CHUNK
    share = -(-count // -(-count // support_block))  # alike, so that little is filled
    block = min(support_block, share + -share % step)
    vectors = np.pad(support.vectors, ((0, -count % block), (0, 0)))
    blocks = jnp.asarray(vectors.reshape(-1, block, vectors.shape[-1]))
    queries = to_unit_length(queries)
    padded = np.pad(queries, ((0, -len(queries) % query_block), (0, 0)))
    search = _compile_search()
    found = [
        search(part, blocks, count, k=k)
        for part in padded.reshape(-1, query_block, padded.shape[-1])
    ]
    similarities, places = (
        np.concatenate([np.asarray(each) for each in part])[: len(queries)]
        for part in zip(*found, strict=True)
    )
    return Neighbours(similarities, support.labels[places], support.weights[places])


def vote(
    found: Neighbours, *, num_classes: int, temperature: float = 0.0
) -> np.ndarray:
    """Computes the share of the votes that each class has.

    Args:
        found: The neighbours of each pixel. A neighbour has as many votes as the pixels
            that it stands for.
        num_classes: Background included.
        temperature: A neighbour of similarity s has exp(s / temperature) times as many.
            With 0 similarities do not count.

    Returns:
        `[pixels, num_classes]` float32, which sum to 1.
    """
    votes = found.weights
    if temperature > 0:
        below = found.similarities - found.similarities[:, :1]  # 0 for the nearest
        votes = votes * np.exp(below / temperature)
    shares = np.stack(
        [(votes * (found.labels == each)).sum(1) for each in range(num_classes)], -1
    )
    return (shares / votes.sum(1, keepdims=True)).astype(np.float32)


@functools.cache
def _compile_search():
    """Compiles the search in all blocks, on the first use."""
    return jax.jit(_search, static_argnames="k", compiler_options=compiler_options())


def _search(
    queries: jax.Array, blocks: jax.Array, count: jax.Array, *, k: int
) -> tuple[jax.Array, jax.Array]:
    """Finds the k nearest of the first `count` rows of `blocks` `[blocks, rows, d]`.

    Returns:
        Similarities and places, both `[queries, k]`.
    """
    number, rows, _ = blocks.shape

    def add_block(best, item):
        vectors, start = item
        similarities = jnp.matmul(
            queries, vectors.T, precision=jax.lax.Precision.HIGHEST
        )
        found, index = _largest(similarities, count - start, min(k, rows))
        joined = jnp.concatenate([best[0], found], -1)
        places = jnp.concatenate([best[1], start + index], -1)
        values, chosen = jax.lax.top_k(joined, k)  # of equal ones the first
        return (values, jnp.take_along_axis(places, chosen, -1)), None

    nothing = jnp.full((len(queries), k), -jnp.inf), jnp.zeros((len(queries), k), int)
    best, _ = jax.lax.scan(add_block, nothing, (blocks, rows * jnp.arange(number)))
    return best


def _largest(
    values: jax.Array, count: jax.Array, k: int
) -> tuple[jax.Array, jax.Array]:
    """Finds the k largest of the first `count` columns, faster than `lax.top_k`.

    The k largest values lie in the k chunks with the largest maxima. One more chunk is
    looked at, because padding may be the maximum of the last one.
    """
    height, width = values.shape
    if width % _CHUNK or (k + 1) * _CHUNK * 2 > width:
        there = jnp.arange(width) < count
        return jax.lax.top_k(jnp.where(there[None], values, -jnp.inf), k)
    chunks = values.reshape(height, -1, _CHUNK)
    firsts = jnp.arange(0, width, _CHUNK)
    maxima = jnp.where((firsts < count)[None], chunks.max(-1), -jnp.inf)
    _, chosen = jax.lax.top_k(maxima, k + 1)
    chosen = jnp.sort(chosen, -1)  # so that of equal values the first counts
    kept = jnp.take_along_axis(chunks, chosen[..., None], 1)
    places = chosen[..., None] * _CHUNK + jnp.arange(_CHUNK)[None, None]
    kept = jnp.where(places < count, kept, -jnp.inf).reshape(height, -1)
    found, index = jax.lax.top_k(kept, k)
    return found, jnp.take_along_axis(places.reshape(height, -1), index, -1)
