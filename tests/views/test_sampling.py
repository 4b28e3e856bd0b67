"""The two views correspond, and points are drawn where both hold anatomy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.views import sampling
from pix2rep_jax.views.affine import sample_sources
from pix2rep_jax.views.sampling import sample_points
from pix2rep_jax.views.warp import warp_at
from tests.support.motions import STILL
from tests.support.views import augment, make_views

SPATIAL = {
    "max_rotation": 3.0,
    "extent": (0.5, 1.2),
    "flip_probability": 0.5,
    "max_shift": (0.1, 0.1),
}


def smooth_images(key, *, batch: int, size: int) -> jax.Array:
    """Images that bilinear interpolation reproduces well."""
    row, column = jnp.meshgrid(*[jnp.linspace(-1, 1, size)] * 2, indexing="ij")
    phases = jax.random.uniform(key, (batch, 2, 1, 1), maxval=6.0)
    waves = jnp.sin(2 * row[None] + phases[:, 0]) + jnp.cos(
        3 * column[None] + phases[:, 1]
    )
    return waves[..., None]


def test_views_show_the_same_point_at_corresponding_positions(key):
    """Without intensity changes view_b at s is view_a at φ⁻¹(s), wherever valid."""
    views = make_views(
        key, smooth_images(key, batch=4, size=24), spatial=SPATIAL, intensity={}
    )
    expected = jax.vmap(warp_at)(views.view_a, views.sources)
    assert 0.3 < views.valid.mean() < 1.0
    np.testing.assert_allclose(
        views.view_b[views.valid], expected[views.valid], atol=1e-6
    )


def test_only_what_shows_the_scan_in_both_views_is_valid(key):
    """Four fifths of each image are padding: a pixel is valid exactly where view b
    shows no padding, as a warped image of ones in the scan tells."""
    box = np.array([[9, 22, 4, 18], [0, 31, 12, 17], [20, 31, 0, 15]], np.int32)
    row, column = np.mgrid[:32, :32]
    top, bottom, left, right = box.T[..., None, None]
    scan = (row >= top) & (row <= bottom) & (column >= left) & (column <= right)
    assert scan.mean() < 0.21
    views = make_views(
        key, scan[..., None].astype(np.float32), box, spatial=SPATIAL, intensity={}
    )
    seen = np.asarray(views.view_b[..., 0])
    assert seen[views.valid].min() > 0.99
    assert seen[~np.asarray(views.valid)].max() < 1
    assert (views.valid.mean((1, 2)) > 0.01).all()
    points, drawn = sample_points(key, views.valid, num_points=40)
    for image in range(3):
        chosen = np.asarray(points[image])[np.asarray(drawn[image])]
        place = np.asarray(views.sources[image]).reshape(-1, 2)[chosen]
        low, high = box[image, ::2], box[image, 1::2]
        assert len(place) >= 10
        assert (place >= low - 1e-3).all() and (place <= high + 1e-3).all()


def test_intensity_differs_between_views_and_position_does_not(key):
    """t and t' are drawn apart: with reversal at 1/2 all four combinations occur."""
    images = jnp.full((200, 4, 4, 1), 0.25)
    views = make_views(
        key, images, spatial=STILL, intensity={"reversal_probability": 0.5}
    )
    pairs = {
        (round(float(a), 2), round(float(b), 2))
        for a, b in zip(views.view_a[:, 0, 0, 0], views.view_b[:, 0, 0, 0], strict=True)
    }
    assert pairs == {(0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)}
    assert views.valid.all()


def test_images_get_different_transformations(key):
    """Each image of a batch has its own φ."""
    views = make_views(key, jnp.ones((3, 8, 8, 1)), spatial=SPATIAL, intensity={})
    assert not np.allclose(views.sources[0], views.sources[1])
    assert not np.allclose(views.sources[1], views.sources[2])


def test_points_are_distinct_valid_and_fill_up_with_invalid_ones(key):
    """No pixel is drawn twice; where valid pixels run out the rest is marked."""
    valid = (
        jax.random.bernoulli(key, 0.5, (3, 8, 8))
        .at[2]
        .set(False)
        .at[2, 0, :5]
        .set(True)
    )
    points, drawn = sample_points(key, valid, num_points=12)
    flat = np.asarray(valid).reshape(3, -1)
    for image in range(3):
        chosen = np.asarray(points[image])[np.asarray(drawn[image])]
        assert len(set(chosen)) == len(chosen) == min(12, flat[image].sum())
        assert flat[image][chosen].all()


def test_points_are_uniform_over_valid_pixels(key):
    """Over many draws every valid pixel comes up equally often."""
    valid = jnp.zeros((1, 4, 4), bool).at[0, 1:3].set(True)
    points, _ = jax.vmap(lambda k: sample_points(k, valid, num_points=2))(
        jax.random.split(key, 4000)
    )
    counts = np.bincount(np.asarray(points).ravel(), minlength=16)
    assert counts[:4].sum() == counts[12:].sum() == 0
    np.testing.assert_allclose(counts[4:12], 1000, atol=150)


def test_more_points_than_pixels_are_refused():
    """The error names both numbers."""
    with pytest.raises(ValueError, match=r"17.*16 pixels"):
        sample_points(jax.random.key(0), jnp.ones((1, 4, 4), bool), num_points=17)


def test_labels_move_with_their_image(key):
    """A label map drawn as an image moves as its own image does, to the nearest."""
    label = jnp.zeros((4, 32, 32), jnp.int32).at[:, 8:22, 11:25].set(3)
    image = label[..., None].astype(jnp.float32)
    moved_image, moved_label = augment(key, image, label, spatial=SPATIAL, intensity={})
    agree = jnp.round(moved_image[..., 0] / 3) * 3 == moved_label
    # Linear and nearest round differently at corners alone.
    assert agree.mean() > 0.99
    assert set(np.unique(moved_label)) == {0, 3}
    assert moved_label.dtype == label.dtype


def test_labels_outside_the_image_are_background(key):
    """A view of twice the image's side shows its labels in the middle half alone."""
    label = jnp.full((2, 32, 32), 3, jnp.uint8)
    spatial = STILL | {"extent": (2.0, 2.0)}
    _, moved = augment(
        key, jnp.ones((2, 32, 32, 1)), label, spatial=spatial, intensity={}
    )
    expected = np.zeros((32, 32))
    expected[8:24, 8:24] = 3
    np.testing.assert_array_equal(moved, np.stack([expected] * 2))


def test_jit_changes_nothing(key):
    """Views under jit equal views outside it."""
    images = smooth_images(key, batch=2, size=16)
    box = jnp.array([[0, 15, 0, 15], [3, 9, 5, 15]])
    draw = lambda k: sampling.make_views(  # noqa: E731
        k, images, box, spatial=SPATIAL, intensity={"reversal_probability": 0.5}
    )
    for eager, compiled in zip(draw(key), jax.jit(draw)(key), strict=True):
        np.testing.assert_allclose(eager, compiled, atol=1e-4)


@pytest.mark.parametrize("outside", [0, UNLABELLED])
def test_unlabelled_pixels_stay_unlabelled_wherever_they_move(key, outside):
    """Each pixel against the loop over sources; labels are never blended."""
    random = np.random.default_rng(0)
    label = random.integers(0, 4, (6, 24, 24)).astype(np.uint8)
    if outside:
        label[random.random(label.shape) < 0.7] = UNLABELLED
    image = np.ones((6, 24, 24, 1), np.float32)
    spatial = SPATIAL | {"extent": (0.8, 1.8)}
    _, moved = augment(key, image, label, spatial=spatial, intensity={})
    keys = jax.random.split(key, 6)
    unseen = 0
    for index in range(6):
        phi = jax.random.split(keys[index])[0]
        sources = np.asarray(
            sample_sources(phi, height=24, width=24, **STILL | spatial), np.float64
        )
        for pixel in np.ndindex(24, 24):
            row, column = sources[pixel]
            seen = -0.5 <= row <= 23.5 and -0.5 <= column <= 23.5
            unseen += not seen
            near = tuple(np.clip(np.round([row, column]), 0, 23).astype(int))
            expected = label[index][near] if seen else outside
            assert moved[index][pixel] == expected
    assert unseen > 100
