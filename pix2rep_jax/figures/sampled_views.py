"""Two views of a few slices, sampled as training samples them, with marked points."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from pix2rep_jax.data.dataset import Dataset
from pix2rep_jax.data.split_record import Split
from pix2rep_jax.figures import selection
from pix2rep_jax.figures.views import choose_points
from pix2rep_jax.runtime.compiler import once_options
from pix2rep_jax.views.sampling import make_views, sample_points

__all__ = ["SampledViews", "sample_views", "some_slices"]

_CANDIDATES = 256


class SampledViews(NamedTuple):
    """The arguments of `draw_views`, in its order."""

    images: np.ndarray
    view_a: np.ndarray
    view_b: np.ndarray
    sources: np.ndarray
    valid: np.ndarray
    points: list[np.ndarray]


def some_slices(
    dataset: Dataset, split: Split, *, side: int, number: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Takes the middle slices of a few patients.

    Args:
        dataset: All slices.
        split: Patients of the pretraining come first, or test patients if it has none.
        side: Rows and columns of what is shown, px: those of the network's images.
        number: How many patients, at most.

    Returns:
        The slices `[number, side, side, channels]`, and their boxes `[number, 4]`.
    """
    patients = split.pretrain_patients or split.test_patients
    volumes = selection.first_volumes(dataset, patients, labeled=False)
    volumes = selection.spread(volumes, number)
    chosen = [selection.middle_slice(dataset, volume) for volume in volumes]
    images, _, boxes = selection.take_windows(dataset, chosen, side=side)
    return images.astype(np.float32, copy=False), boxes


def sample_views(
    key: jax.Array,
    images: np.ndarray,
    boxes: np.ndarray,
    *,
    spatial: Mapping[str, Any],
    intensity: Mapping[str, Any],
    num_points: int = 5,
) -> SampledViews:
    """Samples two views of images, and points that a reader can tell apart.

    Args:
        key: One random key.
        images: `[batch, height, width, channels]`. The first channel is shown.
        boxes: `[batch, 4]`, the pixels that lie in the scan, as for `make_views`.
        spatial: Options of φ, as for `make_views`.
        intensity: Options of t and t', as for `make_views`.
        num_points: How many points of each image to mark, at most.
    """
    number = min(_CANDIDATES, images[0, ..., 0].size)

    def sample(
        key: jax.Array, image: jax.Array, box: jax.Array
    ) -> tuple[jax.Array, ...]:
        view_key, point_key = jax.random.split(key)
        views = make_views(view_key, image, box, spatial=spatial, intensity=intensity)
        points, _ = sample_points(point_key, views.valid, num_points=number)
        return (views.view_a[..., 0], views.view_b[..., 0], *views[2:], points)

    drawn = jax.jit(sample, compiler_options=once_options())(key, images, boxes)
    view_a, view_b, sources, valid, points = map(np.asarray, drawn)
    marked = []
    for flat, mask, origin in zip(points, valid, sources, strict=True):
        pixels = np.stack(np.unravel_index(flat, mask.shape), -1)
        pixels = pixels[mask.reshape(-1)[flat]]
        marked.append(choose_points(pixels, origin, number=num_points))
    return SampledViews(images[..., 0], view_a, view_b, sources, valid, marked)
