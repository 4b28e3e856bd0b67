"""The t-SNE picture: its colours, its neighbours, and what it shows of which scan."""

import sys

import numpy as np
import pytest

from pix2rep_jax.errors import InputError
from pix2rep_jax.figures import embedding_map
from pix2rep_jax.figures.embedding_map import (
    closest_anchors,
    color_at,
    draw_embedding_map,
    project,
    spread_out,
)

CLASSES = ("BG", "RV", "MYO", "LV")


def test_the_closest_anchor_equals_a_loop():
    """For more products than are made at once."""
    random = np.random.default_rng(0)
    points, anchors = random.normal(size=(9000, 3)), random.normal(size=(4000, 3))
    got = closest_anchors(points, anchors)
    for i in (0, 4499, 8999):
        products = [float(points[i] @ anchor) for anchor in anchors]
        assert got[i] == products.index(max(products))
    assert got.shape == (9000,)


def test_colours_are_linear_between_four_corners():
    """At the corners they are those, half way the mean of two; none is outside sRGB."""
    corners = color_at(np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]))
    assert len(np.unique(corners, axis=0)) == 4
    middle = color_at(np.array([0.5, 0.0]))
    np.testing.assert_allclose(middle, (corners[0] + corners[2]) / 2)
    assert corners.min() >= 0 and corners.max() <= 1


def test_brightness_follows_the_second_coordinate():
    """Whatever the first one is: a reader who sees no hues sees one direction."""
    line = np.linspace(0, 1, 11)
    plane = color_at(np.stack(np.meshgrid(line, line, indexing="ij"), -1))
    luminance = plane**2.2 @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance, axis=1) > 0).all()


def test_spreading_keeps_the_order_of_each_coordinate():
    """Within [0, 1], both ends reached; far groups are drawn together."""
    places = np.random.default_rng(0).normal(size=(50, 2)) ** 3 * 100
    got = spread_out(places)
    np.testing.assert_array_equal(got.argsort(0), places.argsort(0))
    np.testing.assert_allclose(got.min(0), 0)
    np.testing.assert_allclose(got.max(0), 1)
    assert got.std(0).min() > np.std(places / np.ptp(places, axis=0), axis=0).max()


def test_without_scikit_learn_the_reason_is_one_sentence(monkeypatch):
    """It says what to install, and the other pictures are drawn."""
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(InputError, match="pip install scikit-learn"):
        project(np.zeros((5, 2)), seed=0)


@pytest.mark.slow
def test_tsne_keeps_groups_apart():
    """Two groups that are far from each other stay two, and a seed repeats."""
    pytest.importorskip("sklearn")
    points = np.random.default_rng(0).normal(size=(40, 8))
    points[20:] += 20
    places = project(points, seed=0)
    np.testing.assert_array_equal(places, project(points, seed=0))
    distance = np.linalg.norm(places[:, None] - places, axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (distance.argmin(1) // 20 == np.arange(40) // 20).all()


@pytest.mark.parametrize("num_points", [10**6, 60])
def test_every_pixel_has_the_colour_of_its_place(monkeypatch, num_points):
    """Its own, or that of the chosen pixel with the closest embedding; points stand in
    the plane of their own scan, as many of a class as were chosen."""
    monkeypatch.setattr(embedding_map, "project", lambda points, seed: points[:, :2])
    random = np.random.default_rng(0)
    images, labels = random.random((2, 8, 8)), random.integers(0, 4, (2, 8, 8))
    angle = random.uniform(0, np.pi / 2, (2, 8, 8))
    embeddings = np.stack([np.cos(angle), np.sin(angle)], -1) * 3
    figure = draw_embedding_map(
        images,
        embeddings,
        names=("a", "b"),
        labels=labels,
        classes=CLASSES,
        num_points=num_points,
    )
    panels = np.reshape(figure.axes[:8], (2, 4))
    drawn = np.stack([row[2].images[0].get_array().swapaxes(0, 1) for row in panels])
    if num_points > images.size:
        unit = embeddings.reshape(-1, 2) / 3
        colors = color_at(spread_out(unit.astype(np.float32))).reshape(2, 8, 8, 3)
        np.testing.assert_allclose(drawn, colors, atol=1e-5)
    shown = [[len(x.get_offsets()) for x in row[1].collections] for row in panels]
    assert sum(shown[0][1:]) == shown[1][0] and sum(shown[1][1:]) == shown[0][0]
    assert sum(map(sum, shown)) == 2 * min(num_points, images.size)
    if num_points > images.size:
        assert shown[0][1:] == np.bincount(labels[0].ravel(), minlength=4).tolist()
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) <= num_points
