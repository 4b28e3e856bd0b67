"""Features of a frozen backbone, computed once for all steps of a run."""

import functools
import math
from typing import Any

import jax
import numpy as np

from pix2rep_jax.inference.predict import predict_slices
from pix2rep_jax.models.segmentation_net import SegmentationNet
from pix2rep_jax.runtime.compiler import compiler_options

__all__ = ["compute_features", "feature_budget", "feature_size"]


def feature_budget(
    feature_budget_mb: float, device_budget_mb: float, *, platform: str
) -> float:
    """Says how large a set of features may be to be computed once (MB).

    An accelerator must hold them itself: features on the host would cross the bus in
    every step, which takes longer than computing them.

    Args:
        feature_budget_mb: Memory for features on a CPU (MB).
        device_budget_mb: Memory for data on an accelerator (MB).
        platform: As jax names it, such as "cpu".
    """
    if platform == "cpu":
        return feature_budget_mb
    return min(feature_budget_mb, device_budget_mb)


def feature_size(net: SegmentationNet, images: np.ndarray) -> float:
    """Returns the memory that the features of images take (MB).

    Args:
        net: Backbone and head.
        images: `[n, height, width, channels]`.
    """
    pixels = math.prod(images.shape[:3])  # none is read: they may lie on the disk
    return pixels * 4 * net.backbone.num_features / 1e6


def compute_features(
    net: SegmentationNet, variables: Any, images: np.ndarray, *, batch_size: int = 16
) -> np.ndarray:
    """Runs the frozen backbone over slices.

    Args:
        net: Backbone and head.
        variables: `{"params": …, "batch_stats": …}`.
        images: `[n, height, width, channels]` in [0, 1].
        batch_size: Slices computed at once.

    Returns:
        `[n, height, width, num_features]` float32.
    """
    apply = jax.jit(
        functools.partial(net.apply, method="features"),
        compiler_options=compiler_options(),
    )
    features = predict_slices(apply, variables, images, batch_size=batch_size)
    return features.astype(np.float32)
