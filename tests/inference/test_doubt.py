"""Which predictions to look at first, and which scans to label next."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import entropy

from pix2rep_jax.inference.doubt import doubt, most_doubtful_slice
from pix2rep_jax.inference.label_next import (
    choose_farthest,
    describe_scan,
    standardise,
)


def test_doubt_is_the_mean_entropy_of_what_is_not_background():
    """By SciPy's entropy to the base of the number of classes."""
    draw = np.random.default_rng(0)
    probabilities = draw.dirichlet((0.3, 0.3, 0.3), (3, 5, 6))
    probabilities[0] = (0.99, 0.005, 0.005)  # surely background: not counted
    counted = probabilities[probabilities[..., 0] < 0.95]
    expected = entropy(counted, base=3, axis=-1).mean()
    assert doubt(probabilities) == pytest.approx(expected, rel=1e-5)
    half = probabilities.astype(np.float16)  # as those of whole slices are kept
    assert doubt(half) == pytest.approx(expected, abs=2e-3)
    sums = entropy(probabilities, base=3, axis=-1).sum((1, 2))
    assert most_doubtful_slice(probabilities) == sums.argmax() != 0
    nothing = np.zeros((2, 4, 4, 3))
    nothing[..., 0] = 0.9
    nothing[..., 1] = 0.1
    assert doubt(nothing) == 1.0


def test_a_scan_is_the_mean_of_its_own_pixels():
    """Padding beside the scan does not count, and at most so many slices do."""
    images = np.random.default_rng(0).random((9, 6, 7, 1))
    boxes = np.tile([1, 4, 0, 5], (9, 1))
    seen = []

    def embed(given):
        seen.append(len(given))
        return np.concatenate([given, given**2], -1)

    found = describe_scan(embed, images, boxes, most=3)
    inside = images[[0, 4, 8], 1:5, :6, 0]
    np.testing.assert_allclose(found, [inside.mean(), (inside**2).mean()])
    assert seen == [3]


def test_the_farthest_scans_are_those_of_a_loop():
    """k-centre: each new scan has the largest distance to all that count."""
    scans = np.random.default_rng(1).normal(size=(12, 4)) * (1, 10, 100, 0) + 3
    scans = standardise(scans)
    np.testing.assert_allclose(scans.std(0), (1, 1, 1, 0), atol=1e-12)
    distances, known, left = cdist(scans, scans), [2, 5], [0, 1, 3, 4, 6, 7, 8, 9]
    chosen = choose_farthest(scans, known, left, number=4)
    for index, distance in chosen:
        nearest = distances[np.ix_(known, left)].min(0)
        assert left[nearest.argmax()] == index
        assert distance == pytest.approx(nearest.max())
        known.append(index)
    assert len({index for index, _ in chosen}) == 4
    assert len(choose_farthest(scans, [0], [1, 2], number=5)) == 2
    assert choose_farthest(scans, [0], [], number=5) == []
