"""The two views of an image, and the points at which they are compared.

This is the paper's section 3, (1) and (2). `augment` does the same for supervised
training: one view of an image together with its labels.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.views.affine import inside, sample_sources, whole_image
from pix2rep_jax.views.intensity import random_intensity
from pix2rep_jax.views.warp import warp_at

__all__ = ["Views", "augment", "make_view_pairs", "make_views", "sample_points"]


class Views(NamedTuple):
    """Two views of a batch of images, and how they correspond.

    Attributes:
        view_a: `[batch, height, width, channels]`, t(x).
        view_b: `[batch, height, width, channels]`, φ·t'(x).
        sources: `[batch, height, width, 2]`, φ⁻¹ of every pixel of `view_b`: its array
            position in `view_a`.
        valid: `[batch, height, width]` bool, whether the source lies in the scan. The
            scan is what an image holds beside its padding.
    """

    view_a: jax.Array
    view_b: jax.Array
    sources: jax.Array
    valid: jax.Array


def make_views(
    key: jax.Array,
    image: jax.Array,
    box: jax.Array | None = None,
    *,
    spatial: Mapping[str, Any],
    intensity: Mapping[str, Any],
) -> Views:
    """Draws the two views of every image of a batch.

    Args:
        key: One random key.
        image: `[batch, height, width, channels]`, x of the paper.
        box: `[batch, 4]`, the pixels of each image that lie in the scan: first and last
            row, then first and last column. None means that no image is padded.
        spatial: Options of `affine.sample_sources`.
        intensity: Options of `intensity.random_intensity`, for both t and t'.

    Returns:
        The views. Each image has its own φ, t and t'; all are independent.

    Reference:
        Seince et al., "Dense Self-Supervised Learning for Medical Image
        Segmentation", MIDL 2024, section 3 (1) and (2).

    >>> image = jax.random.uniform(jax.random.key(0), (2, 16, 16, 1))
    >>> flip = {"flip_probability": 1.0, "max_rotation": 0.0}
    >>> flip |= {"extent": (1.0, 1.0), "max_shift": (0.0, 0.0)}
    >>> views = make_views(jax.random.key(1), image, spatial=flip, intensity={})
    >>> views.view_b.shape, views.sources.shape, bool(views.valid.all())
    ((2, 16, 16, 1), (2, 16, 16, 2), True)
    """
    height, width = image.shape[1:3]

    if box is None:
        box = jnp.tile(jnp.array(whole_image(height, width)), (image.shape[0], 1))

    def one(key: jax.Array, image: jax.Array, box: jax.Array) -> Views:
        key_a, key_b, key_phi = jax.random.split(key, 3)
        sources = sample_sources(key_phi, height=height, width=width, **spatial)
        return Views(
            view_a=random_intensity(key_a, image, **intensity),
            view_b=warp_at(random_intensity(key_b, image, **intensity), sources),
            sources=sources,
            valid=inside(sources, box),
        )

    return jax.vmap(one)(jax.random.split(key, image.shape[0]), image, box)


def make_view_pairs(
    key: jax.Array,
    image: jax.Array,
    *,
    spatial: Mapping[str, Any],
    intensity: Mapping[str, Any],
) -> jax.Array:
    """Draws two views of every image for methods that compare whole images.

    Args:
        key: One random key.
        image: `[batch, height, width, channels]`.
        spatial: Options of `affine.sample_sources`.
        intensity: Options of `intensity.random_intensity`.

    Returns:
        `[2 batch, height, width, c]`: one view of each image, then a second view of
        each. Every view is moved and changed independently.
    """
    height, width = image.shape[1:3]

    def one(key: jax.Array, image: jax.Array) -> jax.Array:
        key_phi, key_t = jax.random.split(key)
        sources = sample_sources(key_phi, height=height, width=width, **spatial)
        return warp_at(random_intensity(key_t, image, **intensity), sources)

    keys = jax.random.split(key, 2 * image.shape[0])
    return jax.vmap(one)(keys, jnp.concatenate([image, image]))


def sample_points(
    key: jax.Array, valid: jax.Array, *, num_points: int
) -> tuple[jax.Array, jax.Array]:
    """Draws distinct pixels among the valid ones of each image, all equally likely.

    They are distinct because a pixel drawn twice would be its own negative.

    Args:
        key: One random key.
        valid: `[batch, height, width]` bool.
        num_points: Number of points per image, M of the paper.

    Returns:
        `[batch, num_points]` int32 flat pixel indices, and `[batch, num_points]`
        bool, False where an image has fewer valid pixels than points.

    Raises:
        ValueError: If an image has fewer pixels than `num_points`.

    >>> valid = jnp.zeros((1, 4, 4), bool).at[0, 1, :2].set(True)
    >>> points, is_drawn = sample_points(jax.random.key(0), valid, num_points=3)
    >>> sorted(points[is_drawn].tolist()), is_drawn.tolist()
    ([4, 5], [[True, True, False]])
    """
    batch, height, width = valid.shape
    if num_points > height * width:
        raise ValueError(
            f"num_points is {num_points}, but an image of {height} x {width} px has "
            f"only {height * width} pixels: lower it, or set it to 'all'"
        )
    lottery = jax.random.uniform(key, (batch, height * width))
    lottery = jnp.where(valid.reshape(batch, -1), lottery, -1.0)
    drawn, points = jax.lax.top_k(lottery, num_points)
    return points, drawn >= 0


def augment(
    key: jax.Array,
    image: jax.Array,
    label: jax.Array,
    *,
    spatial: Mapping[str, Any] | None,
    intensity: Mapping[str, Any],
) -> tuple[jax.Array, jax.Array]:
    """Moves images with their labels, and changes the images' intensities.

    Args:
        key: One random key.
        image: `[batch, height, width, channels]`.
        label: `[batch, height, width]` integer classes. A pixel takes the label nearest
            to its source, and background (0) where the source lies outside. In an image
            with unlabelled pixels (255) nothing is labelled outside.
        spatial: Options of `affine.sample_sources`; None moves nothing.
        intensity: Options of `intensity.random_intensity`.

    Returns:
        The changed images and labels, shapes and dtypes as given.
    """
    height, width = label.shape[1:]

    def one(key: jax.Array, image: jax.Array, label: jax.Array):
        key_phi, key_t = jax.random.split(key)
        changed = random_intensity(key_t, image, **intensity)
        if spatial is None:
            return changed, label
        sources = sample_sources(key_phi, height=height, width=width, **spatial)
        nearest = jnp.round(sources).astype(jnp.int32)
        row = jnp.clip(nearest[..., 0], 0, height - 1)
        column = jnp.clip(nearest[..., 1], 0, width - 1)
        # A pixel reaches half its side beyond its centre.
        seen = inside(sources, (-0.5, height - 0.5, -0.5, width - 0.5))
        # What lies beside a slice without all its labels has none either.
        beside = jnp.where((label == UNLABELLED).any(), UNLABELLED, 0)
        moved = jnp.where(seen, label[row, column], beside).astype(label.dtype)
        return warp_at(changed, sources), moved

    return jax.vmap(one)(jax.random.split(key, image.shape[0]), image, label)
