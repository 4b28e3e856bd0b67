"""In-context segmentation: a pixel takes the class of the support pixels like it.

Nothing is trained. The support is a few scans with masks; every pixel of another scan
is compared with their pixels, by the embeddings of a pretrained network.

Reference: Pix2Rep-v2, MICCAI 2026, arXiv 2609.01427.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pix2rep_jax.inference.nearest_pixels import (
    SupportPixels,
    choose_pixels,
    find_nearest,
    join_support,
    to_unit_length,
    vote,
)
from pix2rep_jax.inference.pixel_embeddings import EMBEDDINGS, SLICES_AT_ONCE
from pix2rep_jax.inference.predict import slices_at_once
from pix2rep_jax.runtime.config_checks import (
    above_zero,
    all_of,
    anything,
    choice,
    not_below_zero,
    whole_numbers,
)

__all__ = [
    "SETTINGS",
    "Options",
    "embed_support",
    "find_frame",
    "make_support_predict",
    "part_size",
    "predict_by_support",
    "propagate",
    "read_options",
]

Embed = Callable[[np.ndarray], np.ndarray]
"""Maps images `[slices, height, width, channels]` to `[slices, height, width, d]`."""

SETTINGS = {
    "embedding": choice(*EMBEDDINGS),
    "neighbours": all_of(whole_numbers, above_zero),
    "temperature": not_below_zero,
    "most_pixels": all_of(whole_numbers, above_zero),
    "own_frame": anything,
}
"""The configuration's section `context`."""


class Options(NamedTuple):
    """How pixels are compared.

    Attributes:
        embedding: "features" or "projection".
        neighbours: k, the support pixels that vote on a pixel.
        temperature: As for `nearest_pixels.vote`.
        most_pixels: Largest number of support pixels of one class.
    """

    embedding: str = "features"
    neighbours: int = 63
    temperature: float = 0.0
    most_pixels: int = 10_000


def read_options(config: Mapping[str, Any]) -> Options:
    """Reads the section `context`, which runs of earlier versions do not have."""
    section = config.get("context", {})
    return Options(**{x: section[x] for x in Options._fields if x in section})


def embed_support(
    embed: Embed,
    images: np.ndarray,
    labels: np.ndarray,
    boxes: np.ndarray,
    *,
    most_pixels: int,
) -> SupportPixels:
    """Embeds the pixels of masked slices, a few slices at a time.

    Args:
        embed: The network.
        images: `[slices, height, width, channels]`.
        labels: `[slices, height, width]` classes.
        boxes: `[slices, 4]`, the pixels that lie in the scan, as in `Dataset`.
        most_pixels: As in `Options`.
    """
    chosen = choose_pixels(labels, boxes, most_pixels=most_pixels)
    size, vectors = math.prod(labels.shape[1:]), []
    for some in _parts(images):
        found = embed(images[some])
        found = found.reshape(-1, found.shape[-1])
        places = chosen.places - some.start * size
        vectors.append(found[places[(places >= 0) & (places < len(found))]])
    return SupportPixels(
        to_unit_length(np.concatenate(vectors)), chosen.labels, chosen.weights
    )


def make_support_predict(
    embed: Embed,
    images: np.ndarray,
    labels: np.ndarray,
    boxes: np.ndarray,
    *,
    num_classes: int,
    options: Options,
) -> Callable[[np.ndarray], np.ndarray]:
    """Embeds masked slices, and makes the function that predicts other slices by them.

    Args:
        embed: The network.
        images: `[slices, height, width, channels]`.
        labels: As for `embed_support`.
        boxes: As for `embed_support`.
        num_classes: Background included.
        options: How pixels are compared.

    Returns:
        `predict_by_support` as a function of slices alone.
    """
    support = embed_support(
        embed, images, labels, boxes, most_pixels=options.most_pixels
    )
    return functools.partial(
        predict_by_support, embed, support, num_classes=num_classes, options=options
    )


def predict_by_support(
    embed: Embed,
    support: SupportPixels,
    images: np.ndarray,
    *,
    num_classes: int,
    options: Options,
) -> np.ndarray:
    """Predicts slices by the votes of their nearest support pixels.

    Args:
        embed: The network.
        support: At least one pixel.
        images: `[slices, height, width, channels]`.
        num_classes: Background included.
        options: How pixels are compared.

    Returns:
        Probabilities `[slices, height, width, num_classes]`, the shares of the votes.
    """
    return np.concatenate(
        [
            _ask(embed(images[some]), support, num_classes, options)
            for some in _parts(images)
        ]
    )


def propagate(
    embed: Embed,
    frames: np.ndarray,
    labels: np.ndarray,
    boxes: np.ndarray,
    *,
    start: int,
    num_classes: int,
    options: Options,
    advance: Callable[[], object] = lambda: None,
) -> np.ndarray:
    """Takes the mask of one frame through the others, forwards and backwards in time.

    A frame's support is the masked frame with its true classes, and the frame before it
    with the predicted ones.

    Args:
        embed: The network.
        frames: `[frames, slices, height, width, channels]`.
        labels: `[slices, height, width]`, the classes of the frame `start`.
        boxes: `[slices, 4]`, as for `embed_support`.
        start: The frame with a mask, from 0.
        num_classes: Background included.
        options: How pixels are compared.
        advance: Is called after each frame.

    Returns:
        Probabilities `[frames, slices, height, width, num_classes]`. The masked frame
        has its own classes.
    """
    result = np.zeros((*frames.shape[:4], num_classes), np.float32)
    known = np.arange(num_classes)
    result[start] = np.where(labels < num_classes, labels, 0)[..., None] == known
    true = _support_of(embed(frames[start]), labels, boxes, options)
    for way in (range(start + 1, len(frames)), range(start - 1, -1, -1)):
        support = true
        for frame in way:
            vectors = embed(frames[frame])
            result[frame] = _ask(vectors, support, num_classes, options)
            predicted = result[frame].argmax(-1)
            previous = _support_of(vectors, predicted, boxes, options)
            support = join_support(true, previous)
            advance()
    return result


def find_frame(frames: np.ndarray, images: np.ndarray) -> int | None:
    """Finds the frame that shows exactly what other images show.

    Args:
        frames: `[frames, slices, height, width, channels]`.
        images: `[slices, height, width, channels]`.

    Returns:
        Its number from 0; None if there is no such frame.
    """
    if frames.shape[1:] != images.shape:
        return None
    alike = (number for number, each in enumerate(frames) if _are_equal(each, images))
    return next(alike, None)


def _are_equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether images in [0, 1] differ by rounding at most."""
    rounding = max(1e-5, float(np.finfo(one.dtype).eps))  # float16 for whole slices
    return bool(np.allclose(one, other, rtol=0, atol=rounding))


def _support_of(
    vectors: np.ndarray, labels: np.ndarray, boxes: np.ndarray, options: Options
) -> SupportPixels:
    """Makes support pixels of embeddings `[slices, height, width, d]`."""
    chosen = choose_pixels(labels, boxes, most_pixels=options.most_pixels)
    found = vectors.reshape(-1, vectors.shape[-1])[chosen.places]
    return SupportPixels(to_unit_length(found), chosen.labels, chosen.weights)


def _ask(
    vectors: np.ndarray, support: SupportPixels, num_classes: int, options: Options
) -> np.ndarray:
    """Returns the shares of the votes of embeddings `[slices, height, width, d]`."""
    pixels = vectors.reshape(-1, vectors.shape[-1])
    found = find_nearest(pixels, support, neighbours=options.neighbours)
    shares = vote(found, num_classes=num_classes, temperature=options.temperature)
    return shares.reshape(*vectors.shape[:-1], num_classes)


def part_size(shape: Sequence[int]) -> int:
    """Says how many slices `(height, width)` are embedded together."""
    return slices_at_once(SLICES_AT_ONCE, shape)


def _parts(images: np.ndarray) -> Sequence[slice]:
    """Divides slices into parts that are embedded together."""
    number = part_size(images.shape[1:3])
    return [slice(x, x + number) for x in range(0, len(images), number)]
