"""Masked images: which blocks are hidden, what counts, and the squared error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.pix2rep import get_config
from pix2rep_jax.errors import InputError
from pix2rep_jax.methods.pretraining import load_method
from pix2rep_jax.methods.pretraining.mae import (
    MaskedNet,
    draw_mask,
    make_loss,
    masked_error,
)
from pix2rep_jax.models.unet import UNet
from pix2rep_jax.training.sharding import batched, make_mesh, replicated
from pix2rep_jax.training.state import ModelState
from tests.support.motions import STILL
from tests.support.views import make_boxes

SIDE, BLOCKS = 16, 4
NET = MaskedNet(UNet((4, 8), 6))


def make_method(size=SIDE, **recipe):
    """The method on a small network, without motion."""
    config = get_config("quick")
    config.pretrain.method = "mae"
    config.model.update(channels=(4, 8), num_features=6, last_hidden=0)
    config.mae.update(recipe)
    config.data.size = size
    config.spatial = ConfigDict(STILL)
    return load_method(config)


def start(images):
    variables = jax.jit(NET.init, static_argnames="train")(
        jax.random.key(1), images, train=False
    )
    # A value for hidden pixels that no image has.
    params = variables["params"] | {"token": jnp.array([2.0])}
    return params, ModelState(variables["batch_stats"], {})


@pytest.fixture
def images():
    return jax.random.uniform(jax.random.key(0), (6, SIDE, SIDE, 1))


def loss(num_masked=11, spatial=STILL):
    return jax.jit(
        make_loss(NET, blocks=BLOCKS, num_masked=num_masked, spatial=spatial)
    )


def test_blocks_are_hidden_as_wholes_and_anew_for_each_image(key):
    """As many as asked, each whole; every block is hidden about as often."""
    mask = np.asarray(
        draw_mask(key, batch=600, size=SIDE, blocks=BLOCKS, num_masked=11)
    )
    side = SIDE // BLOCKS
    tiles = mask.reshape(600, BLOCKS, side, BLOCKS, side).transpose(0, 1, 3, 2, 4)
    tiles = tiles.reshape(600, BLOCKS**2, -1)
    assert (tiles.all(-1) == tiles.any(-1)).all()
    assert (tiles.all(-1).sum(1) == 11).all()
    counts = tiles.all(-1).sum(0)  # of 600, each with a mean of 412 and 11 deviation
    assert counts.min() > 360 and counts.max() < 465


def test_the_error_is_that_of_a_plain_loop():
    """Over the pixels that count and the channels; without any it is 0."""
    rng = np.random.default_rng(0)
    drawn, image = rng.random((2, 3, 5, 4, 2))
    counts = rng.random((3, 5, 4)) < 0.4
    total = number = 0.0
    for n, row, column in np.argwhere(counts):
        for channel in range(2):
            total += (
                drawn[n, row, column, channel] - image[n, row, column, channel]
            ) ** 2
            number += 1
    found = masked_error(*map(jnp.asarray, (drawn, image, counts)))
    np.testing.assert_allclose(found, total / number, rtol=1e-5)
    assert masked_error(drawn, image, jnp.zeros_like(counts)) == 0


def test_the_loss_is_the_error_of_what_the_network_draws(key, images):
    """With the hidden blocks replaced by the trained value before the network, by a
    plain call of its own."""
    params, state = start(images)
    batch = {"image": images, "box": make_boxes(images)}
    value, (updated, metrics) = loss()(params, state, batch, key)
    _, mask_key = jax.random.split(key)
    mask = np.asarray(
        draw_mask(mask_key, batch=6, size=SIDE, blocks=BLOCKS, num_masked=11)
    )
    shown = np.where(mask[..., None], 2.0, np.asarray(images))
    features, statistics = NET.backbone.apply(
        {
            "params": params["backbone"],
            "batch_stats": state.batch_stats["backbone"],
        },
        jnp.asarray(shown),
        train=True,
        mutable=["batch_stats"],
    )
    last = jax.tree.map(np.asarray, params["reconstruction"])
    drawn = np.asarray(features, np.float64) @ last["kernel"] + last["bias"]
    expected = ((drawn - np.asarray(images)) ** 2)[..., 0][mask].mean()
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    assert metrics["counted_fraction"] == pytest.approx(11 / 16)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        updated.batch_stats["backbone"],
        statistics["batch_stats"],
    )


def test_hidden_values_never_reach_the_network(key, images):
    """Other values in the hidden blocks change the target and nothing that is drawn."""
    params, state = start(images)
    _, mask_key = jax.random.split(key)
    mask = draw_mask(mask_key, batch=6, size=SIDE, blocks=BLOCKS, num_masked=11)
    box = make_boxes(images)
    other = jnp.where(mask[..., None], images + 1, images)
    _, (before, _) = loss()(params, state, {"image": images, "box": box}, key)
    _, (after, _) = loss()(params, state, {"image": other, "box": box}, key)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        before.batch_stats,
        after.batch_stats,
    )


def test_neither_seen_pixels_nor_padding_count(key, images):
    """The gradient for what is drawn is zero there; the share that counts is that of
    the hidden pixels of the scan."""
    params, state = start(images)
    box = np.array([[4, 11, 2, 9]] * 6, np.int32)
    _, (_, metrics) = loss()(params, state, {"image": images, "box": box}, key)
    _, mask_key = jax.random.split(key)
    mask = np.asarray(
        draw_mask(mask_key, batch=6, size=SIDE, blocks=BLOCKS, num_masked=11)
    )
    scan = np.zeros((SIDE, SIDE), bool)
    scan[4:12, 2:10] = True
    counts = mask & scan
    assert metrics["counted_fraction"] == pytest.approx(counts.mean())
    drawn = jnp.zeros_like(images)
    grads = jax.grad(lambda x: masked_error(x, images, jnp.asarray(counts)))(drawn)
    np.testing.assert_array_equal(np.asarray(grads)[..., 0] != 0, counts)


def test_every_part_learns_and_the_loss_falls(key, images):
    """Backbone, last layer and the value for hidden pixels get gradients; some plain
    steps lower the error."""
    method = make_method(block=1 / BLOCKS)
    assert method.trained == ("backbone", "reconstruction", "token")
    params, state = start(images)
    batch = {"image": images, "box": make_boxes(images)}
    run = jax.jit(jax.value_and_grad(method.loss_fn, has_aux=True))
    values = []
    for _ in range(30):
        (value, _), grads = run(params, state, batch, key)
        values.append(float(value))
        params = jax.tree.map(lambda x, g: x - 0.05 * g, params, grads)
    assert {*grads} == {*method.trained}
    silent = [
        jax.tree_util.keystr(path)
        for path, x in jax.tree_util.tree_leaves_with_path(grads)
        if not jnp.abs(x).max() > 0
    ]
    assert not silent and values[-1] < 0.7 * values[0]


def test_several_devices_have_the_loss_of_one(key):
    """A batch that is divided between devices hides the same blocks."""
    images = jax.random.uniform(jax.random.key(0), (8, SIDE, SIDE, 1))
    params, state = start(images)
    batch = {"image": images, "box": jnp.asarray(make_boxes(images))}
    alone, _ = loss()(params, state, batch, key)
    mesh = make_mesh()
    assert mesh.size == 4
    params, state = jax.device_put((params, state), replicated(mesh))
    batch = jax.device_put(batch, batched(mesh))
    together, _ = loss()(params, state, batch, key)
    np.testing.assert_allclose(together, alone, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"block": 0.3}, "mae.block"),
        ({"block": 1 / 5}, "mae.block"),
        ({"masked_fraction": 0.0}, "mae.masked_fraction"),
        ({"masked_fraction": 1.0}, "mae.masked_fraction"),
    ],
)
def test_blocks_that_cannot_be_hidden_are_refused(changes, setting):
    """By the setting's name."""
    with pytest.raises(InputError, match=setting.replace(".", r"\.")):
        make_method(**changes)


@pytest.mark.parametrize("size", ["small", "medium", "paper"])
def test_blocks_are_of_16_of_128_pixels(size):
    """At every size of image."""
    config = get_config(size)
    assert config.mae.block * config.data.size == {64: 8, 128: 16}[config.data.size]
    assert 0.6 <= config.mae.masked_fraction <= 0.75
