"""Maps of the image plane and the differentiable warp they drive.

Positions are (row, column) in pixels throughout. A *centred* position has its
origin in the middle of the image, so that rotations and zooms keep the centre; an
*array* position counts from the middle of the first pixel, so that integers are
pixels. Matrices are `[2, 3]` and pull: they take a position of the output to the
position of the input it is read from, which is φ⁻¹ for an image moved by φ
(Seince et al., "Dense Self-Supervised Learning for Medical Image Segmentation",
MIDL 2024, footnote 2).
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from pix2rep_jax.views.elastic import sample_displacement

__all__ = [
    "centred_positions",
    "inside",
    "sample_pull_matrix",
    "sample_sources",
    "to_array_positions",
]


def sample_pull_matrix(
    key: jax.Array,
    *,
    max_rotation: float,
    rotation_probability: float = 1.0,
    extent: tuple[float, float],
    extent_probability: float = 1.0,
    flip_probability: float,
    max_shift: tuple[float, float],
    shift_probability: float = 1.0,
    shift_inside: bool = False,
) -> jax.Array:
    """Samples φ⁻¹ directly: a flip, then a zoom, then a rotation, then a shift.

    Args:
        key: One random key.
        max_rotation: The angle is uniform in ±`max_rotation` (rad).
        rotation_probability: How often there is a rotation at all.
        extent: The side of the region that the output shows, as a fraction of the
            image's side, uniform in this range: below 1 magnifies.
        extent_probability: How often the extent differs from 1.
        flip_probability: How often the columns are mirrored. With a rotation on top
            that makes every mirror axis possible.
        max_shift: The shift of (rows, columns) is uniform in ± this many px.
        shift_probability: How often there is a shift.
        shift_inside: Draws the shift uniform in ±`max_shift` times `1 - extent`
            instead: with half the image's side as `max_shift` the unrotated region
            lies anywhere inside the frame, and with less nearer to its middle.

    Returns:
        A `[2, 3]` pull matrix for centred positions.
    """
    # One draw for everything: each further one is a program of its own to compile.
    draw = jax.random.uniform(key, (8,))
    spread = 2 * draw - 1
    angle = jnp.where(draw[0] < rotation_probability, spread[1] * max_rotation, 0.0)
    scale = extent[0] + draw[2] * (extent[1] - extent[0])
    scale = jnp.where(draw[3] < extent_probability, scale, 1.0)
    flip = jnp.where(draw[4] < flip_probability, -1.0, 1.0)
    reach = jnp.asarray(max_shift, jnp.float32)
    if shift_inside:
        reach = reach * jnp.maximum(1.0 - scale, 0.0)
    shift = jnp.where(draw[5] < shift_probability, spread[6:8] * reach, 0.0)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    rows = jnp.stack([cos, -sin * flip]) * scale
    columns = jnp.stack([sin, cos * flip]) * scale
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
        key: One random key. The affine map is that of `sample_pull_matrix`, whether
            there is a displacement or not.
        height: Rows of the image.
        width: Columns of the image.
        elastic_probability: How often there is a displacement; at 0 none is drawn.
        elastic_grids: Control points along each side, of each of its grids.
        elastic_reach: Largest displacement of each grid's points, as a share of the
            image's side. An affine map that magnifies shortens it in the input.
        **affine: Options of `sample_pull_matrix`; with `shift_inside` the shift never
            reaches beyond the frame, whatever `max_shift` is.

    Returns:
        `[height, width, 2]` float32 array positions in the input.
    """
    if affine.get("shift_inside"):
        half = ((height - 1) / 2, (width - 1) / 2)
        affine["max_shift"] = tuple(map(min, affine["max_shift"], half))
    matrix = sample_pull_matrix(key, **affine)
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
        `[..., 2]` array positions in the input. They stay float32 whatever the
        image is: bfloat16 has no half pixels above 128.
    """
    # Elementwise rather than a dot: an accelerator may do a dot in bfloat16.
    matrix = matrix.astype(jnp.float32)
    row, column = positions[..., 0], positions[..., 1]
    source_row = matrix[0, 0] * row + matrix[0, 1] * column + matrix[0, 2]
    source_column = matrix[1, 0] * row + matrix[1, 1] * column + matrix[1, 2]
    return jnp.stack(
        [source_row + (height - 1) / 2, source_column + (width - 1) / 2], axis=-1
    )


def inside(positions: jax.Array, *, height: int, width: int) -> jax.Array:
    """Tells which array positions lie among the input's pixel centres.

    Only there are all neighbours that carry weight real pixels, so only there does
    a warped value hold anatomy and nothing else.

    Args:
        positions: `[..., 2]` array positions.
        height: Rows of the input.
        width: Columns of the input.

    Returns:
        `[...]` bool.
    """
    # Rotations by right angles land a rounding error outside the outermost pixels.
    slack = 1e-3
    row, column = positions[..., 0], positions[..., 1]
    rows_inside = (row >= -slack) & (row <= height - 1 + slack)
    return rows_inside & (column >= -slack) & (column <= width - 1 + slack)
