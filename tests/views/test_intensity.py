"""Each intensity transformation against its formula, and their composition."""

import functools

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest
import scipy.ndimage

from configs import pix2rep
from pix2rep_jax.runtime.config_checks import walk
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


@pytest.mark.parametrize("grey_levels", [1.0, 180.0])
@pytest.mark.parametrize("gamma", [0.7, 0.95, 1.0, 1.05])
def test_gamma_is_a_power_of_grey_levels(gamma, grey_levels):
    """sign(y) |y|^γ of y = G x, divided by G again; nothing is cut off at ±1."""
    image = np.array([-2.0, -1.0, -0.5, 0.0, 1e-3, 0.25, 1.0, 1.5])
    raw = grey_levels * image
    expected = np.sign(raw) * np.abs(raw) ** gamma / grey_levels
    change = functools.partial(intensity.adjust_gamma, grey_levels=grey_levels)
    given = jnp.asarray(image, jnp.float32).reshape(-1, 1, 1)
    actual = change(given, jnp.float32(gamma)).ravel()
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 1.5])
def test_gamma_has_finite_gradients_at_zero(gamma):
    """In the image, whose slope is infinite there for γ < 1, and in γ."""
    image = jnp.array([-0.5, 0.0, 0.25]).reshape(3, 1, 1)
    total = lambda x, g: intensity.adjust_gamma(x, g, grey_levels=180.0).sum()  # noqa: E731
    for slope in jax.grad(total, (0, 1))(image, jnp.float32(gamma)):
        assert jnp.isfinite(slope).all()


def test_gammas_exponent_spans_its_range_and_log_is_symmetric(image):
    """log γ, found from a pixel of 1/2, lies in ± its limit, evenly on both sides."""
    grey = jnp.full((2, 2, 1), 0.5)
    change = lambda k: intensity.random_intensity(  # noqa: E731
        k, grey, max_gamma=0.3, gamma_probability=1.0
    )
    keys = jax.random.split(jax.random.key(5), 2000)
    found = np.asarray(jax.jit(jax.vmap(change))(keys), np.float64)[:, 0, 0, 0]
    log_gamma = np.log(np.log(found) / np.log(0.5))
    assert -0.301 < log_gamma.min() < -0.29 and 0.29 < log_gamma.max() < 0.301
    assert abs(log_gamma.mean()) < 0.015


PAPER = pix2rep.get_config("paper")


def released(name, raw, strength, coefficients, noise):
    """The released code's change of raw grey levels, in float64.

    Args:
        name: One of the four transformations.
        raw: `[height, width]` grey levels.
        strength: Uniform in [0, 1].
        coefficients: The bias field's, uniform in ±1, by order of rows, then columns.
        noise: `[height, width]` of the standard normal distribution.
    """
    if name == "noise":
        return raw + 0.5 * strength * noise
    if name == "gamma":
        exponent = np.exp(0.05 * (2 * strength - 1))
        return np.sign(raw) * np.abs(raw) ** exponent
    if name == "blur":
        return scipy.ndimage.gaussian_filter(raw, 1.3 * strength, mode="nearest")
    return raw * np.exp(0.9 * polynomial(coefficients, raw.shape))


def polynomial(coefficients, shape):
    """Of order 3 without a constant, on positions from -1 to 1."""
    row, column = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    powers = [(i, j) for i in range(4) for j in range(4) if 0 < i + j < 4]
    pairs = zip(coefficients, powers, strict=True)
    return sum(c * row**i * column**j for c, (i, j) in pairs)


@pytest.fixture(scope="module")
def real_crop(acdc_root):
    """A slice in grey levels, clipped as the released code does, and the two ends.

    The scan has a range of 197 grey levels, near the median, and begins near zero. Our
    range begins at zero by definition, and the released code's at the lower end.
    """
    stem = acdc_root / "training" / "patient040" / "patient040_frame01"
    image, mask = (
        np.asarray(nib.load(f"{stem}{end}.nii.gz").dataobj) for end in ("", "_gt")
    )
    rows, columns, slices = np.nonzero(mask)
    box = tuple(slice(x.min() - 10, x.max() + 11) for x in (rows, columns))
    image = image[box].astype(np.float64)
    low, high = np.percentile(image[..., np.unique(slices)], (1, 99))
    return np.clip(image[..., image.shape[2] // 2], low, high), low, high


@pytest.mark.parametrize("section", ["intensity", "augment.intensity"])
@pytest.mark.parametrize("name", ["noise", "gamma", "bias_field", "blur"])
def test_papers_strengths_are_the_released_ones_on_a_real_scan(
    name, section, real_crop
):
    """The standard deviation of the change, in units of the scan's range."""
    raw, low, high = real_crop
    options = dict(walk(PAPER))
    options = {
        option: options[f"{section}.{option}"]
        for option in (f"max_{name}", "grey_levels")
    }
    image = jnp.asarray((raw - low) / (high - low), jnp.float32)[..., None]
    change = lambda key: intensity.random_intensity(  # noqa: E731
        key, image, **options, **{f"{name}_probability": 1.0}
    )
    keys = jax.random.split(jax.random.key(3), 48)
    ours = np.asarray(jax.jit(jax.vmap(change))(keys), np.float64) - np.asarray(image)
    theirs = []
    for key in keys:
        scalar_key, field_key, noise_key = jax.random.split(key, 3)
        place = ("blur", "bias_field", "noise", "gamma").index(name)
        strength = float(jax.random.uniform(scalar_key, (2, 7))[1, place])
        field = jax.random.uniform(field_key, (9,), minval=-1.0, maxval=1.0)
        noise = np.asarray(jax.random.normal(noise_key, image.shape))[..., 0]
        changed = released(name, raw, strength, np.asarray(field, float), noise)
        theirs.append((changed - raw) / (high - low))
    assert ours.std() == pytest.approx(np.std(theirs), rel=0.2)
    assert ours.std() > 1e-3


def test_random_network_is_scipys_convolutions(image):
    """Four correlations with leaky ReLUs between, mixed with the image, in float64."""
    sizes = []
    for seed in range(8):
        key = jax.random.key(seed)
        *layers, share_key = jax.random.split(key, 5)
        x = np.asarray(image, np.float64)
        start = (x - x.mean()) / x.std()
        planes = [start[..., 0]]
        for index, outputs in enumerate((2, 2, 2, 1)):
            weight_key, bias_key, size_key = jax.random.split(layers[index], 3)
            shape = (3, 3, len(planes), outputs)
            weights = np.asarray(jax.random.normal(weight_key, shape), np.float64)
            if jax.random.bernoulli(size_key):
                weights = weights[1:2, 1:2]
            sizes.append(len(weights))
            bias = np.asarray(jax.random.normal(bias_key, (outputs,)))
            found = [
                bias[o]
                + sum(
                    scipy.ndimage.correlate(p, weights[..., c, o], mode="nearest")
                    for c, p in enumerate(planes)
                )
                for o in range(outputs)
            ]
            planes = [np.where(f > 0, f, 0.01 * f) if index < 3 else f for f in found]
        out = (planes[0] - planes[0].mean()) / planes[0].std()
        share = float(jax.random.uniform(share_key))
        out = share * out + (1 - share) * start[..., 0]
        out = x.mean() + x.std() * (out - out.mean()) / out.std()
        actual = jax.jit(intensity.convolve)(key, image)[..., 0]
        np.testing.assert_allclose(actual, out, atol=2e-4)
    assert {*sizes} == {1, 3}


def test_random_network_leaves_an_even_image_alone():
    """Without any contrast there is nothing to change, and no NaN."""
    even = jnp.full((8, 8, 1), 0.3)
    found = intensity.convolve(jax.random.key(0), even)
    np.testing.assert_allclose(found, even, atol=1e-5)


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
    "name",
    ["blur", "bias_field", "noise", "gamma", "contrast", "brightness", "convolution"],
)
def test_each_happens_as_often_as_asked(name, image):
    """Every transformation changes about the asked share of images."""
    # A narrow Gaussian leaves float32 pixels as they are, so blur gets a wide range.
    strength = 5.0 if name == "blur" else 0.5
    options = {f"max_{name}": strength} if name != "convolution" else {}
    options |= {f"{name}_probability": 0.3}
    keys = jax.random.split(jax.random.key(7), 600)
    change = lambda k: intensity.random_intensity(k, image, **options)  # noqa: E731
    results = jax.jit(jax.vmap(change))(keys)
    changed = (jnp.abs(results - image[None]) > 1e-7).any(axis=(1, 2, 3))
    assert abs(float(changed.mean()) - 0.3) < 0.06


def test_none_happens_because_another_does():
    """With seven at a tenth each, .9^7 of the images stay as they are; if two shared
    their chance it would be .9^6."""
    names = ["blur", "bias_field", "noise", "gamma", "contrast", "brightness"]
    options = {f"max_{name}": 5.0 if name == "blur" else 0.5 for name in names}
    options |= {f"{name}_probability": 0.1 for name in [*names, "reversal"]}
    image = jax.random.uniform(jax.random.key(1), (8, 8, 1))
    change = lambda k: intensity.random_intensity(k, image, **options)  # noqa: E731
    keys = jax.random.split(jax.random.key(4), 5000)
    results = jax.jit(jax.vmap(change))(keys)
    same = (jnp.abs(results - image[None]) < 1e-7).all(axis=(1, 2, 3))
    assert abs(float(same.mean()) - 0.9**7) < 0.025


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


def test_all_of_them_are_applied_in_the_order_of_a_scan(image):
    """Blur, field, noise, gamma, contrast, brightness, reversal: written out in float64
    with the strengths that the key draws."""
    limits = {
        "max_blur": 1.0,
        "max_bias_field": 0.2,
        "max_noise": 0.1,
        "max_gamma": 0.3,
        "max_contrast": 0.3,
        "max_brightness": 0.2,
    }
    names = [name.removeprefix("max_") for name in limits]
    options = limits | {f"{name}_probability": 1.0 for name in [*names, "reversal"]}
    change = jax.jit(
        lambda k: intensity.random_intensity(k, image, **options, grey_levels=9.0)
    )
    for seed in range(3):
        scalar_key, field_key, noise_key = jax.random.split(jax.random.key(seed), 3)
        strength = np.asarray(jax.random.uniform(scalar_key, (2, 7))[1], float)
        field = jax.random.uniform(field_key, (9,), minval=-1.0, maxval=1.0)
        noise = np.asarray(jax.random.normal(noise_key, image.shape), float)[..., 0]
        x = np.asarray(image, float)[..., 0]
        std = strength[0] + 1e-3  # never zero
        x = scipy.ndimage.gaussian_filter(x, std, mode="nearest", radius=3)
        x = x * np.exp(0.2 * polynomial(np.asarray(field, float), x.shape))
        x = x + 0.1 * strength[2] * noise
        gamma = np.exp(0.3 * (2 * strength[3] - 1))
        x = np.sign(x) * np.abs(9 * x) ** gamma / 9
        x = x.mean() + (1 + 0.3 * (2 * strength[4] - 1)) * (x - x.mean())
        x = 1 - (x + 0.2 * (2 * strength[5] - 1))
        found = change(jax.random.key(seed))[..., 0]
        np.testing.assert_allclose(found, x, atol=1e-4)


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


STRENGTHS = {
    "max_blur": 1.0,
    "max_bias_field": 0.5,
    "max_noise": 0.1,
    "max_gamma": 0.3,
    "max_contrast": 0.3,
    "max_brightness": 0.2,
    **{
        f"{name}_probability": 1.0
        for name in ("blur", "bias_field", "noise", "gamma", "contrast", "brightness")
    },
}


def test_each_channel_is_changed_as_an_image_of_its_own(key):
    """Every channel has its own draws, and those of one image of one channel."""
    images = jax.random.uniform(key, (16, 12, 3))
    found = intensity.random_intensity(key, images, **STRENGTHS)
    for index, own in enumerate(jax.random.split(key, 3)):
        alone = intensity.random_intensity(own, images[..., [index]], **STRENGTHS)
        np.testing.assert_allclose(found[..., [index]], alone, atol=1e-5)
    same = jnp.repeat(images[..., :1], 3, -1)
    changed = intensity.random_intensity(key, same, **STRENGTHS)
    assert np.abs(np.diff(changed, axis=-1)).mean() > 0.01
    reversals = jax.vmap(
        lambda key: intensity.random_intensity(key, same, reversal_probability=0.5)
    )(jax.random.split(key, 50))
    is_reversed = np.isclose(reversals, 1 - same).all((1, 2))
    assert 0.3 < is_reversed.mean() < 0.7 and len(np.unique(is_reversed, axis=0)) > 2
