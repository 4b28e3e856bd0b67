"""A finished pretraining run as a function from images to embeddings of pixels."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError, check_choice
from pix2rep_jax.inference.predict import predict_slices
from pix2rep_jax.methods.downstream.teacher import networks_of_state
from pix2rep_jax.methods.pretraining import method_name, pix2rep
from pix2rep_jax.methods.recalibration import recalibrate_backbone
from pix2rep_jax.models.build import make_backbone, make_segmentation_net
from pix2rep_jax.runs.checkpoint_reader import restore_model, restore_params
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runs.run_record import read_run
from pix2rep_jax.runs.weights_file import is_weights
from pix2rep_jax.runtime.compiler import compiler_options

__all__ = ["EMBEDDINGS", "load_embed", "load_embedding", "load_segmenter_features"]

EMBEDDINGS = ("features", "projection")
"""What stands for a pixel: f(x), the backbone's features, or z = (g∘f)(x)."""

SLICES_AT_ONCE = 4
"""At the paper's size the features of one slice take 67 MB."""


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
    check_embeds_pixels(config, run)
    net = pix2rep.make_net(config)
    params, batch_stats = restore_params(run)
    apply = jax.jit(functools.partial(net.apply, train=False))
    variables = {"params": params, "batch_stats": batch_stats}
    return lambda images: np.asarray(apply(variables, images), np.float32)


def load_embedding(
    run: Path,
    embedding: str,
    *,
    images: np.ndarray | None = None,
    boxes: np.ndarray | None = None,
    recalibrated: bool = False,
) -> Callable[[np.ndarray], np.ndarray]:
    """Loads the network of a pretraining run, for scans such as the given ones.

    Args:
        run: The folder of a pretraining run.
        embedding: One of `EMBEDDINGS`.
        images: `[slices, height, width, channels]`; needed to measure statistics.
        boxes: `[slices, 4]`, as in `Dataset`; needed with `images`.
        recalibrated: Whether BatchNorm's statistics are measured anew on these images.

    Returns:
        A function from images `[slices, height, width, c]` to float32 `[slices, height,
        width, d]`.

    Raises:
        InputError: If the run has no such embedding.
    """
    check_choice("embedding", embedding, EMBEDDINGS)
    config = ConfigDict(read_config(run))
    if "backbone" not in read_run(run).trained:
        raise InputError(
            f"the pretraining in {run} has trained a part of the network only, and "
            "pixels are compared by all of it: name another run"
        )
    params, batch_stats = restore_params(run)
    backbone = make_backbone(config)
    if recalibrated and images is not None and boxes is not None:
        batch_stats = recalibrate_backbone(
            config.data, backbone, params, batch_stats, images, boxes
        )
    if embedding == "projection":
        check_embeds_pixels(config, run)
        net: Any = pix2rep.make_net(config)
    else:
        net = backbone
        params, batch_stats = params["backbone"], batch_stats["backbone"]
    variables = {"params": params, "batch_stats": batch_stats}
    apply = jax.jit(
        functools.partial(net.apply, train=False), compiler_options=compiler_options()
    )

    def embed(images: np.ndarray) -> np.ndarray:
        found = predict_slices(apply, variables, images, batch_size=SLICES_AT_ONCE)
        return found.astype(np.float32)

    return embed


def load_segmenter_features(
    run: Path, *, keep: str = ""
) -> Callable[[np.ndarray], np.ndarray]:
    """Loads the backbone of a segmentation run, at the step that it keeps.

    Args:
        run: The folder of a finetune or probe run.
        keep: "last" or "best", the checkpoint; "" is what the run keeps.

    Returns:
        A function like that of `load_embedding`.
    """
    config = ConfigDict(read_config(run))
    net = make_segmentation_net(config, scratch=read_run(run).origin is None)
    keep = keep or config.segmentation.keep
    networks = networks_of_state(config, *restore_model(run, keep=keep))
    variables = next(iter(networks.values()))  # the run's result
    apply = jax.jit(
        functools.partial(net.apply, method="features"),
        compiler_options=compiler_options(),
    )

    def embed(images: np.ndarray) -> np.ndarray:
        found = predict_slices(apply, variables, images, batch_size=SLICES_AT_ONCE)
        return found.astype(np.float32)

    return embed


def check_embeds_pixels(config: ConfigDict, run: Path) -> None:
    """Raises InputError if a run has no projection g of pixels."""
    if is_weights(run):
        raise InputError(
            f"{run} holds the backbone alone, without the projection: choose the "
            "embedding 'features', or name the folder of the pretraining"
        )
    if method_name(config) != "pix2rep":
        raise InputError(
            f"{run} was pretrained by {method_name(config)}, which does not embed "
            "pixels: name a run of pretrain.method=pix2rep by --config.init.checkpoint"
        )
