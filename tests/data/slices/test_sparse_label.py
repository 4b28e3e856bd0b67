"""Masks with unlabelled pixels on the network's grid, against a loop in float64."""

import numpy as np
import pytest

from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.data.slices.grid import Grid
from pix2rep_jax.data.slices.resample import resample_label

# Coarser, finer and equal grids; uneven steps; inside the slice and sticking out.
GRIDS = [
    Grid((3.3, 2.1), (1.7, 1.2), (40, 31), (16, 18)),
    Grid((-6.2, 4.0), (2.6, 0.7), (24, 33), (12, 30)),
    Grid((1.25, -3.5), (0.4, 0.55), (15, 12), (25, 20)),
    Grid((0.0, 0.0), (1.0, 1.0), (9, 14), (9, 14)),
]


def loop(label: np.ndarray, grid: Grid) -> np.ndarray:
    """Pixel by pixel: whether it is labelled, and the class of the most weight."""
    result = np.full(grid.size, UNLABELLED, np.uint8)
    known = [tuple(index) for index in np.argwhere(label != UNLABELLED)]
    for pixel in np.ndindex(*grid.size):
        centre = np.array(grid.origin) + np.array(grid.step) * pixel
        weights, has_label = np.zeros(256), False
        for index in known:
            away = np.abs(centre - index)
            sides = np.maximum(0, 1 - away / np.maximum(1, grid.step))
            weights[label[index]] += sides.prod()
            reach = np.maximum(1, grid.step) / 2 + 1e-6
            has_label |= bool((away <= reach).all())
        if has_label:
            result[pixel] = weights.argmax()
    return result


@pytest.mark.parametrize("grid", GRIDS)
def test_sparse_masks_equal_a_loop(grid):
    """Lines and dots of classes in lumps. Nothing is labelled outside the slice."""
    random = np.random.default_rng(len(grid.size))
    blocks = random.integers(0, 4, (12, 12)).repeat(4, 0).repeat(4, 1)
    label = blocks[: grid.shape[0], : grid.shape[1]].astype(np.uint8)
    label[random.random(label.shape) < 0.9] = UNLABELLED
    label[3] = 2
    np.testing.assert_array_equal(resample_label(label, grid), loop(label, grid))


def test_every_dot_is_kept_on_a_coarser_grid():
    """One labelled pixel in 700 px is one labelled pixel of 64, of the same class."""
    grid = Grid((4.97, 4.97), (10.94, 10.94), (700, 700), (64, 64))
    random = np.random.default_rng(0)
    for value in (0, 1, 3):
        label = np.full((700, 700), UNLABELLED, np.uint8)
        label[tuple(random.integers(0, 700, 2))] = value
        got = resample_label(label, grid)
        assert (got != UNLABELLED).sum() == 1 and (got == value).sum() == 1
        near = resample_label(label, grid, interpolation="nearest")
        assert (near != UNLABELLED).sum() <= 1


def test_slices_with_all_labels_are_as_they_were():
    """Also beside others that have none: padding is background there."""
    grid = GRIDS[1]
    random = np.random.default_rng(1)
    label = random.integers(0, 4, (3, *grid.shape)).astype(np.uint8)
    alone = resample_label(label, grid)
    label[1] = UNLABELLED
    got = resample_label(label, grid)
    np.testing.assert_array_equal(got[[0, 2]], alone[[0, 2]])
    assert (got[1] == UNLABELLED).all() and not (alone == UNLABELLED).any()
    assert (alone[0, 0] == 0).all()  # beyond the first row
