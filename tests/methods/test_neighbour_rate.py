"""The share of pixels that are found in the other view, against a plain loop."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.pix2rep import get_config
from pix2rep_jax.data.splits import make_split
from pix2rep_jax.methods.pretraining import load_method
from pix2rep_jax.methods.pretraining.neighbour_rate import (
    make_watch,
    neighbour_rate,
)
from pix2rep_jax.methods.pretraining.pix2rep import Pix2RepNet
from pix2rep_jax.models.heads import ProjectionHead
from pix2rep_jax.models.unet import UNet
from pix2rep_jax.modes.pretrain import watched_slices
from pix2rep_jax.training.state import create_state
from pix2rep_jax.views.sampling import sample_points
from tests.support.patients import make_data, make_dataset, make_volumes
from tests.support.views import make_boxes, make_views

SPATIAL = {
    "max_rotation": 3.0,
    "extent": (0.6, 1.2),
    "flip_probability": 0.5,
    "max_shift": (2 / 16, 2 / 16),
}


def by_loop(embedded, queries, places, valid, reach=2.0):
    """Every query against every pixel, one after the other, in float64."""
    hits = number = 0
    batch, height, width, _ = embedded.shape
    for image in range(batch):
        for query, place, counts in zip(
            queries[image], places[image], valid[image], strict=True
        ):
            if not counts:
                continue
            best, at = -np.inf, None
            for row in range(height):
                for column in range(width):
                    other = embedded[image, row, column].astype(np.float64)
                    lengths = np.linalg.norm(other) * np.linalg.norm(query)
                    if (cosine := other @ query / max(lengths, 1e-8)) > best:
                        best, at = cosine, (row, column)
            number += 1
            hits += np.hypot(at[0] - place[0], at[1] - place[1]) <= reach
    return hits / max(number, 1)


@pytest.mark.parametrize("case", range(4))
def test_the_rate_is_that_of_a_plain_loop(case):
    """With embeddings that find some pixels and miss others; only valid ones count."""
    rng = np.random.default_rng(case)
    embedded = rng.normal(size=(2, 7, 5, 4)).astype(np.float32)
    points = rng.integers(0, 35, (2, 12))
    places = np.stack([points // 5, points % 5], -1) + rng.uniform(
        -0.4, 0.4, (2, 12, 2)
    )
    own = np.take_along_axis(embedded.reshape(2, 35, 4), points[..., None], 1)
    queries = own + 0.8 * rng.normal(size=own.shape)
    queries = (3 * queries).astype(np.float32)
    valid = rng.random((2, 12)) < 0.7
    expected = by_loop(embedded, queries, places, valid)
    assert 0 < expected < 1
    arguments = map(jnp.asarray, (embedded, queries, places.astype(np.float32), valid))
    np.testing.assert_allclose(neighbour_rate(*arguments), expected, rtol=1e-6)


def test_without_a_valid_pixel_the_rate_is_zero():
    """And not NaN."""
    shape = jnp.ones((1, 4, 4, 2)), jnp.ones((1, 3, 2)), jnp.zeros((1, 3, 2))
    assert neighbour_rate(*shape, jnp.zeros((1, 3), bool)) == 0


def test_a_state_is_measured_on_the_fixed_views_of_the_slices():
    """Views and points of seed 0, embedded by plain calls with the running averages;
    twice the same, and another network gives another rate."""
    net = Pix2RepNet(UNet((4, 8), 6), ProjectionHead((8,), 5))
    images = jax.random.uniform(jax.random.key(3), (3, 16, 16, 1))
    samples = {"image": np.asarray(images), "box": make_boxes(images)}
    own = {
        "spatial": SPATIAL,
        "intensity": {"max_noise": 0.1, "noise_probability": 1.0},
    }
    watch = make_watch(net, samples, **own)
    init = jax.jit(net.init, static_argnames="train")

    def measure(seed):
        variables = init(jax.random.key(seed), images, train=False)
        state = create_state(
            variables["params"],
            variables["batch_stats"],
            optax.sgd(0.1),
            jax.random.key(0),
            trainable=("backbone",),
        )
        assert watch(state) == watch(state)
        view_key, point_key = jax.random.split(jax.random.key(0))
        views = make_views(view_key, images, make_boxes(images), **own)
        points, valid = sample_points(point_key, views.valid, num_points=128)
        apply = jax.jit(lambda x: net.apply(variables, x, train=False))
        a, b = np.asarray(apply(views.view_a)), np.asarray(apply(views.view_b))
        at = np.asarray(points)[..., None]
        expected = by_loop(
            a,
            np.take_along_axis(b.reshape(3, 256, -1), at, 1),
            np.take_along_axis(np.asarray(views.sources).reshape(3, 256, 2), at, 1),
            np.asarray(valid),
        )
        (rate,) = watch(state).values()
        # Two pixels may be equally near to within rounding.
        np.testing.assert_allclose(rate, expected, atol=0.011)
        return rate

    assert measure(1) != measure(2)


def test_views_are_drawn_at_the_first_measurement():
    """Before it nothing is read, traced or compiled: the first step comes sooner."""
    net = Pix2RepNet(UNet((4, 8), 6), ProjectionHead((8,), 5))
    make_watch(net, {}, spatial=SPATIAL, intensity={})  # has neither image nor box


def test_slices_that_are_watched_do_not_pretrain():
    """Of validation patients, else of test patients; of all if all pretrain."""
    dataset = make_dataset(make_volumes(range(1, 101)))

    number = np.arange(len(dataset.images), dtype=np.int32)
    dataset = dataclasses.replace(dataset, boxes=np.stack([number] * 4, 1))
    for changes in ({}, {"split": "ssl4mis"}, {"holdout_per_group": 0}):
        split = make_split(dataset, make_data(**changes), draw_labeled=False)
        chosen = watched_slices(dataset, split)["box"][:, 0]
        assert len(set(chosen.tolist())) == 8
        patients = {dataset.volumes[dataset.volume_index[x]].patient for x in chosen}
        sides = split.val_patients or split.test_patients or split.pretrain_patients
        assert len(patients) > 4 and patients <= {*sides}


def test_methods_without_embeddings_of_pixels_are_not_watched():
    """Pix2Rep is, with either loss."""
    config = get_config("quick")
    assert load_method(config).make_watch is not None
    for name in ("simclr", "byol", "barlow_twins", "chaitanya", "mae"):
        config.pretrain.method = name
        assert load_method(config).make_watch is None
