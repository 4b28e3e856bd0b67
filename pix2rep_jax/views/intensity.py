"""Random intensity transformations of one image: t and t' of the paper.

Images are `[height, width, 1]` with intensities about in [0, 1]; every pixel stays
where it is. The single transformations take their strength, and
`random_intensity` draws it.
"""

import dm_pix as pix
import jax
import jax.numpy as jnp

__all__ = [
    "BIAS_FIELD_TERMS",
    "adjust_gamma",
    "apply_bias_field",
    "blur",
    "random_intensity",
    "reverse",
]


# Powers of (row, column) of a polynomial of order 3 without its constant, which
# would be a change of brightness.
_POWERS = tuple((i, j) for i in range(4) for j in range(4 - i) if i + j)

BIAS_FIELD_TERMS = len(_POWERS)


def apply_bias_field(image: jax.Array, coefficients: jax.Array) -> jax.Array:
    """Multiplies by exp of a smooth polynomial, as a coil's sensitivity does.

    Args:
        image: `[height, width, 1]`.
        coefficients: `[BIAS_FIELD_TERMS]`; positions run from -1 to 1.

    Returns:
        `[height, width, 1]`.
    """
    height, width, _ = image.shape
    row = jnp.linspace(-1.0, 1.0, height)[:, None]
    column = jnp.linspace(-1.0, 1.0, width)[None, :]
    terms = jnp.stack([row**i * column**j for i, j in _POWERS])
    field = jnp.einsum("p,phw->hw", coefficients, terms, precision="highest")
    return image * jnp.exp(field)[..., None]


def blur(image: jax.Array, std_px: jax.Array, *, radius: int) -> jax.Array:
    """Blurs by a Gaussian; the border is continued outwards.

    Args:
        image: `[height, width, 1]`.
        std_px: Standard deviation, px, above zero.
        radius: Where the Gaussian is cut off, px.

    Returns:
        `[height, width, 1]`.
    """
    offsets = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    taps = jnp.exp(-0.5 * (offsets / std_px) ** 2)
    taps = taps / taps.sum()

    # Banded matrices rather than pix.gaussian_blur: a convolution whose kernel
    # differs from image to image is slow under vmap.
    def band(size: int) -> jax.Array:
        shifts = offsets.astype(jnp.int32)[None, :]
        target = jnp.arange(size)[:, None]
        source = jnp.clip(target + shifts, 0, size - 1)
        zeros = jnp.zeros((size, size))
        return zeros.at[target, source].add(jnp.broadcast_to(taps, source.shape))

    height, width, _ = image.shape
    bands = band(height), image, band(width)
    # An accelerator would round the image to the digits of a bfloat16.
    return jnp.einsum("rh,hwc,sw->rsc", *bands, precision="highest")


def adjust_gamma(image: jax.Array, gamma: jax.Array) -> jax.Array:
    """Raises intensities to the power `gamma`, and clips them to [-1, 1] before.

    The sign is kept. Gamma is a display's, whose range ends at 1; noise and bias field
    may have led beyond it.

    Args:
        image: `[height, width, 1]`.
        gamma: The exponent, above zero.

    Returns:
        `[height, width, 1]`, in [-1, 1].
    """
    # The slope at zero is infinite for gamma < 1: clip, so that no NaN can arise.
    magnitude = pix.adjust_gamma(jnp.maximum(jnp.abs(image), 1e-6), gamma)
    return jnp.sign(image) * magnitude


def reverse(image: jax.Array) -> jax.Array:
    """Turns dark into bright: 1 - x, the paper's intensity reversal."""
    return 1.0 - image


def random_intensity(
    key: jax.Array,
    image: jax.Array,
    *,
    max_blur: float = 0.0,
    blur_probability: float = 0.0,
    max_bias_field: float = 0.0,
    bias_field_probability: float = 0.0,
    max_noise: float = 0.0,
    noise_probability: float = 0.0,
    max_gamma: float = 0.0,
    gamma_probability: float = 0.0,
    max_contrast: float = 0.0,
    contrast_probability: float = 0.0,
    max_brightness: float = 0.0,
    brightness_probability: float = 0.0,
    reversal_probability: float = 0.0,
) -> jax.Array:
    """Applies each transformation with its own probability, in acquisition's order.

    Blur and bias field belong to the scanner, noise to the receiver, gamma, contrast
    and brightness to the display; reversal comes last, so that it is exactly 1 - x of
    everything before. A probability of zero costs nothing.

    Args:
        key: One random key.
        image: `[height, width, 1]`.
        max_blur: The Gaussian's standard deviation is uniform up to this, px.
        blur_probability: How often the image is blurred.
        max_bias_field: Polynomial coefficients are uniform in ± this.
        bias_field_probability: How often there is a bias field.
        max_noise: The Gaussian noise's standard deviation is uniform up to this, in
            units of the intensity range.
        noise_probability: How often noise is added.
        max_gamma: log γ is uniform in ± this.
        gamma_probability: How often γ differs from 1.
        max_contrast: Intensities are stretched about their mean by 1 ± this.
        contrast_probability: How often contrast changes.
        max_brightness: The shift is uniform in ± this, in units of the range.
        brightness_probability: How often brightness changes.
        reversal_probability: How often the image becomes 1 - x.

    Returns:
        `[height, width, 1]`; may leave [0, 1], by noise and bias field within [-1, 1]
        only where gamma is drawn.

    Reference:
        Seince et al., "Dense Self-Supervised Learning for Medical Image
        Segmentation", MIDL 2024, section 3 (1).
    """
    scalar_key, field_key, noise_key = jax.random.split(key, 3)
    # One draw for all scalars: each further one is a program of its own to compile.
    chance, strength = jax.random.uniform(scalar_key, (2, 7))
    spread = 2 * strength - 1
    if blur_probability > 0:
        radius = max(1, round(3 * max_blur))
        blurred = blur(image, strength[0] * max_blur + 1e-3, radius=radius)
        image = jnp.where(chance[0] < blur_probability, blurred, image)
    if bias_field_probability > 0:
        coefficients = max_bias_field * jax.random.uniform(
            field_key, (BIAS_FIELD_TERMS,), minval=-1.0, maxval=1.0
        )
        coefficients = jnp.where(chance[1] < bias_field_probability, coefficients, 0.0)
        image = apply_bias_field(image, coefficients)
    if noise_probability > 0:
        std = jnp.where(chance[2] < noise_probability, strength[2] * max_noise, 0.0)
        image = image + std * jax.random.normal(noise_key, image.shape)
    if gamma_probability > 0:
        changed = adjust_gamma(image, jnp.exp(spread[3] * max_gamma))
        image = jnp.where(chance[3] < gamma_probability, changed, image)
    if contrast_probability > 0:
        changed = pix.adjust_contrast(image, 1.0 + spread[4] * max_contrast)
        image = jnp.where(chance[4] < contrast_probability, changed, image)
    if brightness_probability > 0:
        changed = pix.adjust_brightness(image, spread[5] * max_brightness)
        image = jnp.where(chance[5] < brightness_probability, changed, image)
    if reversal_probability > 0:
        image = jnp.where(chance[6] < reversal_probability, reverse(image), image)
    return image
