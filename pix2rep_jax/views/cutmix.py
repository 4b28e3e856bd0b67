"""CutMix: a box of one image is replaced by the same box of another."""

import jax
import jax.numpy as jnp

__all__ = ["paste", "sample_box"]


def sample_box(
    key: jax.Array,
    *,
    height: int,
    width: int,
    probability: float,
    area: tuple[float, float],
    aspect: tuple[float, float],
) -> jax.Array:
    """Draws a box that lies inside the image, or no box.

    The area is drawn first. The aspect is uniform among those of which a box of that
    area fits, and the place is uniform among those where it fits.

    Args:
        key: One random key.
        height: Rows of the image.
        width: Columns of the image.
        probability: How often there is a box.
        area: Range of the box's area, as a share of the image's. The sides are rounded
            down to whole pixels.
        aspect: Range of the box's height over its width, in a square image.

    Returns:
        `[height, width]` bool, True in the box.

    Reference:
        Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with
        Localizable Features", ICCV 2019. The ranges come from Yang et al., "Revisiting
        Weak-to-Strong Consistency in Semi-Supervised Semantic Segmentation", CVPR 2023.
        They draw aspect and place anew until the box fits.
    """
    chance, *draw = jax.random.uniform(key, (5,))
    share = area[0] + draw[0] * (area[1] - area[0])
    # Neither side may be longer than the image's.
    low, high = jnp.maximum(aspect[0], share), jnp.minimum(aspect[1], 1 / share)
    ratio = low + draw[1] * (high - low)
    rows = jnp.floor(jnp.minimum(1.0, jnp.sqrt(share * ratio)) * height)
    columns = jnp.floor(jnp.minimum(1.0, jnp.sqrt(share / ratio)) * width)
    # Rounding may lift a draw close to 1 to the number of places.
    top = jnp.minimum(jnp.floor(draw[2] * (height - rows + 1)), height - rows)
    left = jnp.minimum(jnp.floor(draw[3] * (width - columns + 1)), width - columns)
    row, column = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    inside = (row >= top) & (row < top + rows)
    inside &= (column >= left) & (column < left + columns)
    return inside & (chance < probability)


def paste(box: jax.Array, image: jax.Array, other: jax.Array) -> jax.Array:
    """Replaces what lies in the boxes.

    Args:
        box: `[..., height, width]` bool.
        image: `[..., height, width]` or `[..., height, width, channels]`.
        other: What stands in the boxes, of the same shape.
    """
    if image.ndim > box.ndim:
        box = box[..., None]
    return jnp.where(box, other, image)
