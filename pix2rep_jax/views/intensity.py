"""Random intensity transformations of one image: t and t' of the paper.

Images are `[height, width, channels]` with intensities in about [0, 1]. Every pixel
stays where it is. The single transformations take their strength, and
`random_intensity` draws it, for each channel anew.
"""

import itertools

import dm_pix as pix
import jax
import jax.numpy as jnp

from pix2rep_jax.runtime.config_checks import between, share

__all__ = [
    "BIAS_FIELD_TERMS",
    "adjust_gamma",
    "apply_bias_field",
    "blur",
    "convolve",
    "random_intensity",
    "reverse",
]

_OF_RANGE = "in units of the intensity range, not grey levels"

SETTINGS = {
    "max_blur": between(0, 32, "px; more leaves nothing to see"),
    "blur_probability": share,
    "max_bias_field": between(0, 5, "an exponent; e^5 is a factor of 148"),
    "bias_field_probability": share,
    "max_noise": between(0, 5, _OF_RANGE),
    "noise_probability": share,
    "max_gamma": between(0, 5, "|log γ|; e^5 is 148"),
    "gamma_probability": share,
    "grey_levels": between(1, 65_536, "those of 16 bits at most"),
    "max_contrast": between(0, 5, "a share of the contrast"),
    "contrast_probability": share,
    "max_brightness": between(0, 5, _OF_RANGE),
    "brightness_probability": share,
    "convolution_probability": share,
    "reversal_probability": share,
}
"""Options of `random_intensity`, as the configuration names them."""


# Powers of (row, column) in a polynomial of order 3. Its constant would change the
# brightness, so it is left out.
_POWERS = tuple((i, j) for i in range(4) for j in range(4 - i) if i + j)

BIAS_FIELD_TERMS = len(_POWERS)


def apply_bias_field(image: jax.Array, coefficients: jax.Array) -> jax.Array:
    """Multiplies by the exponential of a smooth polynomial, like a coil's sensitivity.

    Args:
        image: `[height, width, channels]`.
        coefficients: `[BIAS_FIELD_TERMS]`; positions run from -1 to 1.

    Returns:
        `[height, width, channels]`.
    """
    height, width, _ = image.shape
    row = jnp.linspace(-1.0, 1.0, height)[:, None]
    column = jnp.linspace(-1.0, 1.0, width)[None, :]
    terms = jnp.stack([row**i * column**j for i, j in _POWERS])
    field = jnp.einsum("p,phw->hw", coefficients, terms, precision="highest")
    return image * jnp.exp(field)[..., None]


def blur(image: jax.Array, std_px: jax.Array, *, radius: int) -> jax.Array:
    """Blurs by a Gaussian; outside the image the border pixels are repeated.

    Args:
        image: `[height, width, channels]`.
        std_px: Standard deviation, px, above zero.
        radius: Where the Gaussian is cut off, px.

    Returns:
        `[height, width, channels]`.
    """
    offsets = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    taps = jnp.exp(-0.5 * (offsets / std_px) ** 2)
    taps = taps / taps.sum()

    # Banded matrices instead of pix.gaussian_blur: under vmap each image has its own
    # kernel, and such a convolution is slow.
    def band(size: int) -> jax.Array:
        shifts = offsets.astype(jnp.int32)[None, :]
        target = jnp.arange(size)[:, None]
        source = jnp.clip(target + shifts, 0, size - 1)
        zeros = jnp.zeros((size, size))
        return zeros.at[target, source].add(jnp.broadcast_to(taps, source.shape))

    height, width, _ = image.shape
    bands = band(height), image, band(width)
    # By default an accelerator would round the image to bfloat16.
    return jnp.einsum("rh,hwc,sw->rsc", *bands, precision="highest")


def adjust_gamma(
    image: jax.Array, gamma: jax.Array, *, grey_levels: float = 1.0
) -> jax.Array:
    """Raises intensities, counted in grey levels, to the power `gamma`.

    The sign is kept. With G grey levels this is sign(x) |x|^gamma G^(gamma - 1). So a
    range of 1 changes the middle intensities only, and a range of many grey levels
    becomes brighter or darker as a whole.

    Args:
        image: `[height, width, channels]`, in units of the intensity range.
        gamma: The exponent, above zero.
        grey_levels: Grey levels in the intensity range.

    Returns:
        `[height, width, c]`, in units of the intensity range. Values may leave it.
    """
    # For gamma < 1 the slope at zero is infinite. The lower limit avoids a NaN.
    magnitude = jnp.maximum(jnp.abs(image), 1e-6)
    return jnp.sign(image) * magnitude**gamma * grey_levels ** (gamma - 1)


_WIDTHS = (1, 2, 2, 2, 1)
"""Channels of the random network, from its input to its output."""

_LEAST_STD = 1e-6


def convolve(key: jax.Array, image: jax.Array) -> jax.Array:
    """Mixes an image with the output of a random network, as another scanner might.

    Four convolutions with random weights and leaky ReLUs change which tissue is bright,
    and how, but not where anything lies. Mean and standard deviation stay.

    Args:
        key: One random key, for the weights and the share of the network's output.
        image: `[height, width, 1]`.

    Returns:
        `[height, width, 1]`.

    Reference:
        Ouyang et al., "Causality-inspired Single-source Domain Generalization for
        Medical Image Segmentation", IEEE TMI 42(4), 2023, section III-B.
    """
    start = out = _standardise(image)
    *keys, share_key = jax.random.split(key, len(_WIDTHS))
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(_WIDTHS)):
        out = jax.nn.leaky_relu(out) if layer else out
        out = _random_layer(keys[layer], out, inputs, outputs)
    weight = jax.random.uniform(share_key)
    mixed = weight * _standardise(out) + (1 - weight) * start
    return image.mean() + (image.std() + _LEAST_STD) * _standardise(mixed)


def _standardise(image: jax.Array) -> jax.Array:
    """Shifts and scales to mean 0 and standard deviation 1; an even image becomes 0."""
    return (image - image.mean()) / (image.std() + _LEAST_STD)


def _random_layer(
    key: jax.Array, image: jax.Array, inputs: int, outputs: int
) -> jax.Array:
    """Convolves by random 3 x 3 or 1 x 1 kernels and adds random constants."""
    weight_key, bias_key, size_key = jax.random.split(key, 3)
    weights = jax.random.normal(weight_key, (3, 3, inputs, outputs))
    is_point = jax.random.bernoulli(size_key)
    centre = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1.0)
    weights *= jnp.where(is_point, centre, 1.0)
    height, width, _ = image.shape
    padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    bias = jax.random.normal(bias_key, (outputs,))
    # Under vmap each image has its own kernels, and such a convolution is slow.
    planes = [
        bias[o]
        + sum(
            weights[i, j, c, o] * padded[i : i + height, j : j + width, c]
            for i in range(3)
            for j in range(3)
            for c in range(inputs)
        )
        for o in range(outputs)
    ]
    return jnp.stack(planes, axis=-1)


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
    grey_levels: float = 1.0,
    max_contrast: float = 0.0,
    contrast_probability: float = 0.0,
    max_brightness: float = 0.0,
    brightness_probability: float = 0.0,
    convolution_probability: float = 0.0,
    reversal_probability: float = 0.0,
) -> jax.Array:
    """Applies each transformation with its own probability, in the order of a scan.

    A random network stands for another sequence. Blur and bias field belong to the
    scanner, and noise to the receiver. Gamma, contrast and brightness belong to the
    display. Reversal comes last: it is 1 - x of the result so far. A transformation
    with probability zero costs nothing. Each of several channels has draws of its own.

    Args:
        key: One random key.
        image: `[height, width, channels]`.
        max_blur: The Gaussian's standard deviation is uniform up to this, px.
        blur_probability: How often the image is blurred.
        max_bias_field: The polynomial's coefficients are uniform in ± this.
        bias_field_probability: How often there is a bias field.
        max_noise: The Gaussian noise's standard deviation is uniform up to this, in
            units of the intensity range.
        noise_probability: How often noise is added.
        max_gamma: log γ is uniform in ± this.
        gamma_probability: How often γ differs from 1.
        grey_levels: Grey levels in the intensity range, as `adjust_gamma` counts them.
        max_contrast: Intensities are stretched about their mean by a factor that is
            uniform in 1 ± this.
        contrast_probability: How often contrast changes.
        max_brightness: The shift is uniform in ± this, in units of the intensity range.
        brightness_probability: How often brightness changes.
        convolution_probability: How often a random network changes what is bright.
        reversal_probability: How often the image becomes 1 - x.

    Returns:
        `[height, width, channels]`. Values may leave [0, 1].

    Reference:
        Seince et al., "Dense Self-Supervised Learning for Medical Image
        Segmentation", MIDL 2024, section 3 (1).
    """
    channels = image.shape[-1]

    def change(key: jax.Array, image: jax.Array) -> jax.Array:
        scalar_key, field_key, noise_key = jax.random.split(key, 3)
        # One draw for all scalars, because each further draw is compiled on its own.
        chance, strength = jax.random.uniform(scalar_key, (2, 7))
        spread = 2 * strength - 1
        if convolution_probability > 0:
            # A key beside the three above, so that these draw what they always drew.
            net_key, chance_key = jax.random.split(jax.random.fold_in(key, 3))
            changed = convolve(net_key, image)
            wanted = jax.random.uniform(chance_key) < convolution_probability
            image = jnp.where(wanted, changed, image)
        if blur_probability > 0:
            radius = max(1, round(3 * max_blur))
            blurred = blur(image, strength[0] * max_blur + 1e-3, radius=radius)
            image = jnp.where(chance[0] < blur_probability, blurred, image)
        if bias_field_probability > 0:
            coefficients = max_bias_field * jax.random.uniform(
                field_key, (BIAS_FIELD_TERMS,), minval=-1.0, maxval=1.0
            )
            coefficients = jnp.where(
                chance[1] < bias_field_probability, coefficients, 0.0
            )
            image = apply_bias_field(image, coefficients)
        if noise_probability > 0:
            std = jnp.where(chance[2] < noise_probability, strength[2] * max_noise, 0.0)
            image = image + std * jax.random.normal(noise_key, image.shape)
        if gamma_probability > 0:
            gamma = jnp.exp(spread[3] * max_gamma)
            changed = adjust_gamma(image, gamma, grey_levels=grey_levels)
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

    if channels == 1:
        return change(key, image)
    # A channel is an image of its own, but for its place.
    keys = jax.random.split(key, channels)
    return jax.vmap(change, in_axes=(0, -1), out_axes=-1)(keys, image[..., None, :])[
        ..., 0, :
    ]
