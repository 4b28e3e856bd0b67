"""BatchNorm with its ReLU, against flax and automatic differentiation."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2rep_jax.models.layers import DoubleConv
from pix2rep_jax.models.norm_relu import MOMENTUM, BatchNorm


class Flax(nn.Module):
    """The same by flax, with flax's gradient."""

    @nn.compact
    def __call__(self, x, *, train, valid=None):
        """Normalises, and applies the ReLU."""
        norm = nn.BatchNorm(use_running_average=not train, momentum=MOMENTUM, name="n")
        return nn.relu(norm(x, mask=valid))


class Ours(nn.Module):
    """Ours, under the same name."""

    @nn.compact
    def __call__(self, x, *, train, valid=None, views=1):
        """Normalises, and applies the ReLU."""
        return BatchNorm(name="n")(x, train=train, valid=valid, views=views)


def value_and_gradients(net, variables, x, weights, **options):
    """Computes the map, the statistics after it, and the gradients of a sum."""

    def total(params, x):
        y, updated = net.apply(
            {**variables, "params": params}, x, mutable=["batch_stats"], **options
        )
        return (y * weights).sum(), (y, updated)

    return jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(
        variables["params"], x
    )


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_it_is_flax_with_its_gradient(train, masked):
    """Values, statistics and gradients; the maps' means are far from zero."""
    keys = jax.random.split(jax.random.key(0), 4)
    x = 3 + 2 * jax.random.normal(keys[0], (4, 8, 6, 5))
    weights = jax.random.normal(keys[1], x.shape)
    valid = jax.random.uniform(keys[2], (4, 8, 6, 1)) < 0.6 if masked else None
    variables = Flax().init(keys[3], x, train=train)
    ours = Ours().init(keys[3], x, train=train)
    jax.tree.map(np.testing.assert_array_equal, variables, ours)
    scale, bias = jnp.array([1, 0.5, -1, 2, 0]), jnp.array([0, 0.1, 0.2, -0.3, 0.4])
    variables = {**variables, "params": {"n": {"scale": scale, "bias": bias}}}
    theirs, ours = (
        value_and_gradients(net, variables, x, weights, train=train, valid=valid)
        for net in (Flax(), Ours())
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        theirs,
        ours,
    )


@pytest.mark.parametrize("masked", [True, False])
def test_views_have_statistics_of_their_own(masked):
    """Two views at once are flax on the first view, and after it on the second."""
    keys = jax.random.split(jax.random.key(1), 3)
    x = (
        jax.random.normal(keys[0], (3, 2, 4, 6, 5))
        + jnp.array([3.0, -1.0])[None, :, None, None, None]
    )
    weights = jax.random.normal(keys[1], x.shape)
    valid = jax.random.uniform(keys[2], (3, 2, 4, 6, 1)) < 0.6 if masked else None
    scale, bias = jnp.array([1, 0.5, -1, 2, 0]), jnp.array([0, 0.1, 0.2, -0.3, 0.4])
    params = {"n": {"scale": scale, "bias": bias}}
    start = {"n": {"mean": jnp.full(5, 0.5), "var": jnp.full(5, 2.0)}}
    flat = lambda each: each.reshape(-1, *each.shape[2:])  # noqa: E731
    (_, (y, updated)), (grads, x_grad) = value_and_gradients(
        Ours(),
        {"params": params, "batch_stats": start},
        flat(x),
        flat(weights),
        train=True,
        valid=None if valid is None else flat(valid),
        views=2,
    )
    stats, sums = start, jax.tree.map(jnp.zeros_like, params)
    for view in (0, 1):
        (_, (own, changed)), (own_grads, own_x_grad) = value_and_gradients(
            Flax(),
            {"params": params, "batch_stats": stats},
            x[:, view],
            weights[:, view],
            train=True,
            valid=None if valid is None else valid[:, view],
        )
        stats, sums = changed["batch_stats"], jax.tree.map(jnp.add, sums, own_grads)
        close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
        close(y.reshape(x.shape)[:, view], own)
        close(x_grad.reshape(x.shape)[:, view], own_x_grad)
    jax.tree.map(close, updated["batch_stats"], stats)
    jax.tree.map(close, grads, sums)


def test_the_gradient_sums_each_map_twice():
    """Two sums forward and two back per BatchNorm, fewer than without our gradient."""
    net, x = DoubleConv(4, 4), jnp.zeros((2, 8, 8, 4))
    variables = net.init(jax.random.key(0), x, train=True)

    def total(params):
        y, _ = net.apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        return y.sum()

    text = str(jax.make_jaxpr(jax.grad(total))(variables["params"]))
    assert text.count("reduce_sum") == 2 * 4 + 1  # and that of y


def test_a_result_in_half_precision_has_float32_statistics():
    """As flax: they are summed in float32, and the map has the network's type."""
    net = BatchNorm(jnp.bfloat16)
    x = jnp.full((2, 64, 64, 1), 1 + 2**-7, jnp.bfloat16)
    variables = net.init(jax.random.key(0), x, train=True)
    y, updated = net.apply(variables, x, train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    mean = updated["batch_stats"]["mean"]
    np.testing.assert_allclose(mean, 0.1 * (1 + 2**-7), rtol=1e-6)
