"""Which slice of a volume a picture shows."""

import dataclasses

import numpy as np
import pytest

from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.figures.selection import middle_slice
from tests.support.patients import make_dataset, make_volumes


@pytest.mark.parametrize(
    ("shown", "chosen"),
    [
        ([{0}, {1}, {1}, {1, 2}, {1, 2}, {1, 2}, {0}], 3),  # it is the middle one
        ([{1}, {1}, {1}, {1}, {1, 2}, {1, 2}, {1, 2}], 5),
        ([{1, 2}, {1}, {1}, {1}, {0}, {0}, {0}], 0),
        ([{0}, {0}, {1}, {0}, {0}, {0}, {0}], 2),
        ([{0}] * 7, 3),
        ([{UNLABELLED}] * 7, 3),
    ],
)
def test_the_slice_shows_most_structures(shown, chosen):
    """The middle one of those that show any, unless others show more."""
    dataset = make_dataset(make_volumes([1, 2])[:2], counts=[2, 7])
    labels = np.zeros((9, 1, 2), np.uint8)
    for label, values in zip(labels[2:], shown, strict=True):
        label[0] = (min(values), max(values))
    dataset = dataclasses.replace(dataset, labels=labels)
    assert middle_slice(dataset, 1) == 2 + chosen
