"""Elastic deformations: a few control points displace all pixels smoothly."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.config_checks import (
    all_of,
    between,
    share,
    whole_numbers,
)
from pix2rep_jax.wording import count

__all__ = ["SETTINGS", "check_grids", "sample_displacement", "spline_displacement"]


SETTINGS = {
    "elastic_probability": share,
    "elastic_grids": all_of(
        whole_numbers, between(2, 64, "control points along a side")
    ),
    "elastic_reach": between(0, 0.5, "a share of the side, not px"),
}
"""Options of `sample_displacement`, as the configuration names them."""


def check_grids(name: str, spatial: Mapping[str, Any]) -> None:
    """Checks that each control grid has a reach.

    Args:
        name: Dotted name of the section, such as "augment.spatial".
        spatial: The section; it may leave both out.

    Raises:
        InputError: If there are more of the one than of the other.
    """
    grids, reach = (
        spatial.get(leaf, ()) for leaf in ("elastic_grids", "elastic_reach")
    )
    if len(grids) != len(reach):
        raise InputError(
            f"{name}.elastic_grids has {count(len(grids), 'grid')} and "
            f"{name}.elastic_reach {count(len(reach), 'number')}: give each grid a "
            "number, such as 5,9 and 0.06,0.02"
        )


def spline_displacement(points: jax.Array, *, height: int, width: int) -> jax.Array:
    """Interpolates the displacements of a grid of control points by cubic B-splines.

    The grid's outermost points lie on the image's outermost pixels, and are repeated
    outside. The image does not fold while displacements stay below 0.4 of the distance
    between two points (Choi and Lee 2000).

    Args:
        points: `[rows, columns, 2]` displacements of the control points, px; at least
            two points in each direction.
        height: Rows of the image.
        width: Columns of the image.

    Returns:
        `[height, width, 2]` float32 displacements, within the range of `points`.

    Reference:
        Rueckert et al., "Nonrigid Registration Using Free-Form Deformations:
        Application to Breast MR Images", IEEE TMI 1999.
    """
    rows = _spline_weights(height, points.shape[0])
    columns = _spline_weights(width, points.shape[1])
    # An accelerator would round positions to bfloat16.
    return jnp.einsum("hi,ijc,wj->hwc", rows, points, columns, precision="highest")


def _spline_weights(length: int, num_points: int) -> jax.Array:
    """Computes the `[length, num_points]` weights of control points at pixels."""
    place = jnp.linspace(0.0, num_points - 1.0, length)
    apart = jnp.abs(place[:, None] - jnp.arange(-1.0, num_points + 1)[None])
    near = 2 / 3 - apart**2 + apart**3 / 2
    far = jnp.maximum(2 - apart, 0) ** 3 / 6
    weights = jnp.where(apart < 1, near, far)
    inner = weights[:, 1:-1]
    return inner.at[:, 0].add(weights[:, 0]).at[:, -1].add(weights[:, -1])


def sample_displacement(
    key: jax.Array,
    *,
    height: int,
    width: int,
    probability: float,
    grids: Sequence[int],
    reach: Sequence[float],
) -> jax.Array:
    """Samples the sum of spline displacements of coarse and fine control grids.

    Args:
        key: One random key.
        height: Rows of the image.
        width: Columns of the image.
        probability: How often there is a displacement.
        grids: One number per grid: its control points along each side.
        reach: One number per grid: the points' displacements are uniform in ± this
            share of the height (along rows) and of the width (along columns).

    Returns:
        `[height, width, 2]` float32 displacements, px.
    """
    # One draw for everything, because each further draw is compiled on its own.
    draw = jax.random.uniform(key, (1 + sum(2 * number**2 for number in grids),))
    total, start = jnp.zeros((height, width, 2)), 1
    for number, part in zip(grids, reach, strict=True):
        spread = 2 * draw[start : start + 2 * number**2] - 1
        start += 2 * number**2
        side = jnp.array([height, width], jnp.float32)[None, None]
        points = spread.reshape(number, number, 2) * side * part
        total += spline_displacement(points, height=height, width=width)
    return jnp.where(draw[0] < probability, total, 0.0)
