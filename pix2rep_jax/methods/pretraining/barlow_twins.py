"""Barlow Twins of whole images: equal dimensions of two views correlate, others not."""

import functools

from ml_collections import ConfigDict

from pix2rep_jax import losses
from pix2rep_jax.losses.decorrelation import OFF_DIAGONAL_WEIGHT
from pix2rep_jax.methods.method import Method
from pix2rep_jax.methods.pretraining.image_pairs import make_pair_method
from pix2rep_jax.runtime.config_checks import above_zero, all_of, whole_numbers

__all__ = ["make_method"]


SETTINGS = {
    "hidden": all_of(whole_numbers, above_zero),
    "features": above_zero,
    "off_diagonal_weight": OFF_DIAGONAL_WEIGHT,
}
"""The section `barlow_twins`, besides what it overrides of `pretrain`."""


def make_method(config: ConfigDict, recipe: ConfigDict) -> Method:
    """Makes Barlow Twins: it trains the encoder and its head by a cross-correlation.

    Args:
        config: The whole configuration; `model`, `spatial` and `intensity` are read.
        recipe: Its `pretrain`, overridden by its `barlow_twins`.

    Raises:
        InputError: If `model` is invalid.

    Reference:
        Zbontar et al., "Barlow Twins: Self-Supervised Learning via Redundancy
        Reduction", ICML 2021, Eq. 1-2.
    """
    compare = functools.partial(
        losses.cross_correlation, off_diagonal_weight=recipe.off_diagonal_weight
    )
    return make_pair_method(config, recipe, compare, batch_norm=True)
