"""The examples in the docstrings of the functions that other people call."""

import doctest
import sys

import pytest

from pix2rep_jax.evaluation.dice import dice_per_class
from pix2rep_jax.losses.contrastive import info_nce
from pix2rep_jax.losses.decorrelation import cross_correlation
from pix2rep_jax.models.unet import UNet
from pix2rep_jax.views.warp import warp


@pytest.mark.parametrize(
    "documented", [UNet, warp, info_nce, cross_correlation, dice_per_class]
)
def test_examples_give_what_they_show(documented):
    """Each has at least one example, and its output is the one in the docstring."""
    module = sys.modules[documented.__module__]
    finder = doctest.DocTestFinder(recurse=False)
    (test,) = finder.find(documented, globs=dict(vars(module)))
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0
