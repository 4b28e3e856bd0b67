"""Random views, compiled: one program compiles sooner than its operations one by one.

That the compiled program gives what its operations give is tested in tests/views.
"""

import functools

import jax
import numpy as np

from pix2rep_jax.views import sampling
from pix2rep_jax.views.affine import whole_image


def make_boxes(images):
    """Boxes that call every pixel of the images `[batch, height, width, 1]` scan."""
    box = np.array(whole_image(*images.shape[1:3]), np.int32)
    return np.tile(box, (images.shape[0], 1))


def make_views(key, images, box=None, **options):
    draw = functools.partial(sampling.make_views, **options)
    return jax.jit(draw)(key, images, box)


def make_view_pairs(key, images, **options):
    draw = functools.partial(sampling.make_view_pairs, **options)
    return jax.jit(draw)(key, images)


def augment(key, image, label, **options):
    move = functools.partial(sampling.augment, **options)
    return jax.jit(move)(key, image, label)
