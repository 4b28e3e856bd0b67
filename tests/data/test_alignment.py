"""Discs drawn in millimetres lie where they are, in images and in masks.

Each disc is drawn from its centre and radius, without the program's own arithmetic. A
single disc moves by a part of a pixel when it is sampled. On average over many places
nothing may move, in either direction.
"""

import numpy as np
import pytest

from pix2rep_jax.data.slices.grid import centre_grid
from pix2rep_jax.data.slices.resample import (
    INTERPOLATIONS,
    resample_image,
    resample_label,
    restore_labels,
)

# Field of view (mm) and side (px) of the configurations `small` and `paper`.
SIZES = {"small": (160.0, 64), "paper": (179.2, 128)}
SPACINGS_MM = [(1.25, 1.25), (1.4, 0.7), (2.5, 1.5625)]
SIDE_MM, RADIUS_MM, REACH_MM, COUNT = 66, 20, 11, 200


def sides(spacing_mm, odd) -> tuple[int, int]:
    """The number of rows and of columns: about 66 mm, each odd or even."""
    halves = [int(SIDE_MM / spacing / 2) for spacing in spacing_mm]
    return tuple(2 * half + one for half, one in zip(halves, odd, strict=True))


def places_mm(shape, spacing_mm, *, parts=1) -> list[np.ndarray]:
    """Rows' and columns' distances from the slice's middle, each pixel in parts."""
    return [
        ((np.arange(length * parts) + 0.5) / parts - length / 2) * spacing
        for length, spacing in zip(shape, spacing_mm, strict=True)
    ]


def draw_discs(centres_mm, shape, spacing_mm, *, parts) -> np.ndarray:
    """`[discs, rows, columns]`: the share of each pixel's parts inside the disc."""
    rows, columns = places_mm(shape, spacing_mm, parts=parts)
    row = (rows - centres_mm[:, :1])[..., None] ** 2
    column = (columns - centres_mm[:, 1:])[:, None] ** 2
    inside = row + column < RADIUS_MM**2
    return inside.reshape(-1, shape[0], parts, shape[1], parts).mean((2, 4))


def centroids(planes) -> np.ndarray:
    """`[discs, 2]`: the mean row and column of each plane, weighted by its values."""
    row = (planes.sum(2) * np.arange(planes.shape[1])).sum(1)
    column = (planes.sum(1) * np.arange(planes.shape[2])).sum(1)
    return np.stack([row, column], 1) / planes.sum((1, 2))[:, None]


def draw_centres(seed) -> np.ndarray:
    """Random centres (mm), spread so that every part of a pixel has its share."""
    rng = np.random.default_rng(seed)
    strata = np.stack([rng.permutation(COUNT) for _ in range(2)], 1)
    return ((strata + rng.uniform(size=strata.shape)) / COUNT - 0.5) * 2 * REACH_MM


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("odd", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
def test_discs_are_where_they_were_drawn(spacing_mm, odd, size):
    """Images and masks on the grid, and masks brought back, within 0.02 px."""
    shape = sides(spacing_mm, odd)
    fov_mm, side = SIZES[size]
    grid = centre_grid(shape, spacing_mm, fov_mm=fov_mm, size=side)
    centres_mm = draw_centres(seed=sum(shape) + side)
    expected = centres_mm / spacing_mm + (np.array(shape) - 1) / 2  # px of the scan
    image = draw_discs(centres_mm, shape, spacing_mm, parts=4).astype(np.float32)
    label = draw_discs(centres_mm, shape, spacing_mm, parts=1).astype(np.uint8)
    own = resample_label(label, grid)
    for planes in (resample_image(image, grid), own):
        moved = centroids(planes) - (expected - grid.origin) / grid.step
        np.testing.assert_allclose(moved.mean(0), 0, atol=0.02)
    back = restore_labels(np.eye(2, dtype=np.float32)[own], grid)
    moved = centroids(back) - expected
    np.testing.assert_allclose(moved.mean(0), 0, atol=0.02)


@pytest.mark.parametrize("odd", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
def test_nearest_pixels_move_nothing_as_a_whole(spacing_mm, odd):
    """Images and masks move alike, by less than the distance between two pixels."""
    shape = sides(spacing_mm, odd)
    grid = centre_grid(shape, spacing_mm, fov_mm=160.0, size=64)
    centres_mm = draw_centres(seed=5)
    expected = centres_mm / spacing_mm + (np.array(shape) - 1) / 2
    label = draw_discs(centres_mm, shape, spacing_mm, parts=1).astype(np.uint8)
    own = resample_label(label, grid, interpolation="nearest")
    image = resample_image(label.astype(np.float32), grid, interpolation="nearest")
    np.testing.assert_array_equal(image, own)
    moved = centroids(own) - (expected - grid.origin) / grid.step
    np.testing.assert_allclose(moved.mean(0), 0, atol=0.03)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("size", [20, 21])
@pytest.mark.parametrize("shape", [(20, 20), (21, 21), (20, 21), (31, 14)])
def test_masks_on_the_scans_own_pixels_come_back_as_they_were(
    shape, size, interpolation
):
    """Whatever the parity of the sides, and with a spacing rounded to float32."""
    label = np.random.default_rng(size).integers(0, 4, shape).astype(np.uint8)
    spacing_mm = np.float32([0.7, 0.7]).tolist()
    grid = centre_grid(shape, spacing_mm, fov_mm=0.7 * size, size=size)
    assert grid.step == (1, 1)
    assert all(first == int(first) for first in grid.origin)
    own = resample_label(label, grid, interpolation=interpolation)
    back = restore_labels(np.eye(4, dtype=np.float32)[own], grid)
    first = [int(start) for start in grid.origin]
    seen = tuple(
        slice(max(start, 0), min(start + size, length))
        for start, length in zip(first, shape, strict=True)
    )
    expected = np.zeros_like(label)
    expected[seen] = label[seen]
    np.testing.assert_array_equal(back, expected)
    assert max(shape) > size or (back == label).all()
