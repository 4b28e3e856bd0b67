import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2rep_jax.inference.features import feature_size
from pix2rep_jax.inference.predict import (
    make_predict,
    make_predictors,
    predict_slices,
)
from pix2rep_jax.models.heads import SegmentationHead
from pix2rep_jax.models.segmentation_net import SegmentationNet
from pix2rep_jax.models.unet import UNet
from pix2rep_jax.training.sharding import make_mesh, place
from tests.support.stored import count_taken, make_slices, store


@pytest.fixture(scope="module")
def net_and_variables():
    """A tiny network whose BatchNorm averages are not those of any batch."""
    net = SegmentationNet(UNet((4, 8), 4), SegmentationHead(3))
    init = jax.jit(functools.partial(net.init, train=False))
    variables = init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    variables["batch_stats"] = jax.tree.map(
        lambda x: x + 0.1 * jnp.arange(x.size, dtype=x.dtype), variables["batch_stats"]
    )
    return net, variables


def images(num_slices):
    return np.random.default_rng(0).random((num_slices, 8, 8, 1)).astype(np.float32)


@pytest.mark.parametrize("num_slices", [1, 3, 4, 5, 9])
def test_batches_change_nothing(net_and_variables, num_slices):
    """Whatever the number of slices, each gets what it gets when it is alone."""
    net, variables = net_and_variables
    slices = images(num_slices)
    batched = predict_slices(make_predict(net), variables, slices, batch_size=4)
    assert batched.shape == (num_slices, 8, 8, 3)
    assert batched.dtype == np.float32
    alone = jax.jit(lambda image: net.apply(variables, image, train=False))
    for probabilities, image in zip(batched, slices, strict=True):
        logits = np.asarray(alone(image[None])[0], np.float64)
        exponentials = np.exp(logits)
        expected = exponentials / exponentials.sum(-1, keepdims=True)
        np.testing.assert_allclose(probabilities, expected, atol=1e-6)


def test_one_program_serves_all_sizes_and_weights(net_and_variables):
    """A remainder batch or other weights do not trace the network again."""
    net, variables = net_and_variables
    traces = []

    class Counted:
        def apply(self, *args, **kwargs):
            traces.append(1)
            return net.apply(*args, **kwargs)

    predict = make_predict(Counted())
    first = predict_slices(predict, variables, images(5), batch_size=4)
    predict_slices(predict, variables, images(2), batch_size=4)
    other = jax.tree.map(lambda x: 2 * x, variables)
    second = predict_slices(predict, other, images(5), batch_size=4)
    assert len(traces) == 1
    assert not np.allclose(first, second)


def test_slices_on_the_disk_are_read_batch_by_batch(tmp_path, monkeypatch):
    """The last batch is filled up, and the memory for features is known unread."""
    slices, labels = make_slices(10)
    stored, _ = store(tmp_path / "slices", (slices, labels))
    taken, seen = count_taken(monkeypatch), []

    def predict(_, batch):
        seen.append(batch.shape)
        return 2 * batch

    found = predict_slices(predict, None, stored, batch_size=4)
    np.testing.assert_array_equal(found, 2 * slices)
    assert taken == [4, 4, 2] and set(seen) == {(4, 8, 8, 1)}
    net = SimpleNamespace(backbone=SimpleNamespace(num_features=5))
    for given in (slices, stored):
        assert feature_size(net, given) == 10 * 8 * 8 * 5 * 4 / 1e6
    assert len(taken) == 3


def test_no_slice_is_an_error(net_and_variables):
    """An empty array cannot be predicted."""
    net, variables = net_and_variables
    with pytest.raises(ValueError, match="no slice"):
        predict_slices(make_predict(net), variables, images(0), batch_size=4)


def test_equal_networks_share_their_programs():
    """Validation and scoring, fine-tuning and probing have networks of one shape."""
    nets = [SegmentationNet(UNet((4, 8), 4), SegmentationHead(3)) for _ in range(2)]
    assert nets[0] is not nets[1]
    assert make_predict(nets[0]) is make_predict(nets[1])


def test_a_restored_network_runs_the_program_of_its_training(net_and_variables):
    """It lies on the device before the first batch, placed as in the training."""
    net, variables = net_and_variables
    stored = jax.tree.map(np.asarray, variables)
    used = make_predictors(net, {"": stored}, batch_size=4)[""].args[1]
    assert all(isinstance(each, jax.Array) for each in jax.tree.leaves(used))
    trained = place(variables, make_mesh(jax.devices()[:1]))
    programs = [
        make_predict(net).lower(each, images(4)).as_text() for each in (used, trained)
    ]
    assert programs[0] == programs[1]
