"""BatchNorm's statistics measured anew."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2rep_jax.models.batch_norm import recalibrate
from pix2rep_jax.models.unet import UNet
from tests.support.views import make_boxes


@pytest.fixture
def backbone_and_variables(key):
    net = UNet((4, 8), 6)
    init = jax.jit(lambda k: net.init(k, jnp.zeros((1, 8, 8, 1)), train=False))
    return net, init(key)


def test_the_first_layer_gets_the_plain_mean_and_variance(backbone_and_variables):
    """Of what its convolution gives for all images, in float64; the old statistics,
    whatever they are, play no part."""
    net, variables = backbone_and_variables
    images = np.random.default_rng(0).random((24, 8, 8, 1), np.float32)
    spoilt = jax.tree.map(lambda x: x + 100, variables["batch_stats"])
    spoilt = variables | {"batch_stats": spoilt}
    stats = recalibrate(net, spoilt, images, make_boxes(images), batch_size=24)
    ours = stats["encode_0"]["BatchNorm_0"]
    kernel = np.asarray(variables["params"]["encode_0"]["Conv_0"]["kernel"])
    padded = np.pad(images[..., 0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    maps = sum(
        padded[:, i : i + 8, j : j + 8, None] * kernel[i, j, 0].astype(np.float64)
        for i in range(3)
        for j in range(3)
    )
    np.testing.assert_allclose(ours["mean"], maps.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(ours["var"], maps.var((0, 1, 2)), rtol=1e-3, atol=1e-6)


def test_padding_is_not_measured(backbone_and_variables):
    """In every layer the statistics are those of the pixels in the boxes, and behind
    the pooling those of the coarser pixels that touch them."""
    net, variables = backbone_and_variables
    images = np.random.default_rng(0).random((6, 8, 8, 1), np.float32)
    boxes = np.array([[1, 5, 2, 6]] * 3 + [[0, 7, 5, 7]] * 3, np.int32)
    ours = recalibrate(net, variables, images, boxes, batch_size=6)
    # With the new statistics, inference computes what was normalised by them.
    _, found = net.apply(
        variables | {"batch_stats": ours},
        images,
        train=False,
        capture_intermediates=lambda module, _: isinstance(module, nn.Conv),
        mutable=["intermediates"],
    )
    fine = np.zeros((6, 8, 8), bool)
    fine[:3, 1:6, 2:7] = fine[3:, :, 5:] = True
    coarse = fine.reshape(6, 4, 2, 4, 2).any((2, 4))
    for block, scan in (("encode_0", fine), ("encode_1", coarse), ("decode_0", fine)):
        for index in (0, 1):
            maps = found["intermediates"][block][f"Conv_{index}"]["__call__"][0]
            maps = np.asarray(maps, np.float64)[scan]
            stats = ours[block][f"BatchNorm_{index}"]
            np.testing.assert_allclose(stats["mean"], maps.mean(0), atol=1e-4)
            np.testing.assert_allclose(stats["var"], maps.var(0), rtol=1e-3, atol=1e-5)


def test_frozen_on_them_is_training_mode(backbone_and_variables):
    """With one batch of all images, normalising by the new statistics is what
    training mode does, in every layer."""
    net, variables = backbone_and_variables
    images = np.random.default_rng(1).random((12, 8, 8, 1), np.float32)
    stats = recalibrate(net, variables, images, make_boxes(images), batch_size=12)
    x = images
    frozen = net.apply(variables | {"batch_stats": stats}, x, train=False)
    train, _ = net.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(frozen, train, atol=2e-3)


def test_batches_are_averaged_and_more_than_fit_are_sampled(backbone_and_variables):
    """Two batches give the mean of what each gives, and a limit on them holds."""
    net, variables = backbone_and_variables
    images = np.random.default_rng(2).random((10, 8, 8, 1), np.float32)
    boxes = make_boxes(images)
    order = np.random.default_rng(0).permutation(10)  # as the default seed draws it
    first, second = (
        recalibrate(net, variables, images[order[i : i + 4]], boxes[:4], batch_size=4)
        for i in (0, 4)
    )
    both = recalibrate(net, variables, images, boxes, batch_size=4)
    limited = recalibrate(net, variables, images, boxes, batch_size=4, max_batches=1)
    for a, b, mean, one in zip(
        *map(jax.tree.leaves, (first, second, both, limited)), strict=True
    ):
        np.testing.assert_allclose(mean, (a + b) / 2, atol=1e-5)
        np.testing.assert_allclose(one, a, atol=1e-5)


def test_few_programs_are_compiled(key, caplog):
    """Three, however many arrays there are: measure, add and divide. Each function of
    jax.numpy on its own would compile one for each shape."""
    net = UNet((3, 5), 7)
    init = jax.jit(lambda k: net.init(k, jnp.zeros((1, 8, 8, 1)), train=False))
    variables = jax.block_until_ready(init(key))
    images = np.random.default_rng(0).random((9, 8, 8, 1), np.float32)
    with jax.log_compiles():
        recalibrate(net, variables, images, make_boxes(images), batch_size=3)
    assert len([x for x in caplog.messages if "Finished XLA" in x]) <= 3
