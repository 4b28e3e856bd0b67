"""The validation score: over all slices together, a part of them at a time."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from pix2rep_jax.evaluation.dice import dice_per_class
from pix2rep_jax.evaluation.validate import make_validate
from pix2rep_jax.inference import predict
from tests.support.stored import count_taken, make_slices, store


class Thresholds(nn.Module):
    """Brightness as one of four classes, without parameters."""

    @nn.compact
    def __call__(self, image, *, train):
        middles = jnp.array([0.1, 0.4, 0.6, 0.9])
        return -100 * jnp.square(image - middles[None, None, None])


@pytest.mark.parametrize("batch_size", [3, 16])
def test_slices_on_the_disk_score_as_all_at_once(tmp_path, monkeypatch, batch_size):
    """Few are in memory at a time, and the Dice is that of one large array."""
    images, labels = make_slices(50)
    labels[10:20] = 255
    middles = np.array([0.1, 0.4, 0.6, 0.9])
    nearest = np.abs(images - middles).argmin(-1)
    expected = dice_per_class(nearest, labels, num_classes=4)[1:].mean()
    monkeypatch.setattr(predict, "_PIXELS_KEPT", 6 * 64)
    taken = count_taken(monkeypatch)
    stored = store(tmp_path / "slices", (images, labels))
    options = {"num_classes": 4, "batch_size": batch_size}
    for given in ((images, labels), stored):
        validate = make_validate(Thresholds(), *given, **options)
        assert validate({"student": {}})["val_dice"] == expected
    assert max(taken) == max(6, batch_size) and sum(taken) == 2 * 50
