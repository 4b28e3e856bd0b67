"""The warp against SciPy, on ramps, and its direction conventions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from jax.scipy.ndimage import map_coordinates
from jax.test_util import check_grads

from pix2rep_jax.views import affine, warp

move = jax.jit(warp.warp)
"""One program, which compiles sooner than its operations one by one."""


def random_matrix(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    linear = np.eye(2) + generator.normal(0, 0.3, (2, 2))
    return np.column_stack([linear, generator.normal(0, 3, 2)]).astype(np.float32)


def scipy_warp(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The same warp by SciPy in float64, a channel at a time."""
    middle = (np.array(image.shape[:2]) - 1) / 2
    linear = matrix[:, :2].astype(np.float64)
    offset = middle + matrix[:, 2] - linear @ middle
    return np.stack(
        [
            scipy.ndimage.affine_transform(
                channel.astype(np.float64),
                linear,
                offset,
                order=1,
                mode="grid-constant",
            )
            for channel in np.moveaxis(image, -1, 0)
        ],
        axis=-1,
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", [(12, 17, 3), (16, 16, 1), (9, 8, 5)])
def test_warp_equals_scipy(seed, shape):
    """Any affine warp is SciPy's linear one, border included."""
    image = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    matrix = random_matrix(seed)
    np.testing.assert_allclose(
        move(image, matrix), scipy_warp(image, matrix), atol=2e-5
    )


@pytest.mark.parametrize("seed", range(3))
def test_warp_equals_map_coordinates(seed, key):
    """Reading all channels at once equals map_coordinates channel by channel, in
    value and in both gradients."""
    image = jax.random.normal(key, (11, 14, 4))
    matrix = jnp.asarray(random_matrix(seed))
    cotangent = jax.random.normal(jax.random.fold_in(key, 1), image.shape)

    def reference(image, matrix):
        positions = affine.to_array_positions(
            matrix, affine.centred_positions(11, 14), height=11, width=14
        )
        rows_columns = jnp.moveaxis(positions, -1, 0)
        by_channel = jax.vmap(
            lambda channel: map_coordinates(channel, rows_columns, order=1),
            in_axes=-1,
            out_axes=-1,
        )
        return by_channel(image)

    def value_and_pullback(warp):
        value, pullback = jax.vjp(warp, image, matrix)
        return value, pullback(cotangent)

    ours, our_gradients = jax.jit(value_and_pullback, static_argnums=0)(warp.warp)
    theirs, their_gradients = jax.jit(value_and_pullback, static_argnums=0)(reference)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for mine, other in zip(our_gradients, their_gradients, strict=True):
        np.testing.assert_allclose(mine, other, atol=2e-3, rtol=1e-4)


def test_ramps_are_warped_exactly():
    """On an image of its own coordinates the warp returns φ⁻¹ of every pixel."""
    height, width = 20, 31
    ramp = affine.centred_positions(height, width)
    matrix = jnp.array([[0.6, -0.3, 1.25], [0.2, 0.7, -2.5]])
    positions = affine.to_array_positions(matrix, ramp, height=height, width=width)
    expected = ramp @ matrix[:, :2].T + matrix[:, 2][None, None]
    valid = affine.inside(positions, affine.whole_image(height, width))
    assert 0.5 < valid.mean() < 1
    np.testing.assert_allclose(move(ramp, matrix)[valid], expected[valid], atol=1e-5)


def test_identity_leaves_the_image():
    """The identity matrix returns the image bit for bit."""
    image = jax.random.normal(jax.random.key(1), (7, 10, 2))
    np.testing.assert_array_equal(move(image, jnp.eye(2, 3)), image)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32])
def test_whole_numbers_are_interpolated_and_rounded(dtype):
    """As jax's and SciPy's own do."""
    image = np.random.default_rng(0).integers(0, 200, (9, 8, 2)).astype(dtype)
    matrix = jnp.asarray(random_matrix(1))
    moved = move(jnp.asarray(image), matrix)
    assert moved.dtype == dtype
    positions = affine.to_array_positions(
        matrix, affine.centred_positions(9, 8), height=9, width=8
    )
    for channel in range(2):
        expected = map_coordinates(
            image[..., channel].astype(np.float32), positions.transpose(2, 0, 1), 1
        )
        np.testing.assert_array_equal(moved[..., channel], np.round(expected))
    half = jnp.array([[1.0, 0, 0.5], [0, 1, 0]])
    constant = move(jnp.full((4, 4, 1), 100, dtype), half)
    np.testing.assert_array_equal(constant[:, 0, 0], (100, 100, 100, 50))


def test_shift_pulls():
    """A shift of (+1, +2) reads one row further down and two columns further right."""
    image = jnp.arange(30.0).reshape(5, 6, 1)
    moved = move(image, jnp.array([[1.0, 0, 1], [0, 1, 2]]))
    np.testing.assert_array_equal(moved[:4, :4], image[1:, 2:])
    np.testing.assert_array_equal(moved[4], 0)


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_right_angles_are_exact(quarter_turns):
    """A rotation by a right angle permutes pixels, and every pixel stays valid."""
    image = jax.random.normal(jax.random.key(2), (8, 8, 2))
    angle = quarter_turns * np.pi / 2
    matrix = jnp.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]],
        jnp.float32,
    )
    np.testing.assert_allclose(
        move(image, matrix),
        np.rot90(np.asarray(image), -quarter_turns),
        atol=1e-5,
    )
    positions = affine.to_array_positions(
        matrix, affine.centred_positions(8, 8), height=8, width=8
    )
    assert affine.inside(positions, affine.whole_image(8, 8)).all()


def test_warp_is_linear_with_an_exact_adjoint(key):
    """<warp(x), y> = <x, adjoint(y)> for any x and y."""
    keys = jax.random.split(key)
    x, y = (jax.random.normal(k, (13, 9, 2)) for k in keys)
    matrix = jnp.asarray(random_matrix(3))
    moved, pullback = jax.vjp(lambda x: move(x, matrix), x)
    np.testing.assert_allclose(
        (moved * y).sum(), (x * pullback(y)[0]).sum(), rtol=1e-4, atol=1e-4
    )


def test_gradients_match_differences():
    """Both gradients agree with finite differences away from pixel centres."""
    image = jax.random.normal(jax.random.key(5), (6, 6, 1))
    positions = jnp.array([[1.3, 2.6], [4.4, 0.3], [2.75, 3.5]])
    check_grads(warp.warp_at, (image, positions), order=1, atol=1e-2, rtol=1e-2)


def test_jit_and_vmap_change_nothing(key):
    """jit equals eager, and vmap equals a loop."""
    images = jax.random.normal(key, (3, 8, 9, 2))
    matrices = jnp.stack([jnp.asarray(random_matrix(s)) for s in range(3)])
    loop = jnp.stack([warp.warp(i, m) for i, m in zip(images, matrices, strict=True)])
    np.testing.assert_allclose(jax.vmap(warp.warp)(images, matrices), loop, atol=1e-6)
    np.testing.assert_allclose(
        jax.jit(jax.vmap(warp.warp))(images, matrices), loop, atol=1e-5
    )


def test_a_pointwise_map_commutes_with_gathering(key):
    """Applying g to the four neighbours and interpolating equals warping g's map."""
    image = jax.random.normal(key, (10, 10, 3))
    positions = jax.random.uniform(jax.random.fold_in(key, 1), (7, 2), maxval=9.0)
    g = lambda x: jnp.tanh(x) ** 2  # noqa: E731
    pixels, weights = warp.gather_neighbours(image, positions)
    np.testing.assert_allclose(
        jnp.einsum("mkc,mk->mc", g(pixels), weights),
        warp.warp_at(g(image), positions),
        atol=1e-6,
    )


def test_outside_reads_zero_with_zero_gradient():
    """A position outside the image reads zero, and no gradient reaches a pixel."""
    image = jnp.full((5, 5, 1), 7.0)
    positions = jnp.array([[-3.0, 2.0], [2.0, 9.5]])
    value, pullback = jax.vjp(lambda i: warp.warp_at(i, positions), image)
    np.testing.assert_array_equal(value, 0)
    np.testing.assert_array_equal(pullback(jnp.ones_like(value))[0], 0)


def test_sampled_matrices_stay_in_range():
    """Angle, extent, flip and shift are where the options allow, and use the range."""
    options = dict(
        height=20,
        width=25,
        max_rotation=0.5,
        extent=(0.4, 0.9),
        flip_probability=0.3,
        max_shift=(0.1, 0.2),
    )
    keys = jax.random.split(jax.random.key(0), 4000)
    draw = jax.jit(jax.vmap(lambda k: affine.sample_pull_matrix(k, **options)))
    matrices = np.asarray(draw(keys), np.float64)
    determinant = np.linalg.det(matrices[:, :, :2])
    extent = np.sqrt(np.abs(determinant))
    angle = np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0])
    angle = np.where(matrices[:, 0, 0] < 0, np.pi - np.abs(angle), angle)  # flipped
    assert 0.4 <= extent.min() < 0.41 and 0.89 < extent.max() <= 0.9 + 1e-6
    assert 0.49 < np.abs(angle).max() <= 0.5 + 1e-6
    assert abs((determinant < 0).mean() - 0.3) < 0.03
    # Half of the flips exchange up and down: the first row's own sign tells, because
    # no rotation here reaches a quarter turn.
    assert abs((matrices[:, 0, 0] < 0).mean() - 0.15) < 0.03
    assert abs((matrices[:, 1, 1] < 0).mean() - 0.15) < 0.03
    for axis, reach in enumerate((2.0, 5.0)):
        shift = np.abs(matrices[:, axis, 2])
        assert 0.98 * reach < shift.max() <= reach


def test_the_papers_views_reach_every_mirror_axis():
    """Each 15° of all 180° hold the axis of a tenth of what is even, or more."""
    options = dict(
        height=128,
        width=128,
        max_rotation=np.pi / 2,
        extent=(0.33, 0.95),
        flip_probability=0.7,
        max_shift=(0.5, 0.5),
        shift_inside=True,
    )
    keys = jax.random.split(jax.random.key(0), 4000)
    draw = jax.jit(jax.vmap(lambda k: affine.sample_pull_matrix(k, **options)))
    linear = np.asarray(draw(keys), np.float64)[:, :, :2]
    mirrored = linear[np.linalg.det(linear) < 0]
    assert abs(len(mirrored) / len(linear) - 0.7) < 0.03
    # A reflection about the axis at angle a is [[cos 2a, sin 2a], [sin 2a, -cos 2a]].
    axis = np.arctan2(mirrored[:, 1, 0], mirrored[:, 0, 0]) / 2 % np.pi
    counts = np.bincount((axis / np.radians(15)).astype(int), minlength=12)
    assert counts.min() > 0.1 * len(mirrored) / 12


def test_a_rotation_by_more_than_half_a_turn_is_any_angle():
    """Two pi is drawn as pi: every angle, each as often."""
    draw = functools.partial(
        affine.sample_pull_matrix,
        jax.random.key(3),
        height=9,
        width=9,
        extent=(1.0, 1.0),
        flip_probability=0.0,
        max_shift=(0.0, 0.0),
    )
    two = draw(max_rotation=2 * np.pi)
    np.testing.assert_array_equal(two, draw(max_rotation=np.pi))
    check = affine.SETTINGS["max_rotation"]
    assert not check(2 * np.pi) and not check(np.pi) and check(7.0) and check(-0.1)


def test_upright_views_are_tilted_and_never_mirrored():
    """Whatever the other options say; a smaller largest rotation is kept."""
    for largest, expected in ((np.pi, np.radians(20)), (0.1, 0.1)):
        draw = functools.partial(
            affine.sample_pull_matrix,
            height=20,
            width=20,
            max_rotation=largest,
            rotation_probability=0.3,
            extent=(1.0, 1.0),
            flip_probability=0.5,
            max_shift=(0.0, 0.0),
            upright=True,
        )
        keys = jax.random.split(jax.random.key(5), 4000)
        linear = np.asarray(jax.jit(jax.vmap(draw))(keys), np.float64)[:, :, :2]
        angle = np.arctan2(linear[:, 1, 0], linear[:, 0, 0])
        assert (np.linalg.det(linear) > 0.99).all()
        assert 0.98 * expected < np.abs(angle).max() <= expected + 1e-6
        assert (np.abs(angle) > 1e-6).mean() > 0.99


def test_probabilities_switch_each_part_off():
    """With all probabilities at zero φ is the identity."""
    matrix = affine.sample_pull_matrix(
        jax.random.key(3),
        height=16,
        width=16,
        max_rotation=1.0,
        rotation_probability=0.0,
        extent=(0.3, 0.5),
        extent_probability=0.0,
        flip_probability=0.0,
        max_shift=(0.25, 0.25),
        shift_probability=0.0,
    )
    np.testing.assert_array_equal(matrix, jnp.eye(2, 3))


def test_each_part_happens_as_often_as_asked():
    """Rotation, extent, flip and shift: each alone, and none draws for another."""
    probabilities = {"rotation": 0.2, "extent": 0.4, "flip": 0.6, "shift": 0.8}
    options = {f"{name}_probability": x for name, x in probabilities.items()}
    draw = functools.partial(
        affine.sample_pull_matrix,
        height=20,
        width=20,
        max_rotation=0.5,
        extent=(0.4, 0.9),
        max_shift=(0.1, 0.1),
        **options,
    )
    keys = jax.random.split(jax.random.key(2), 4000)
    matrices = np.asarray(jax.jit(jax.vmap(draw))(keys), np.float64)
    determinant = np.linalg.det(matrices[:, :, :2])
    happened = {
        "rotation": np.abs(matrices[:, 1, 0]) > 1e-6,
        "extent": np.abs(determinant) < 0.99,
        "flip": determinant < 0,
        "shift": (matrices[:, :, 2] != 0).any(1),
    }
    for name, found in happened.items():
        assert abs(found.mean() - probabilities[name]) < 0.03
        for other in happened.values():
            if other is not found:
                both = (found & other).mean()
                assert abs(both - found.mean() * other.mean()) < 0.03
    # What a part draws does not depend on what decides whether it happens.
    angle = np.arcsin(matrices[:, 1, 0] / np.sqrt(np.abs(determinant)))
    turned = angle[happened["rotation"] & ~happened["flip"]]
    assert turned.min() < -0.45 and turned.max() > 0.45
    extent = np.sqrt(np.abs(determinant))[happened["extent"]]
    assert extent.min() < 0.42 and extent.max() > 0.88


@pytest.mark.parametrize("max_shift", [0.5, 1.0])
def test_shift_inside_keeps_the_region_in_the_frame(max_shift):
    """An unrotated region drawn with shift_inside never leaves the image, however far
    the shift might reach."""
    keys = jax.random.split(jax.random.key(0), 500)
    sample = lambda k: affine.sample_sources(  # noqa: E731
        k,
        height=16,
        width=16,
        max_rotation=0.0,
        extent=(0.3, 0.9),
        flip_probability=0.5,
        max_shift=(max_shift, max_shift),
        shift_inside=True,
    )
    positions = jax.jit(jax.vmap(sample))(keys)
    assert affine.inside(positions, affine.whole_image(16, 16)).all()
    # And it comes to lie at every side.
    assert positions.min() < 0.2 and positions.max() > 14.8
