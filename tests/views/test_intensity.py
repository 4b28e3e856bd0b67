"""Each intensity transformation against its formula, and their composition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from pix2rep_jax.views import intensity


@pytest.fixture
def image(key) -> jax.Array:
    return jax.random.uniform(key, (16, 12, 1))


@pytest.mark.parametrize("std", [0.4, 1.0, 2.0])
def test_blur_is_scipys_gaussian(image, std):
    """Blur equals SciPy's Gaussian filter with a continued border."""
    expected = scipy.ndimage.gaussian_filter(
        np.asarray(image[..., 0], np.float64), std, mode="nearest", radius=6
    )
    actual = intensity.blur(image, jnp.float32(std), radius=6)[..., 0]
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_bias_field_is_exp_of_a_polynomial(image):
    """The field is exp(Σ c row^i column^j), and no coefficients mean no change."""
    coefficients = np.random.default_rng(0).normal(size=intensity.BIAS_FIELD_TERMS)
    rows, columns = np.linspace(-1, 1, 16), np.linspace(-1, 1, 12)
    exponent = np.zeros((16, 12))
    powers = [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (3, 0)]
    for c, (i, j) in zip(coefficients, powers, strict=True):
        for r in range(16):
            for s in range(12):
                exponent[r, s] += c * rows[r] ** i * columns[s] ** j
    actual = intensity.apply_bias_field(image, jnp.asarray(coefficients, jnp.float32))
    np.testing.assert_allclose(
        actual[..., 0], np.asarray(image[..., 0]) * np.exp(exponent), rtol=1e-4
    )
    zeros = jnp.zeros(intensity.BIAS_FIELD_TERMS)
    np.testing.assert_array_equal(intensity.apply_bias_field(image, zeros), image)


def test_gamma_keeps_the_sign_and_has_a_gradient_at_zero():
    """x^γ of a negative x is -|x|^γ, and zero gives no NaN."""
    image = jnp.array([-0.5, 0.0, 0.25]).reshape(3, 1, 1)
    actual = intensity.adjust_gamma(image, jnp.float32(0.5)).ravel()
    np.testing.assert_allclose(actual, [-(0.5**0.5), 0.0, 0.5], atol=1e-6)
    slope = jax.grad(lambda g: intensity.adjust_gamma(image, g).sum())(0.5)
    assert np.isfinite(slope)


def test_gamma_clips_what_lies_beyond_the_display(image):
    """Noise beyond ±1 is cut where gamma is drawn, be it 1, and stays elsewhere."""
    beyond = jnp.array([-2.0, -1.0, 0.5, 1.5]).reshape(4, 1, 1)
    actual = intensity.adjust_gamma(beyond, jnp.float32(1.0)).ravel()
    np.testing.assert_allclose(actual, [-1.0, -1.0, 0.5, 1.0], atol=1e-6)
    options = {"max_noise": 2.0, "noise_probability": 1.0}
    free, cut = (
        intensity.random_intensity(
            jax.random.key(0), image, **options, gamma_probability=probability
        )
        for probability in (0.0, 1.0)
    )
    assert jnp.abs(free).max() > 1
    np.testing.assert_allclose(cut, jnp.clip(free, -1, 1), atol=1e-5)


def test_reversal_alone_is_one_minus_x(image):
    """With certainty of reversal and nothing else t(x) = 1 - x."""
    actual = intensity.random_intensity(
        jax.random.key(0), image, reversal_probability=1.0
    )
    np.testing.assert_array_equal(actual, 1.0 - image)


def test_no_probability_means_no_change(image):
    """Strengths without probabilities change nothing."""
    actual = intensity.random_intensity(
        jax.random.key(0), image, max_noise=1.0, max_blur=2.0, max_contrast=0.9
    )
    np.testing.assert_array_equal(actual, image)


@pytest.mark.parametrize(
    "name", ["blur", "bias_field", "noise", "gamma", "contrast", "brightness"]
)
def test_each_happens_as_often_as_asked(name, image):
    """Every transformation changes about the asked share of images."""
    # A narrow Gaussian leaves float32 pixels as they are, so blur gets a wide range.
    strength = 5.0 if name == "blur" else 0.5
    options = {f"max_{name}": strength, f"{name}_probability": 0.3}
    keys = jax.random.split(jax.random.key(7), 600)
    change = lambda k: intensity.random_intensity(k, image, **options)  # noqa: E731
    results = jax.jit(jax.vmap(change))(keys)
    changed = (jnp.abs(results - image[None]) > 1e-7).any(axis=(1, 2, 3))
    assert abs(float(changed.mean()) - 0.3) < 0.06


def test_brightness_and_contrast_span_their_ranges(image):
    """Brightness shifts within ± its limit; contrast stretches about the mean."""
    keys = jax.random.split(jax.random.key(1), 500)
    brighter = jax.vmap(
        lambda k: intensity.random_intensity(
            k, image, max_brightness=0.2, brightness_probability=1.0
        )
    )(keys)
    shift = np.asarray((brighter - image[None]).mean(axis=(1, 2, 3)))
    assert -0.2 <= shift.min() < -0.19 and 0.19 < shift.max() <= 0.2
    stretched = jax.vmap(
        lambda k: intensity.random_intensity(
            k, image, max_contrast=0.3, contrast_probability=1.0
        )
    )(keys)
    factor = np.asarray(stretched.std(axis=(1, 2, 3)) / image.std())
    assert 0.699 <= factor.min() < 0.72 and 1.28 < factor.max() <= 1.301
    np.testing.assert_allclose(
        stretched.mean(axis=(1, 2, 3)), float(image.mean()), atol=1e-5
    )


def test_jit_and_vmap_change_nothing(image):
    """jit equals eager, and vmap over keys equals a loop."""
    options = {
        f"{kind}{name}{rest}": value
        for name in ("blur", "bias_field", "noise", "gamma", "contrast", "brightness")
        for kind, rest, value in (("max_", "", 0.5), ("", "_probability", 0.7))
    } | {"reversal_probability": 0.5}
    keys = jax.random.split(jax.random.key(2), 4)
    one = lambda k: intensity.random_intensity(k, image, **options)  # noqa: E731
    loop = jnp.stack([one(k) for k in keys])
    np.testing.assert_allclose(jax.vmap(one)(keys), loop, atol=1e-5)
    np.testing.assert_allclose(jax.jit(jax.vmap(one))(keys), loop, atol=1e-5)
