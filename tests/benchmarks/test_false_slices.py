"""What the benchmark of false slices says, against masks whose figures are known."""

import numpy as np
import pytest

from benchmarks.false_slices import measure


def test_only_slices_without_the_structure_are_removed():
    """Two slices of 4 pixels: one is right, and 2 pixels of the other are false. The
    second structure has a false pixel in its own slice, which stays."""
    expert, labels = np.zeros((2, 4, 4, 2), np.uint8)
    expert[0, :, 0] = labels[0, :, 0] = labels[0, :2, 1] = 1
    expert[1, :2, 1] = labels[1, :3, 1] = 2
    found = measure(labels, expert, num_classes=4)
    assert found.dice[:2] == pytest.approx([8 / 10, 4 / 5])
    assert found.within[:2] == pytest.approx([1, 4 / 5])
    assert found.removed[:2] == pytest.approx([2 / 4, 0])
    assert np.isnan([figure[2] for figure in found]).all()


def test_pixels_without_a_label_count_nowhere():
    expert, labels = np.zeros((2, 2, 2, 2), np.uint8)
    expert[..., 0], labels[...] = 1, 1
    expert[..., 1] = 255
    found = measure(labels, expert, num_classes=2)
    assert [*found] == [[1], [1], [0]]
