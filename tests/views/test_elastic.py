"""Elastic φ: the splines, how they compose with the affine map, and what is valid."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from scipy.interpolate import BSpline

from pix2rep_jax.views import affine, warp
from pix2rep_jax.views.elastic import sample_displacement, spline_displacement
from tests.support.views import augment, make_views

AFFINE = {
    "max_rotation": 3.0,
    "extent": (0.5, 1.1),
    "flip_probability": 0.5,
    "max_shift": (0.1, 0.1),
}
ELASTIC = {
    "elastic_probability": 1.0,
    "elastic_grids": (5, 9),
    "elastic_reach": (8 / 128, 2.5 / 128),
}
SPATIAL = AFFINE | ELASTIC


def scipy_spline(points, positions):
    """A cubic B-spline with these coefficients, and the outermost repeated beyond."""
    number = len(points)
    padded = np.pad(np.asarray(points, np.float64), ((3, 3), (0, 0)), mode="edge")
    knots = np.arange(-5.0, number + 5)
    return BSpline(knots, padded, 3)(positions)


def scipy_displacement(points, *, height, width):
    """Tensor product of SciPy's splines, along rows and then along columns."""
    rows, columns, _ = points.shape
    along = np.linspace(0, rows - 1, height)
    half = scipy_spline(points.reshape(rows, -1), along).reshape(height, columns, 2)
    half = half.transpose(1, 0, 2).reshape(columns, -1)
    across = scipy_spline(half, np.linspace(0, columns - 1, width))
    return across.reshape(width, height, 2).transpose(1, 0, 2)


@pytest.mark.parametrize(
    ("grid", "shape"), [((5, 5), (33, 33)), ((9, 9), (64, 64)), ((2, 6), (20, 31))]
)
def test_displacements_are_scipys_splines(key, grid, shape):
    """On grids that divide the image evenly and on others, to float32."""
    height, width = shape
    points = jax.random.normal(key, (*grid, 2))
    found = spline_displacement(points, height=height, width=width)
    expected = scipy_displacement(np.asarray(points), height=height, width=width)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_control_points_that_move_alike_move_everything_alike():
    """B-splines sum to one everywhere, at the edges too."""
    points = jnp.broadcast_to(jnp.array([1.5, -2.0]), (5, 5, 2))
    found = spline_displacement(points, height=20, width=33)
    expected = np.broadcast_to([1.5, -2.0], (20, 33, 2))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_mirrored_points_displace_a_mirrored_image(key):
    """Neither direction is treated otherwise than the other."""
    points = jax.random.normal(key, (5, 9, 2))
    spread = functools.partial(spline_displacement, height=21, width=30)
    np.testing.assert_allclose(
        spread(points[:, ::-1]), spread(points)[:, ::-1], atol=1e-5
    )
    turned = spline_displacement(points.transpose(1, 0, 2), height=30, width=21)
    np.testing.assert_allclose(turned, spread(points).transpose(1, 0, 2), atol=1e-5)


def test_sampled_displacements_stay_in_reach_and_fold_nothing(key):
    """Those of the 2026 follow-up: never beyond 8 + 2.5 px of 128 and scaled with the
    image; over many draws no pixel's neighbourhood turns over."""
    draw = jax.jit(
        jax.vmap(
            lambda key: sample_displacement(
                key,
                height=64,
                width=64,
                probability=1.0,
                grids=ELASTIC["elastic_grids"],
                reach=ELASTIC["elastic_reach"],
            )
        )
    )
    moved = np.asarray(draw(jax.random.split(key, 300)), np.float64)
    assert 3.0 < np.abs(moved).max() < 10.5 / 2
    assert (np.abs(moved.mean((0, 1, 2))) < 0.1).all()
    rows, columns = (np.diff(moved, axis=axis) for axis in (1, 2))
    rows, columns = rows[:, :, 1:], columns[:, 1:]
    area = (1 + rows[..., 0]) * (1 + columns[..., 1]) - rows[..., 1] * columns[..., 0]
    assert area.min() > 0 and area.max() > 1.3


def test_the_reach_is_a_share_of_each_side(key):
    """In an image of 20 x 80 px a tenth is 2 px along rows and 8 px along columns."""
    draw = lambda key: sample_displacement(  # noqa: E731
        key, height=20, width=80, probability=1.0, grids=(4,), reach=(0.1,)
    )
    moved = np.abs(np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(key, 300))))
    largest = moved.max((0, 1, 2))
    np.testing.assert_array_less(largest, [2, 8])
    np.testing.assert_array_less([1, 4], largest)


def test_each_grid_has_the_reach_at_its_place(key):
    """The fine grid alone bends far more within a few pixels than the coarse one."""

    def bend(reach):
        draw = lambda key: sample_displacement(  # noqa: E731
            key, height=32, width=32, probability=1.0, grids=(4, 9), reach=reach
        )
        moved = jax.jit(jax.vmap(draw))(jax.random.split(key, 100))
        return np.abs(np.diff(moved, n=2, axis=1)).mean()

    assert bend((0.0, 0.1)) > 3 * bend((0.1, 0.0)) > 0


def test_the_probability_is_how_often_there_is_one(key):
    """All of a displacement or nothing of it."""
    draw = lambda key: sample_displacement(  # noqa: E731
        key, height=8, width=8, probability=0.25, grids=(4,), reach=(0.1,)
    )
    moved = np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(key, 2000)))
    still = (moved == 0).all((1, 2, 3))
    assert abs(still.mean() - 0.75) < 0.03
    assert (moved[~still] != 0).all()


# --- composed with the affine map --------------------------------------------------


def test_without_displacement_it_is_the_affine_map_bit_for_bit(key):
    """Switched off, of no reach, and as if the options were not there: one array."""
    matrix = affine.sample_pull_matrix(key, height=24, width=30, **AFFINE)
    expected = affine.to_array_positions(
        matrix, affine.centred_positions(24, 30), height=24, width=30
    )
    for changes in (
        {},
        ELASTIC | {"elastic_probability": 0.0},
        ELASTIC | {"elastic_reach": (0.0, 0.0)},
    ):
        found = affine.sample_sources(key, height=24, width=30, **AFFINE, **changes)
        np.testing.assert_array_equal(found, expected)


def test_as_many_maps_bend_as_asked(key):
    """The others are the affine map of the same key."""
    options = SPATIAL | {"elastic_probability": 0.25}
    draw = lambda key, **options: affine.sample_sources(  # noqa: E731
        key, height=8, width=8, **options
    )
    keys = jax.random.split(key, 2000)
    bent = jax.jit(jax.vmap(functools.partial(draw, **options)))(keys)
    plain = jax.jit(jax.vmap(functools.partial(draw, **AFFINE)))(keys)
    apart = np.abs(np.asarray(bent - plain)).max((1, 2, 3))
    assert abs((apart > 1e-4).mean() - 0.25) < 0.03


def test_the_warp_is_scipys_spline_then_its_linear_interpolation(key):
    """The output at s is the input at A(s + u(s)): splines, affine map and image by
    SciPy in float64, where the source lies inside."""
    height, width = 33, 40
    image = np.asarray(jax.random.normal(key, (height, width, 1)))
    points = np.asarray(2 * jax.random.normal(jax.random.fold_in(key, 1), (5, 5, 2)))
    matrix = np.array([[0.7, -0.4, 1.0], [0.35, 0.8, -2.0]])
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    grid = np.stack(np.mgrid[:height, :width], -1) - centre
    places = grid + scipy_displacement(points, height=height, width=width)
    places = places @ matrix[:, :2].T + matrix[:, 2] + centre
    expected = ndimage.map_coordinates(
        image[..., 0].astype(float), places.transpose(2, 0, 1), order=1
    )
    moved = affine.centred_positions(height, width) + spline_displacement(
        jnp.asarray(points), height=height, width=width
    )
    sources = affine.to_array_positions(
        jnp.asarray(matrix), moved, height=height, width=width
    )
    np.testing.assert_allclose(sources, places, atol=1e-4)
    valid = np.asarray(affine.inside(sources, affine.whole_image(height, width)))
    limits = np.array([height, width]) - 1
    clear = np.abs(np.stack([places, places - limits])).min((0, 3)) > 0.01
    exact = ((places >= 0) & (places <= limits)).all(-1)
    np.testing.assert_array_equal(valid[clear], exact[clear])
    assert 0.2 < valid.mean() < 1
    found = warp.warp_at(jnp.asarray(image), sources)[..., 0]
    inner = valid & clear
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-3)


def smooth_images(batch, size):
    row, column = np.mgrid[:size, :size] / size
    phases = np.arange(batch)[:, None, None]
    return jnp.asarray(
        (np.sin(7 * row + phases) + np.cos(9 * column - phases))[..., None], jnp.float32
    )


def test_views_correspond_and_know_what_is_valid(key):
    """view_b at s is view_a at φ⁻¹(s) wherever its source lies inside; the sources
    are no affine map of the pixels, and differ from image to image."""
    images = smooth_images(4, 32)
    views = make_views(key, images, spatial=SPATIAL, intensity={})
    at_sources = jax.vmap(warp.warp_at)(views.view_a, views.sources)
    np.testing.assert_allclose(views.view_b, at_sources, atol=1e-6)
    place = np.asarray(views.sources)
    inside = ((place >= -1e-3) & (place <= 31 + 1e-3)).all(-1)
    np.testing.assert_array_equal(views.valid, inside)
    assert 0.3 < inside.mean() < 1
    plain = make_views(key, images, spatial=AFFINE, intensity={})
    bend = place - np.asarray(plain.sources)
    assert (np.abs(bend).max((1, 2, 3)) > 0.5).all()
    assert np.abs(np.diff(bend, n=2, axis=1)).max() > 1e-3
    assert not np.allclose(bend[0], bend[1])


def test_labels_move_with_their_image(key):
    """A label map drawn as an image moves as its own image does, to the nearest."""
    label = jnp.zeros((4, 32, 32), jnp.int32).at[:, 8:22, 11:25].set(3)
    image = label[..., None].astype(jnp.float32)
    moved_image, moved_label = augment(key, image, label, spatial=SPATIAL, intensity={})
    agree = jnp.round(moved_image[..., 0] / 3) * 3 == moved_label
    assert agree.mean() > 0.98
    affine = augment(key, image, label, spatial=AFFINE, intensity={})[1]
    assert (affine != moved_label).mean() > 0.005


def test_gradients_are_finite_and_match_differences(key):
    """In the control points and in the image, for a smooth image."""
    image = smooth_images(1, 16)[0]
    points = jax.random.normal(key, (5, 5, 2))

    def value(image, points):
        moved = affine.centred_positions(16, 16) + spline_displacement(
            points, height=16, width=16
        )
        sources = affine.to_array_positions(jnp.eye(2, 3), moved, height=16, width=16)
        return (warp.warp_at(image, sources) ** 2).mean()

    value = jax.jit(value)
    gradients = jax.grad(value, argnums=(0, 1))(image, points)
    assert all(np.isfinite(x).all() and np.abs(x).max() > 0 for x in gradients)
    towards = jax.random.normal(jax.random.fold_in(key, 1), image.shape)
    expected = (
        value(image + 0.01 * towards, points) - value(image - 0.01 * towards, points)
    ) / 0.02
    np.testing.assert_allclose((gradients[0] * towards).sum(), expected, rtol=1e-2)
