import numpy as np
import pytest

from pix2rep_jax.data.slices.percentile import find_percentiles

DRAW = np.random.default_rng(0)
ARRAYS = {
    "random": DRAW.gamma(2, 20, (70, 60, 9)),
    "mostly equal": np.where(DRAW.random((70, 60, 9)) < 0.97, 0, 5.5),
    "rising": np.arange(37_800.0).reshape(70, 60, 9),
    # Every 18th value is large: a sample with such a stride sees nothing else.
    "unlike its sample": np.where(np.arange(37_800) % 18, 1, 1e3) + DRAW.random(37_800),
    "few": DRAW.normal(size=(3, 2)),
    "one": np.array([[7.25]]),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8])
@pytest.mark.parametrize("name", ARRAYS)
def test_they_are_numpys_to_the_bit(name, dtype):
    """Near both ends, in the middle and at random; in any order of memory."""
    array = ARRAYS[name].clip(0, 250 if dtype == np.uint8 else 30_000).astype(dtype)
    shares = (0, 0.5, 1, 2.5, 50, 60, 99, 99.5, 100, *DRAW.uniform(0, 100, 20).tolist())
    expected = np.percentile(array, shares)
    assert find_percentiles(array, shares) == expected.tolist()
    turned = np.asfortranarray(array)[::-1]
    assert find_percentiles(turned, shares) == expected.tolist()
