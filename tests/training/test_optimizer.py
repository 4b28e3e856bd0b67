"""Learning rates by part of the network, and their schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError
from pix2rep_jax.training.optimizer import (
    count_steps,
    count_warmup,
    make_optimizer,
    make_schedule,
)


def test_each_part_is_plain_adam_at_its_own_rate(key):
    """Every part moves exactly as optax.adam with that part's rate moves it."""
    params = {
        "backbone": {"kernel": jax.random.normal(key, (3, 2))},
        "head": {"kernel": jnp.ones((2,)), "bias": jnp.zeros(())},
    }
    rates = {"backbone": 5e-5, "head": 1e-2}
    tx = make_optimizer(rates, lambda step: 1.0)
    state = tx.init(params)
    references = {name: optax.adam(rate) for name, rate in rates.items()}
    reference_states = {n: references[n].init(params[n]) for n in rates}
    for step in range(3):
        grads = jax.tree.map(lambda p, s=step: p + s + 1.0, params)
        updates, state = tx.update(grads, state, params)
        for name in rates:
            expected, reference_states[name] = references[name].update(
                grads[name], reference_states[name], params[name]
            )
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
                updates[name],
                expected,
            )


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_each_update_has_the_rate_of_its_own_step(weight_decay):
    """The schedule is read at the step that the update makes, from 0 on. Adam's first
    updates under a gradient that never changes are as long as the rate."""
    factors = np.array([1.0, 0.25, 0.5, 0.125], np.float32)
    tx = make_optimizer(
        {"head": 0.1},
        lambda step: jnp.asarray(factors)[step],
        weight_decay=weight_decay,
    )
    params = {"head": {"bias": jnp.ones(())}}  # which does not decay
    grads, state = {"head": {"bias": jnp.float32(2.0)}}, tx.init(params)
    for factor in factors:
        updates, state = tx.update(grads, state, params)
        np.testing.assert_allclose(updates["head"]["bias"], -0.1 * factor, rtol=1e-4)


def test_weight_decay_touches_kernels_only():
    """With zero gradients kernels shrink, and biases and scales stay."""
    params = {"backbone": {"a": {"kernel": jnp.ones(3), "bias": jnp.ones(3)}}}
    tx = make_optimizer({"backbone": 0.1}, lambda step: 1.0, weight_decay=0.5)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(zeros, tx.init(params), params)
    np.testing.assert_allclose(updates["backbone"]["a"]["kernel"], -0.05, rtol=1e-6)
    np.testing.assert_array_equal(updates["backbone"]["a"]["bias"], 0)


def test_cosine_rises_then_falls_to_zero():
    """Warm-up is linear and never zero; the cosine ends at zero."""
    schedule = make_schedule("cosine", num_steps=100, warmup_steps=10)
    values = np.array([schedule(step) for step in range(101)])
    np.testing.assert_allclose(values[:10], (np.arange(10) + 1) / 11, rtol=1e-6)
    expected = 0.5 * (1 + np.cos(np.pi * np.arange(91) / 90))
    np.testing.assert_allclose(values[10:], expected, atol=1e-6)


def test_constant_stays():
    """Without warm-up the constant schedule is one from the first step on."""
    schedule = make_schedule("constant", num_steps=5, warmup_steps=0)
    assert [float(schedule(step)) for step in range(5)] == [1.0] * 5


def test_unknown_schedule_is_refused():
    """A schedule that does not exist is named in the error."""
    with pytest.raises(InputError, match=r"schedule is 'linear'"):
        make_schedule("linear", num_steps=5, warmup_steps=0)


@pytest.mark.parametrize(
    ("num_steps", "num_epochs", "num_samples", "expected"),
    [(7, 200, 100, 7), (0, 200, 1000, 25_000), (0, 3, 10, 4), (0, 1, 1, 1)],
)
def test_number_of_steps(num_steps, num_epochs, num_samples, expected):
    """`num_steps` decides, else as many as show each sample `num_epochs` times."""
    recipe = ConfigDict(
        {"num_steps": num_steps, "num_epochs": num_epochs, "batch_size": 8}
    )
    assert count_steps(recipe, num_samples=num_samples) == expected
    recipe.min_steps = 100
    assert count_steps(recipe, num_samples=num_samples) == (
        num_steps or max(expected, 100)
    )


@pytest.mark.parametrize(("num_steps", "num_epochs"), [(0, 0), (-3, 5), (0, -1)])
def test_no_step_at_all_is_refused(num_steps, num_epochs):
    """A run that would train nothing is a mistake, not a finished run."""
    recipe = ConfigDict(
        {"num_steps": num_steps, "num_epochs": num_epochs, "batch_size": 8}
    )
    with pytest.raises(InputError, match=f"num_steps={num_steps} "):
        count_steps(recipe, num_samples=10)


def test_a_warm_up_may_be_a_share_of_the_run():
    """The longer of both counts; a configuration from before has the steps alone."""
    recipe = ConfigDict({"warmup_steps": 50})
    assert count_warmup(recipe, num_steps=3000) == 50
    recipe.warmup_share = 0.05
    assert count_warmup(recipe, num_steps=3000) == 150
    assert count_warmup(recipe, num_steps=600) == 50
