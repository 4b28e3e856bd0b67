"""Random views, compiled: one program compiles sooner than its operations one by one.

That the compiled program gives what its operations give is tested in tests/views.
"""

import functools

import jax

from pix2rep_jax.views import sampling


def make_views(key, images, **options):
    draw = functools.partial(sampling.make_views, **options)
    return jax.jit(draw)(key, images)


def make_view_pairs(key, images, **options):
    draw = functools.partial(sampling.make_view_pairs, **options)
    return jax.jit(draw)(key, images)


def augment(key, image, label, **options):
    move = functools.partial(sampling.augment, **options)
    return jax.jit(move)(key, image, label)
