"""The stream of samples: complete epochs, and a pure function of key and step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2rep_jax.training.feed import batch_indices, draw_rows, take_batch


def stream(key, *, num_samples: int, batch_size: int, num_steps: int) -> np.ndarray:
    draw = jax.jit(
        lambda step: batch_indices(
            key, step, num_samples=num_samples, batch_size=batch_size
        )
    )
    return np.concatenate([draw(jnp.int32(step)) for step in range(num_steps)])


@pytest.mark.parametrize(
    ("num_samples", "batch_size"), [(10, 4), (7, 8), (3, 8), (8, 8), (1, 4), (23, 5)]
)
def test_every_epoch_shows_each_sample_once(key, num_samples, batch_size):
    """Cut at multiples of the data set's size, the stream is a row of permutations."""
    drawn = stream(
        key, num_samples=num_samples, batch_size=batch_size, num_steps=2 * num_samples
    )
    epochs = drawn.reshape(-1, num_samples)
    np.testing.assert_array_equal(
        np.sort(epochs), np.tile(range(num_samples), (len(epochs), 1))
    )
    if num_samples > 5:
        assert len({tuple(epoch) for epoch in epochs}) == len(epochs)


def test_far_steps_do_not_overflow(key):
    """Step 2^30 with a large batch still gives indices of the data set."""
    indices = batch_indices(key, jnp.int32(2**30), num_samples=1500, batch_size=64)
    assert indices.min() >= 0 and indices.max() < 1500
    assert len(set(indices.tolist())) == 64


def test_keys_give_different_orders(key):
    """Two runs with different keys see the samples in different orders."""
    options = dict(num_samples=50, batch_size=10, num_steps=5)
    one = stream(key, **options)
    assert (one != stream(jax.random.fold_in(key, 1), **options)).any()
    np.testing.assert_array_equal(one, stream(key, **options))


def test_take_batch_takes_the_same_rows_of_everything():
    """Images and labels stay together."""
    data = {"image": jnp.arange(12.0).reshape(6, 2), "label": jnp.arange(6)}
    batch = take_batch(data, jnp.array([4, 1]))
    np.testing.assert_array_equal(batch["label"], [4, 1])
    np.testing.assert_array_equal(batch["image"], [[8, 9], [2, 3]])


def test_sets_are_drawn_apart_and_taken_apart(key):
    """The first of two sets is drawn as if it were alone, so a run without another
    keeps its order; the second in an order that is not the first's, though they are
    equally large; each complete in each epoch."""
    options = {"num_samples": 12, "batch_size": 4}
    both = {name: {"a": value, "b": value} for name, value in options.items()}
    rows = [draw_rows(key, jnp.int32(step), **both) for step in range(9)]
    first, second = (np.concatenate([x[name] for x in rows]) for name in "ab")
    np.testing.assert_array_equal(first, stream(key, num_steps=9, **options))
    assert (first != second).any()
    np.testing.assert_array_equal(
        np.sort(second.reshape(3, 12)), np.tile(range(12), (3, 1))
    )
    data = {"a": {"image": jnp.arange(12)}, "b": 100 + jnp.arange(12)}
    batch = take_batch(data, rows[0])
    np.testing.assert_array_equal(batch["a"]["image"], first[:4])
    np.testing.assert_array_equal(batch["b"], 100 + second[:4])
