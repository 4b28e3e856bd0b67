"""The middle of slices: a centred crop with a margin, of which patches are drawn."""

import flax.linen as nn
import numpy as np
import pytest

from configs.pix2rep import get_config
from pix2rep_jax.data.slices.grid import middle_side, scan_grid
from pix2rep_jax.methods.method import Method
from pix2rep_jax.methods.pretraining import on_patches


@pytest.mark.parametrize(
    ("size", "side"), [(16, 32), (64, 80), (96, 128), (128, 160), (256, 320)]
)
def test_it_is_a_quarter_larger_or_a_little_more(size, side):
    assert middle_side(size) == side
    assert side >= 1.25 * size


@pytest.mark.parametrize("shape", [(216, 256), (101, 64), (80, 33)])
@pytest.mark.parametrize("spacing_mm", [(1.56, 1.4), (2.5, 2.5), (3.0, 0.7)])
def test_its_inner_pixels_are_those_of_the_centred_crop(shape, spacing_mm):
    """Also where the network's pixels are the scan's own."""
    how = {"fov_mm": 160.0, "size": 64}
    crop = scan_grid(shape, spacing_mm, crop="center", **how)
    middle = scan_grid(shape, spacing_mm, crop="middle", **how)
    assert middle.size == (80, 80) and middle.step == crop.step
    for axis in (0, 1):
        inner = middle.centres(axis)[8:-8]
        np.testing.assert_allclose(inner, crop.centres(axis), rtol=0, atol=1e-9)


def test_a_method_that_compares_places_sees_the_centred_crop():
    """Chaitanya's, whose samples are volumes; the others draw patches."""
    images = np.arange(2 * 3 * 32 * 32, dtype=np.float32).reshape(2, 3, 32, 32, 1)
    config = get_config("quick")
    config.data.update(crop="middle", size=16)
    config.pretrain.method = "chaitanya"
    method = Method(nn.Dense(1), lambda *given: given, trained=())
    given = on_patches(method, config).loss_fn("w", "s", {"image": images}, "k")
    assert (given[0], given[1], given[3]) == ("w", "s", "k")
    np.testing.assert_array_equal(given[2]["image"], images[..., 8:24, 8:24, :])
