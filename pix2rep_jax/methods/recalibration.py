"""BatchNorm's statistics of a pretrained network, measured anew on other slices."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.models.batch_norm import measure_batches, recalibrate, sample_batches
from pix2rep_jax.models.unet import UNet
from pix2rep_jax.views.patches import cut_at_random

__all__ = ["recalibrate_backbone"]


def recalibrate_backbone(
    data: ConfigDict,
    backbone: UNet,
    params: Mapping[str, Any],
    batch_stats: Mapping[str, Any],
    images: np.ndarray,
    boxes: np.ndarray,
) -> dict[str, Any]:
    """Measures the statistics of a network's backbone anew.

    Args:
        data: The `data` section. Of whole slices a patch is measured, as in training,
            and no other slice than those is read.
        backbone: f.
        params: The network's parameters, with those of the backbone as "backbone".
        batch_stats: The network's statistics.
        images: `[slices, height, width, channels]`.
        boxes: `[slices, 4]`, as in `Dataset`.

    Returns:
        The network's statistics, with the new ones of its backbone.
    """
    variables = {"params": params["backbone"], "batch_stats": batch_stats["backbone"]}
    if data.crop == "whole":
        cut = functools.partial(cut_at_random, images, boxes, side=data.size, seed=0)
        batches = map(cut, sample_batches(len(images)))
        measured = measure_batches(backbone, variables, batches)
    else:
        measured = recalibrate(backbone, variables, images, boxes)
    return {**batch_stats, "backbone": measured}
