"""How far a pretraining is, without labels: pixels found again in the other view."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from pix2rep_jax.losses.rows import dot, normalise
from pix2rep_jax.methods.pretraining.pixel_pairs import choose_points
from pix2rep_jax.runtime.compiler import compiler_options, once_options
from pix2rep_jax.training.state import TrainState
from pix2rep_jax.views.sampling import make_views

__all__ = ["REACH", "make_watch", "neighbour_rate"]

REACH = 2.0
"""A pixel is found if its nearest neighbour lies within so many px of its own place."""

_POINTS = 128
"""Pixels that are looked for in each slice."""

_SEED = 0
"""Draws the same views and pixels in all runs, so that curves compare."""


def neighbour_rate(
    embedded: jax.Array,
    queries: jax.Array,
    places: jax.Array,
    valid: jax.Array,
    *,
    reach: float = REACH,
) -> jax.Array:
    """Computes the share of pixels that are found in the other view of their slice.

    A pixel is looked for among all pixels of that view, by cosine similarity.

    Args:
        embedded: `[batch, height, width, d]`, the embeddings of view a.
        queries: `[batch, M, d]`, those of M pixels of view b.
        places: `[batch, M, 2]`, where these pixels lie in view a (row, column; px).
        valid: `[batch, M]` bool, which of them count.
        reach: Largest distance to the right place (px of the network's grid).

    Returns:
        A scalar between 0 and 1; 0 if no pixel counts.
    """
    width = embedded.shape[2]

    def found(item: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        candidates, queries, places = item
        candidates = candidates.reshape(-1, candidates.shape[-1])
        nearest = dot(normalise(queries), normalise(candidates).T).argmax(-1)
        at = jnp.stack([nearest // width, nearest % width], axis=-1)
        return jnp.square(at - places).sum(-1) <= reach**2

    # One slice after another, so that one matrix of similarities is in memory.
    hits = jax.lax.map(found, (embedded, queries, places))
    return jnp.where(valid, hits, False).sum() / jnp.maximum(valid.sum(), 1)


def make_watch(
    net: nn.Module,
    samples: Mapping[str, np.ndarray],
    *,
    spatial: Mapping[str, Any],
    intensity: Mapping[str, Any],
) -> Callable[[TrainState], dict[str, float]]:
    """Makes a function that measures a state on slices with fixed views.

    The network normalises by its running averages, as it will where it is used.

    Args:
        net: f and g, as `Pix2RepNet`.
        samples: "image" `[slices, height, width, channels]` and "box" `[slices, 4]`.
        spatial: Options of `affine.sample_sources`: φ.
        intensity: Options of `intensity.random_intensity`: t and t'.

    Returns:
        A function from a state to "neighbour_rate".
    """

    @functools.partial(jax.jit, compiler_options=once_options())
    def draw(image: jax.Array, box: jax.Array):
        view_key, point_key = jax.random.split(jax.random.key(_SEED))
        views = make_views(view_key, image, box, spatial=spatial, intensity=intensity)
        number = min(_POINTS, image.shape[1] * image.shape[2])
        points, valid = choose_points(point_key, views.valid, number)
        sources = views.sources.reshape(len(image), -1, 2)
        places = jnp.take_along_axis(sources, points[..., None], axis=1)
        return views.view_a, views.view_b, points, places, valid

    # At the first measurement, so that the first step need not wait for it.
    @functools.cache
    def fixed() -> tuple[np.ndarray, ...]:
        # On the host: a network may lie on devices of several processes.
        return tuple(map(np.asarray, draw(samples["image"], samples["box"])))

    def measure(variables: Any, view_a, view_b, points, places, valid) -> jax.Array:
        def features(image: jax.Array) -> Any:
            return net.apply(variables, image, train=False, method="features")

        def project(features: jax.Array) -> Any:
            embedded: Any = net.apply(variables, features, method="project")
            return embedded.astype(jnp.float32)

        flat = features(view_b)
        flat = flat.reshape(len(flat), -1, flat.shape[-1])
        queries = jnp.take_along_axis(flat, points[..., None], axis=1)
        return neighbour_rate(
            project(features(view_a)), project(queries), places, valid
        )

    run = jax.jit(measure, compiler_options=compiler_options())

    def watch(state: TrainState) -> dict[str, float]:
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        return {"neighbour_rate": float(np.asarray(run(variables, *fixed())))}

    return watch
