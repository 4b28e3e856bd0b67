"""Slices as pictures of a page."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from pix2rep_jax.figures.panels import Panel
from pix2rep_jax.page.slice_picture import slice_picture


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((1, 1), (1, 1)), ((1, 900), (1, 1)), ((900, 1), (1, 1)), ((8, 8), (1e-3, 9))],
    ids=str,
)
def test_slices_of_any_shape_become_a_picture(shape, spacing):
    """Its longer side has 280 px, and the shorter one at least a few."""
    box = (-0.5, shape[0] - 0.5, -0.5, shape[1] - 0.5)
    panel = Panel("", np.ones(shape, np.float32), None, spacing, box)
    address = slice_picture(panel, np.ones(shape, np.uint8), num_classes=2)
    content = base64.b64decode(address.partition(",")[2])
    size = Image.open(io.BytesIO(content)).size
    assert max(size) == 280 and min(size) >= 4
