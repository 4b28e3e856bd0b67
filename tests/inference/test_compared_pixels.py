"""Embeddings that cannot be compared are one sentence."""

import numpy as np
import pytest

from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.compared_pixels import nearest_pixels, similarity

TARGET = np.ones((2, 3, 4, 5), np.float32)


@pytest.mark.parametrize(
    ("query", "target"),
    [
        (np.ones(3), TARGET),
        (np.float32(1), TARGET),
        (np.ones((0, 5)), TARGET),
        (np.ones(5), TARGET[:0]),
        (np.ones(5), TARGET[0, 0, 0]),
        (np.array(["a"] * 5), TARGET),
    ],
    ids=["length", "one number", "no query", "no target", "no axes", "words"],
)
@pytest.mark.parametrize("compare", [similarity, nearest_pixels])
def test_other_arrays_are_refused(compare, query, target):
    with pytest.raises(InputError, match="embeddings"):
        compare(query, target)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "2"])
def test_another_number_of_neighbours_is_refused(k):
    with pytest.raises(InputError, match="k is"):
        nearest_pixels(TARGET[0, 0, 0], TARGET, k=k)
