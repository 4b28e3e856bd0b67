"""Where each pixel of a view comes from: φ⁻¹ as a random map of the image plane.

Conventions of this folder:

- A position is (row, column) in pixels.
- A *centred* position has its origin in the middle of the image, so rotations and zooms
  keep the centre.
- An *array* position has its origin in the middle of the first pixel, so integers are
  pixels.
- Matrices are `[2, 3]` and pull. They take a position in the output to the position in
  the input that it is read from. For an image moved by φ that is φ⁻¹ (Seince et al.,
  "Dense Self-Supervised Learning for Medical Image Segmentation", MIDL 2024,
  footnote 2).
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from pix2rep_jax.runtime.config_checks import (
    all_of,
    anything,
    ascending,
    between,
    choice,
    pair,
    share,
)
from pix2rep_jax.views import elastic
from pix2rep_jax.views.elastic import sample_displacement

__all__ = [
    "centred_positions",
    "inside",
    "sample_pull_matrix",
    "sample_sources",
    "to_array_positions",
    "whole_image",
]


SETTINGS = {
    "max_rotation": between(
        0, 6.29, "radians: 90 degrees are 1.571, and 3.142 or more is any angle"
    ),
    "rotation_probability": share,
    "extent": all_of(pair, between(0.05, 5, "a share of the side"), ascending),
    "extent_probability": share,
    "flip_probability": share,
    "max_shift": all_of(
        pair,
        between(0, 0.5, "shares of the side; more leaves nothing of the image in view"),
    ),
    "shift_probability": share,
    "shift_inside": anything,
    "upright": choice("auto", True, False),
    **elastic.SETTINGS,
}
"""Options of `sample_sources`, as the configuration names them."""

_MOST_TILT = math.radians(20)
"""Largest rotation of views that stay upright, rad."""


def sample_pull_matrix(
    key: jax.Array,
    *,
    height: int,
    width: int,
    max_rotation: float,
    rotation_probability: float = 1.0,
    extent: tuple[float, float],
    extent_probability: float = 1.0,
    flip_probability: float,
    max_shift: tuple[float, float],
    shift_probability: float = 1.0,
    shift_inside: bool = False,
    upright: bool | str = False,
) -> jax.Array:
    """Samples φ⁻¹ itself: a flip, then a zoom, then a rotation, then a shift.

    Args:
        key: One random key.
        height: Rows of the image.
        width: Columns of the image.
        max_rotation: The angle is uniform in ±`max_rotation` (rad). From π on it is any
            angle.
        rotation_probability: How often there is a rotation.
        extent: Range of the side of the region that the output shows, as a fraction of
            the image's side. The fraction is uniform in it; below 1 it magnifies.
        extent_probability: How often the extent differs from 1.
        flip_probability: How often the rows or the columns are mirrored, each as
            often as the other. With rotations of ±90° every mirror axis occurs.
        max_shift: The shift of (rows, columns) is uniform in ± these shares of the
            image's height and width.
        shift_probability: How often there is a shift.
        shift_inside: Limits the shift to half the image's side, and multiplies it by
            `1 - extent`. If `max_shift` is 0.5, the region (before the rotation) lies
            anywhere inside the frame. If it is smaller, the region stays nearer to the
            middle.
        upright: True mirrors nothing, and turns every image, by 20° at most. "auto",
            which a run's plan replaces, counts as False.

    Returns:
        A `[2, 3]` pull matrix for centred positions.
    """
    max_rotation = min(max_rotation, math.pi)
    if upright is True:
        max_rotation = min(max_rotation, _MOST_TILT)
        rotation_probability, flip_probability = 1.0, 0.0
    # One draw for everything, because each further draw is compiled on its own.
    draw = jax.random.uniform(key, (8,))
    spread = 2 * draw - 1
    angle = jnp.where(draw[0] < rotation_probability, spread[1] * max_rotation, 0.0)
    scale = extent[0] + draw[2] * (extent[1] - extent[0])
    scale = jnp.where(draw[3] < extent_probability, scale, 1.0)
    flips = draw[4] < flip_probability
    upside_down = draw[4] < flip_probability / 2
    flip_rows = jnp.where(upside_down, -1.0, 1.0)
    flip_columns = jnp.where(flips & ~upside_down, -1.0, 1.0)
    sides = jnp.array([height, width], jnp.float32)
    reach = jnp.array(max_shift, jnp.float32) * sides
    if shift_inside:
        # The outermost positions are the centres of the outermost pixels.
        reach = jnp.minimum(reach, (sides - 1) / 2) * jnp.maximum(1.0 - scale, 0.0)
    shift = jnp.where(draw[5] < shift_probability, spread[6:8] * reach, 0.0)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    rows = jnp.stack([cos * flip_rows, -sin * flip_columns]) * scale
    columns = jnp.stack([sin * flip_rows, cos * flip_columns]) * scale
    return jnp.column_stack([jnp.stack([rows, columns]), shift])


def sample_sources(
    key: jax.Array,
    *,
    height: int,
    width: int,
    elastic_probability: float = 0.0,
    elastic_grids: Sequence[int] = (),
    elastic_reach: Sequence[float] = (),
    **affine: Any,
) -> jax.Array:
    """Samples φ⁻¹ of every pixel: an elastic displacement, then an affine map.

    Args:
        key: One random key. The affine map is that of `sample_pull_matrix` with this
            key, with and without a displacement.
        height: Rows of the image.
        width: Columns of the image.
        elastic_probability: How often there is a displacement.
        elastic_grids: One number per control grid: its points along each side.
        elastic_reach: One number per control grid: the largest displacement of its
            points in the output, as a share of the image's side. An affine map that
            magnifies makes it shorter in the input.
        **affine: Options of `sample_pull_matrix`.

    Returns:
        `[height, width, 2]` float32 array positions in the input.
    """
    matrix = sample_pull_matrix(key, height=height, width=width, **affine)
    positions = centred_positions(height, width)
    if elastic_probability > 0:
        positions += sample_displacement(
            jax.random.fold_in(key, 1),
            height=height,
            width=width,
            probability=elastic_probability,
            grids=elastic_grids,
            reach=elastic_reach,
        )
    return to_array_positions(matrix, positions, height=height, width=width)


def centred_positions(height: int, width: int) -> jax.Array:
    """Returns the `[height, width, 2]` centred positions of all pixels."""
    rows = jnp.arange(height, dtype=jnp.float32) - (height - 1) / 2
    columns = jnp.arange(width, dtype=jnp.float32) - (width - 1) / 2
    return jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), axis=-1)


def to_array_positions(
    matrix: jax.Array, positions: jax.Array, *, height: int, width: int
) -> jax.Array:
    """Finds where in the input's array each output position is read from.

    Args:
        matrix: `[2, 3]` pull matrix.
        positions: `[..., 2]` centred positions in the output.
        height: Rows of the input.
        width: Columns of the input.

    Returns:
        `[..., 2]` array positions in the input. They are always float32, because
        bfloat16 cannot represent half pixels above 128.
    """
    # Not a matrix product: an accelerator may compute that in bfloat16.
    matrix = matrix.astype(jnp.float32)
    row, column = positions[..., 0], positions[..., 1]
    source_row = matrix[0, 0] * row + matrix[0, 1] * column + matrix[0, 2]
    source_column = matrix[1, 0] * row + matrix[1, 1] * column + matrix[1, 2]
    return jnp.stack(
        [source_row + (height - 1) / 2, source_column + (width - 1) / 2], axis=-1
    )


def whole_image(height: int, width: int) -> tuple[int, int, int, int]:
    """Returns the box of all pixels of an image, for `inside`."""
    return 0, height - 1, 0, width - 1


def inside(positions: jax.Array, box: ArrayLike | Sequence[float]) -> jax.Array:
    """Tells which array positions lie in a box of pixel centres.

    At these positions every neighbour with a weight is a pixel of the box. Elsewhere a
    warped value is at least partly what lies around the box.

    Args:
        positions: `[..., 2]` array positions.
        box: The box's first and last row, then its first and last column.

    Returns:
        `[...]` bool.
    """
    # A rotation by a right angle ends a rounding error outside the outermost pixels.
    slack = 1e-3
    top, bottom, left, right = jnp.asarray(box, jnp.float32)
    row, column = positions[..., 0], positions[..., 1]
    rows_inside = (row >= top - slack) & (row <= bottom + slack)
    return rows_inside & (column >= left - slack) & (column <= right + slack)
