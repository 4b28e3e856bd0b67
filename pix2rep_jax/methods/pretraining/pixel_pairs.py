"""Which pixels of two views are compared, and their embeddings.

The views can be embedded everywhere, or only at the points that are compared. Then the
last convolution of f, its BatchNorm and g are computed at these points alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from pix2rep_jax.models.layers import Patches, take_patches
from pix2rep_jax.views.sampling import Views, sample_points
from pix2rep_jax.views.warp import gather_neighbours, neighbours, warp_at

__all__ = ["choose_points", "embed_at_points", "embed_everywhere", "embed_pairs"]

Reader = Callable[[jax.Array], Patches]
"""Takes patches out of the map before the last convolution of f."""


def choose_points(key: jax.Array, valid: jax.Array, num_points: int | str):
    """Samples M valid pixels of each image, or takes all pixels.

    Args:
        key: One random key.
        valid: `[batch, height, width]` bool, the pixels that may be compared.
        num_points: M, or "all".

    Returns:
        `[batch, M]` flat indices, or None for all pixels; and `[batch, M]` bool, which
        of them count.
    """
    if isinstance(num_points, str):
        return None, valid.reshape(valid.shape[0], -1)
    return sample_points(key, valid, num_points=num_points)


def embed_everywhere(
    net: nn.Module,
    variables: Mapping[str, Any],
    views: Views,
    points: jax.Array | None,
    *,
    joint: bool,
    train: bool = True,
) -> tuple[jax.Array, jax.Array, Any]:
    """Runs f over both views, and embeds them at the points.

    Args:
        net: f and g.
        variables: Their parameters, and f's BatchNorm statistics.
        views: The two views of a batch.
        points: `[batch, M]` flat indices; None for all pixels.
        joint: Whether BatchNorm normalises both views by their common statistics.
        train: Whether BatchNorm uses (and updates) the batch's statistics.

    Returns:
        The embeddings `[batch, M, d]` of view a, moved by φ, and of view b, and the
        updated statistics.
    """
    features, batch_stats = _extract(net, variables, views, joint=joint, train=train)
    features_a, features_b = features
    u, v = embed_pairs(
        net, variables["params"], features_a, features_b, views.sources, points
    )
    return u, v, batch_stats


def embed_at_points(
    net: nn.Module,
    variables: Mapping[str, Any],
    views: Views,
    points: jax.Array,
    valid: jax.Array,
    *,
    joint: bool,
    train: bool = True,
) -> tuple[jax.Array, jax.Array, Any]:
    """Runs f over both views, with its last convolution at the points alone.

    In view a these are the four pixels around each point's source. BatchNorm of that
    convolution normalises by the pixels that are read. With statistics given, the
    result equals that of `embed_everywhere`.

    Args:
        net: f and g.
        variables: Their parameters, and f's BatchNorm statistics.
        views: The two views of a batch.
        points: `[batch, M]` flat indices.
        valid: `[batch, M]` bool, which of the points count.
        joint: Whether BatchNorm normalises both views by their common statistics.
        train: Whether BatchNorm uses (and updates) the batch's statistics.

    Returns:
        As `embed_everywhere`.
    """
    *readers, weights = make_readers(views.sources, points, valid)
    pair, batch_stats = _extract(
        net, variables, views, joint=joint, train=train, readers=readers
    )
    around, others = (x.reshape(*points.shape, -1, x.shape[-1]) for x in pair)
    u, v = _interpolate(net, variables["params"], around, weights, others[:, :, 0])
    return u, v, batch_stats


def _extract(
    net: nn.Module,
    variables: Mapping[str, Any],
    views: Views,
    *,
    joint: bool,
    train: bool,
    readers: Sequence[Reader] = (),
) -> tuple[Sequence[jax.Array], Any]:
    """Runs f over both views; returns the features of each, and the statistics."""

    def run(
        batch_stats: Any, image: jax.Array, readers: Sequence[Reader], views: int = 1
    ):
        def read(hidden: jax.Array) -> list[Patches]:
            parts = _apart(hidden, len(readers))
            return [take(part) for take, part in zip(readers, parts, strict=True)]

        features, updated = net.apply(
            {**variables, "batch_stats": batch_stats},
            image,
            train=train,
            views=views,
            read=read if readers else None,
            method="features",
            mutable=["batch_stats"],
        )
        return features, updated["batch_stats"]

    batch_stats = variables["batch_stats"]
    if joint or not readers:
        # The views of an image are neighbours, so both lie on one device.
        both = jnp.stack([views.view_a, views.view_b], axis=1)
        both = both.reshape(-1, *both.shape[2:])
        features, batch_stats = run(batch_stats, both, readers, 1 if joint else 2)
        return features if readers else _apart(features, 2), batch_stats
    pair: list[jax.Array] = []
    for reader, view in zip(readers, (views.view_a, views.view_b), strict=True):
        features, batch_stats = run(batch_stats, view, [reader])
        pair += features
    return pair, batch_stats


def _apart(images: jax.Array, number: int) -> list[jax.Array]:
    """Splits maps of several views of each image into one array per view."""
    views = images.reshape(-1, number, *images.shape[1:])
    return [views[:, index] for index in range(number)]


def embed_pairs(net: nn.Module, params, features_a, features_b, sources, points):
    """Embeds a batch's points in both views: φ·(g∘f)(v) and (g∘f)(φ·v').

    g acts on each pixel alone. So φ·g(f(v)) at a point needs g only at the four pixels
    around its source. The result equals that of warping the whole map, which is what
    happens if `points` is None.

    Args:
        net: f and g.
        params: Their parameters.
        features_a: f(v), `[batch, height, width, num_features]`.
        features_b: f(φ·v'), of the same shape.
        sources: Where φ reads each pixel, `[batch, height, width, 2]` (px).
        points: `[batch, M]` flat indices; None for all pixels.

    Returns:
        Two arrays `[batch, M, d]`.
    """
    if points is None:
        embedded = _project(net, params, features_a).astype(jnp.float32)
        u, v = jax.vmap(warp_at)(embedded, sources), _project(net, params, features_b)
        return tuple(x.reshape(x.shape[0], -1, x.shape[-1]) for x in (u, v))

    def read(features_a, features_b, sources, points):
        pixels, weights = gather_neighbours(features_a, sources.reshape(-1, 2)[points])
        return pixels, weights, features_b.reshape(-1, features_b.shape[-1])[points]

    pixels, weights, others = jax.vmap(read)(features_a, features_b, sources, points)
    return _interpolate(net, params, pixels, weights, others)


def _project(net: nn.Module, params, features: jax.Array) -> Any:
    """Maps features `[..., num_features]` to embeddings `[..., d]`, by g alone."""
    return net.apply({"params": params}, features, method="project")


def _interpolate(net: nn.Module, params, around, weights, others):
    """Maps features by g, and interpolates those of view a.

    Args:
        net: f and g.
        params: Their parameters.
        around: `[batch, M, 4, num_features]`, f(v) at the four pixels around a source.
        weights: `[batch, M, 4]`, their bilinear weights.
        others: `[batch, M, num_features]`, f(φ·v').

    Returns:
        Two arrays `[batch, M, d]`.
    """
    embedded = _project(net, params, around).astype(jnp.float32)
    u = jnp.einsum("bmkd,bmk->bmd", embedded, weights, precision="highest")
    return u, _project(net, params, others)


def make_readers(sources: jax.Array, points: jax.Array, valid: jax.Array):
    """Makes the functions that read what the last convolution needs for the points.

    Args:
        sources: Where φ reads each pixel, `[batch, height, width, 2]` (px).
        points: `[batch, M]` flat indices.
        valid: `[batch, M]` bool, which of them count.

    Returns:
        A function from the map of view a to its patches around the sources, one from
        the map of view b to its patches around the points, and the bilinear weights
        `[batch, M, 4]` of the first patches' four pixels.
    """
    batch, height, width, _ = sources.shape
    read_at = jnp.take_along_axis(
        sources.reshape(batch, -1, 2), points[..., None], axis=1
    )
    corners = neighbours(read_at, height=height, width=width)
    weights = jnp.stack([weight for _, weight in corners], axis=-1)
    row, column = jnp.moveaxis(jnp.floor(read_at).astype(jnp.int32), -1, 0)
    # A source outside the image does not count, wherever its patch is read.
    row, column = jnp.clip(row, -1, height - 1), jnp.clip(column, -1, width - 1)
    low = jnp.stack([row, column], axis=-1)
    pixels = jnp.stack([points // width, points % width], axis=-1)
    counts = (weights > 0) & valid[..., None]

    def read_a(hidden: jax.Array) -> Patches:
        patches = take_patches(hidden, low - 1, side=4)
        return Patches(patches, counts.reshape(*points.shape, 2, 2))

    def read_b(hidden: jax.Array) -> Patches:
        patches = take_patches(hidden, pixels - 1, side=3)
        return Patches(patches, valid[..., None, None])

    return read_a, read_b, weights
