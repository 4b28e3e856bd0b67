"""SimCLR of whole images: two views of a slice are alike, all other slices unlike."""

import functools
import math

from ml_collections import ConfigDict

from pix2rep_jax import losses
from pix2rep_jax.losses.contrastive import TEMPERATURE
from pix2rep_jax.methods.method import Method
from pix2rep_jax.methods.pretraining.image_pairs import make_pair_method
from pix2rep_jax.runtime.config_checks import above_zero, all_of, whole_numbers

__all__ = ["make_method"]


SETTINGS = {
    "temperature": TEMPERATURE,
    "hidden": all_of(whole_numbers, above_zero),
    "features": above_zero,
}
"""The section `simclr`, besides what it overrides of `pretrain`."""


def make_method(config: ConfigDict, recipe: ConfigDict) -> Method:
    """Makes SimCLR, which trains the encoder and its head by the NT-Xent loss.

    Args:
        config: The whole configuration; `model`, `spatial` and `intensity` are read.
        recipe: Its `pretrain`, overridden by its `simclr`.

    Raises:
        InputError: If `model` is invalid.

    Reference:
        Chen et al., "A Simple Framework for Contrastive Learning of Visual
        Representations", ICML 2020, Eq. 1.
    """
    return make_pair_method(
        config,
        recipe,
        functools.partial(losses.info_nce, temperature=recipe.temperature),
        # If all embeddings are equal, the positive is one of 2B - 1 equal terms.
        collapsed_loss=math.log(2 * recipe.batch_size - 1),
    )
