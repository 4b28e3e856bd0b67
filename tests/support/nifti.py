"""Small NIfTI files for tests, and how a reader refuses them."""

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data.files.mask import read_label
from pix2rep_jax.errors import InputError

SHAPE = (16, 20, 3)
AFFINE = np.array(
    [[-1.5, 0.1, 0, 80], [0.1, -1.25, 0, -30], [0, 0, 8, 12.5], [0, 0, 0, 1]]
)


def save(path, array, affine=AFFINE):
    """Writes a NIfTI-1 file, and returns its path."""
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def make_image(shape=SHAPE, dtype=np.int16):
    """Draws a scan; every call draws the same."""
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def make_label(shape=SHAPE):
    """Draws a mask of four classes; every call draws the same."""
    return np.random.default_rng(1).integers(0, 4, shape).astype(np.uint8)


def refuse(path, read, *words):
    """Checks that a file is refused in one sentence, which names it."""
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and len(message) < 400
    assert all(word in message for word in words), message


def read_mask(path):
    """Reads a mask of `SHAPE` and four classes."""
    return read_label(path, shape=SHAPE, num_classes=4)
