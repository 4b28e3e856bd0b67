"""The keys that a run begins with."""

import jax
import numpy as np
import pytest

from pix2rep_jax.training.run_keys import make_run_keys


@pytest.mark.parametrize("seed", [0, 5, 2**31, 2**32 - 1])
@pytest.mark.parametrize("draw", [None, 0, 3, 2**32 - 1])
def test_they_are_those_of_jax_random(seed, draw):
    """Also with the largest seeds that the configuration takes."""
    key = jax.random.key(seed)
    if draw is not None:
        key = jax.random.fold_in(key, draw)
    expected = jax.random.key_data(jax.random.split(key))
    ours = [jax.random.key_data(each) for each in make_run_keys(seed, draw=draw)]
    np.testing.assert_array_equal(ours, expected)


def test_another_seed_needs_no_other_program(caplog):
    """Nor does another draw of patients."""
    make_run_keys(1, draw=1)
    with jax.log_compiles():
        make_run_keys(2, draw=7)
    assert not [x for x in caplog.messages if "Finished XLA" in x]
