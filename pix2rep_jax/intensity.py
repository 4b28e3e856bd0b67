"""Random intensity transformations of one image: t and t' of the paper.

Each takes and returns a `[height, width, 1]` image whose intensities lie about in
[0, 1], and leaves every pixel where it is.
"""

import dm_pix as pix
import jax
import jax.numpy as jnp

__all__ = [
    "random_bias_field",
    "random_blur",
    "random_brightness",
    "random_contrast",
    "random_gamma",
    "random_intensity",
    "random_noise",
    "random_reversal",
]


def random_brightness(key: jax.Array, image: jax.Array, *, max_delta: float):
    """Adds one number, uniform in ±`max_delta`, to all intensities."""
    return pix.random_brightness(key, image, max_delta)


def random_contrast(key: jax.Array, image: jax.Array, *, max_change: float):
    """Stretches intensities about their mean by a factor in 1 ± `max_change`."""
    factor = jax.random.uniform(key, minval=1 - max_change, maxval=1 + max_change)
    return pix.adjust_contrast(image, factor)


def random_gamma(key: jax.Array, image: jax.Array, *, max_log: float):
    """Raises intensities to exp(uniform in ±`max_log`); the sign is kept."""
    gamma = jnp.exp(jax.random.uniform(key, minval=-max_log, maxval=max_log))
    # The slope at zero is infinite for gamma < 1: clip, so that no NaN can arise.
    magnitude = pix.adjust_gamma(jnp.maximum(jnp.abs(image), 1e-6), gamma)
    return jnp.sign(image) * magnitude


def random_bias_field(key: jax.Array, image: jax.Array, *, max_coefficient: float):
    """Multiplies by exp of a smooth polynomial of order 3, as coil sensitivity does.

    Coefficients are uniform in ±`max_coefficient`, positions run from -1 to 1.
    """
    height, width, _ = image.shape
    row = jnp.linspace(-1.0, 1.0, height)[:, None]
    column = jnp.linspace(-1.0, 1.0, width)[None, :]
    powers = [(i, j) for i in range(4) for j in range(4 - i) if i + j]
    coefficients = jax.random.uniform(
        key, (len(powers),), minval=-max_coefficient, maxval=max_coefficient
    )
    terms = jnp.stack([row**i * column**j for i, j in powers])
    field = jnp.einsum("p,phw->hw", coefficients, terms)
    return image * jnp.exp(field)[..., None]


def random_noise(key: jax.Array, image: jax.Array, *, max_std: float):
    """Adds Gaussian noise of a standard deviation uniform in [0, `max_std`]."""
    std_key, noise_key = jax.random.split(key)
    std = jax.random.uniform(std_key, maxval=max_std)
    return image + std * jax.random.normal(noise_key, image.shape)


def random_blur(key: jax.Array, image: jax.Array, *, max_std_px: float):
    """Blurs by a Gaussian of a standard deviation uniform in [0, `max_std_px`]."""
    std = jax.random.uniform(key, minval=1e-3, maxval=max_std_px)
    radius = max(1, round(3 * max_std_px))
    offsets = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    taps = jnp.exp(-0.5 * (offsets / std) ** 2)
    taps = taps / taps.sum()

    def along(x: jax.Array, axis: int) -> jax.Array:
        # Shifted sums rather than pix.gaussian_blur: a convolution whose kernel
        # differs from image to image is slow under vmap.
        pad = [(radius, radius) if a == axis else (0, 0) for a in range(x.ndim)]
        padded = jnp.pad(x, pad, mode="edge")
        size = x.shape[axis]
        return sum(
            taps[i] * jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
            for i in range(2 * radius + 1)
        )

    return along(along(image, 0), 1)


def random_reversal(key: jax.Array, image: jax.Array):
    """Turns dark into bright: 1 - x, the paper's intensity reversal."""
    del key
    return 1.0 - image


def random_intensity(
    key: jax.Array,
    image: jax.Array,
    *,
    brightness: float = 0.0,
    brightness_probability: float = 0.0,
    contrast: float = 0.0,
    contrast_probability: float = 0.0,
    gamma: float = 0.0,
    gamma_probability: float = 0.0,
    blur: float = 0.0,
    blur_probability: float = 0.0,
    bias_field: float = 0.0,
    bias_field_probability: float = 0.0,
    noise: float = 0.0,
    noise_probability: float = 0.0,
    reversal_probability: float = 0.0,
) -> jax.Array:
    """Applies each transformation with its own probability, in acquisition's order.

    Blur and bias field belong to the scanner, noise to the receiver, brightness,
    contrast and gamma to the display; reversal comes last, so that it is exactly
    1 - x of everything before. A probability of zero costs nothing.

    Args:
        key: One random key.
        image: `[height, width, 1]`.
        brightness: Largest shift, in units of the intensity range.
        brightness_probability: How often brightness changes.
        contrast: Largest relative stretch.
        contrast_probability: How often contrast changes.
        gamma: Largest |log γ|.
        gamma_probability: How often γ differs from 1.
        blur: Largest standard deviation, px.
        blur_probability: How often the image is blurred.
        bias_field: Largest polynomial coefficient.
        bias_field_probability: How often there is a bias field.
        noise: Largest standard deviation, in units of the intensity range.
        noise_probability: How often noise is added.
        reversal_probability: How often the image becomes 1 - x.

    Returns:
        `[height, width, 1]`, not clipped.

    Reference:
        Seince et al., "Dense Self-Supervised Learning for Medical Image
        Segmentation", MIDL 2024, section 3 (1).
    """
    steps = (
        (blur_probability, random_blur, {"max_std_px": blur}),
        (bias_field_probability, random_bias_field, {"max_coefficient": bias_field}),
        (noise_probability, random_noise, {"max_std": noise}),
        (gamma_probability, random_gamma, {"max_log": gamma}),
        (contrast_probability, random_contrast, {"max_change": contrast}),
        (brightness_probability, random_brightness, {"max_delta": brightness}),
        (reversal_probability, random_reversal, {}),
    )
    for index, (probability, transform, options) in enumerate(steps):
        if probability <= 0:
            continue
        apply_key, change_key = jax.random.split(jax.random.fold_in(key, index))
        changed = transform(change_key, image, **options)
        image = jnp.where(jax.random.bernoulli(apply_key, probability), changed, image)
    return image
