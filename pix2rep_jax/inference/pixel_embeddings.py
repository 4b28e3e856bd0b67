"""A finished pretraining run as a function from images to embeddings of pixels."""

import functools
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError
from pix2rep_jax.methods.pretraining import method_name, pix2rep
from pix2rep_jax.runs.checkpoint_reader import restore_params
from pix2rep_jax.runs.manifest import read_config

__all__ = ["load_embed"]


def load_embed(run: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Loads the network of a pretraining run.

    Args:
        run: The folder of a pretraining run.

    Returns:
        A function from images `[batch, height, width, c]` to the embeddings (g∘f)(x) of
        all their pixels, `[batch, height, width, d]`.

    Raises:
        InputError: If the run's method does not embed pixels.
    """
    config = ConfigDict(read_config(run))
    if method_name(config) != "pix2rep":
        raise InputError(
            f"{run} was pretrained by {method_name(config)}, which does not embed "
            "pixels: name a run of pretrain.method=pix2rep by --config.init.checkpoint"
        )
    net = pix2rep.make_net(config)
    params, batch_stats = restore_params(run)
    apply = jax.jit(functools.partial(net.apply, train=False))
    variables = {"params": params, "batch_stats": batch_stats}
    return lambda images: np.asarray(apply(variables, images), np.float32)
