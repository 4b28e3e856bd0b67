"""The stream of samples: complete epochs, and a pure function of key and step."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from pix2rep_jax.training.feed import (
    batch_indices,
    draw_rows,
    host_batches,
    make_batches,
    resident_batches,
    take_batch,
)
from pix2rep_jax.training.sharding import batched


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


# --- the two generators ------------------------------------------------------------

DATA = {
    "labeled": {"image": np.arange(14.0).reshape(7, 2), "label": np.arange(7)},
    "unlabeled": {"image": 100 + np.arange(22.0).reshape(11, 2)},
}
SIZES = {"labeled": 4, "unlabeled": 8}


def make_mesh(devices):
    return Mesh(np.asarray(jax.devices()[:devices]), ("data",))


def take(stream, number):
    return jax.tree.map(np.asarray, list(itertools.islice(stream, number)))


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("stream", [resident_batches, host_batches])
@pytest.mark.parametrize("first_step", [0, 5])
def test_both_streams_yield_the_batches_of_their_steps(
    key, stream, devices, first_step
):
    """Bit for bit the rows of `draw_rows`, split over the devices, from any step on;
    so a stream that begins in the middle goes on as an unbroken one."""
    options = {"order_key": key, "mesh": make_mesh(devices), "batch_size": SIZES}
    batches = stream(DATA, first_step=first_step, **options)
    for step in range(first_step, first_step + 4):
        batch = next(batches)
        assert all(
            leaf.sharding.is_equivalent_to(batched(options["mesh"]), leaf.ndim)
            for leaf in jax.tree.leaves(batch)
        )
        rows = draw_rows(
            key,
            jnp.int32(step),
            num_samples={"labeled": 7, "unlabeled": 11},
            batch_size=SIZES,
        )
        expected = take_batch(DATA, jax.tree.map(np.asarray, rows))
        expected = jax.tree.map(lambda x: np.asarray(jnp.asarray(x)), expected)
        jax.tree.map(np.testing.assert_array_equal, batch, expected)


@pytest.mark.parametrize(("budget_mb", "devices"), [(0, 1), (0, 4), (100, 4)])
def test_the_stream_depends_on_neither_place_nor_devices(key, budget_mb, devices):
    """It equals that of data resident on one device, and its key may be donated."""
    options = {"batch_size": SIZES, "first_step": 2}
    expected = make_batches(DATA, key=key, mesh=make_mesh(1), budget_mb=100, **options)
    expected = take(expected, 5)
    own_key = key.copy()
    found = make_batches(
        DATA, key=own_key, mesh=make_mesh(devices), budget_mb=budget_mb, **options
    )
    own_key.delete()
    jax.tree.map(np.testing.assert_array_equal, take(found, 5), expected)


def test_the_host_copies_a_batch_when_it_is_asked_for(key, monkeypatch):
    """By then the loop has dispatched the step before, so the copy runs beside it."""
    made = []
    spread = jax.make_array_from_callback
    monkeypatch.setattr(
        jax, "make_array_from_callback", lambda *x: made.append(None) or spread(*x)
    )
    data = {"image": np.arange(6.0)[:, None]}
    batches = host_batches(
        data, order_key=key, first_step=0, mesh=make_mesh(1), batch_size=2
    )
    counts = []
    for _ in range(3):
        next(batches)
        counts.append(len(made))
    assert counts == [1, 2, 3]
