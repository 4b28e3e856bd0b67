"""BatchNorm's statistics, measured anew for another task."""

import functools
from collections.abc import Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from pix2rep_jax.models.norm_relu import MOMENTUM

__all__ = ["measure_batches", "recalibrate", "sample_batches"]

BATCH_SIZE = 32
"""Images whose statistics are measured together."""

MAX_BATCHES = 48
"""If the images fill more batches than this, a sample is measured."""


def recalibrate(
    backbone: nn.Module,
    variables: Any,
    images: np.ndarray,
    boxes: np.ndarray,
    *,
    batch_size: int = BATCH_SIZE,
    max_batches: int = MAX_BATCHES,
    seed: int = 0,
) -> Any:
    """Measures BatchNorm's statistics anew, on images as they will be segmented.

    Pretraining leaves averages over reversed, blurred, noisy and magnified images. They
    do not fit the plain images that a frozen backbone sees afterwards.

    Args:
        backbone: A `UNet`.
        variables: `{"params": …, "batch_stats": …}`.
        images: `[slices, height, width, channels]`; labels are not needed.
        boxes: `[slices, 4]`, the pixels of each slice that are measured: first and last
            row, then first and last column. The others are padding.
        batch_size: Images whose statistics are measured together.
        max_batches: If the images fill more batches than this, a sample is measured.
        seed: Seeds the order of the images.

    Returns:
        Statistics like `variables["batch_stats"]`. Means and variances are measured per
        batch and averaged over the batches.
    """
    batches = sample_batches(
        len(images), batch_size=batch_size, max_batches=max_batches, seed=seed
    )
    return measure_batches(
        backbone, variables, ((images[rows], boxes[rows]) for rows in batches)
    )


def measure_batches(
    backbone: nn.Module,
    variables: Any,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
) -> Any:
    """Measures BatchNorm's statistics as `recalibrate` does, on given batches.

    Args:
        backbone: As for `recalibrate`, like the variables.
        variables: `{"params": …, "batch_stats": …}`.
        batches: Images `[batch, height, width, channels]` and boxes `[batch, 4]`, at
            least one batch. One is in memory at a time.

    Returns:
        As `recalibrate`.
    """
    # On the host, since each function of jax.numpy would compile a program.
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), variables["batch_stats"])

    @jax.jit
    def measure(params: Any, batch: jax.Array, valid: jax.Array) -> Any:
        _, updated = backbone.apply(
            {"params": params, "batch_stats": zeros},
            batch,
            train=True,
            valid=valid,
            mutable=["batch_stats"],
        )
        # The running averages start at zero, so one step leaves 1 - MOMENTUM of the
        # batch's statistics.
        return jax.tree.map(lambda x: x / (1 - MOMENTUM), updated["batch_stats"])

    params, total, number = jax.device_put(variables["params"]), zeros, 0
    for images, boxes in batches:
        valid = in_boxes(boxes, *images.shape[1:3])
        total = _add(total, measure(params, np.asarray(images, np.float32), valid))
        number += 1
    return _divide(total, number)


def sample_batches(
    num_images: int,
    *,
    batch_size: int = BATCH_SIZE,
    max_batches: int = MAX_BATCHES,
    seed: int = 0,
) -> np.ndarray:
    """Draws the images that `recalibrate` measures; the arguments are its own.

    Returns:
        `[batches, images]`, the indices of the images of each batch.
    """
    order = np.random.default_rng(seed).permutation(num_images)
    batch_size = min(batch_size, num_images)
    num_batches = min(max_batches, num_images // batch_size)
    return order[: num_batches * batch_size].reshape(num_batches, batch_size)


# Not in `measure`: there a sum would be rounded together with what it adds.
@jax.jit
def _add(one: Any, other: Any) -> Any:
    """Adds two trees of arrays."""
    return jax.tree.map(jnp.add, one, other)


@functools.partial(jax.jit, static_argnums=1)
def _divide(tree: Any, number: int) -> Any:
    """Divides a tree of arrays by a number."""
    return jax.tree.map(lambda x: x / number, tree)


def in_boxes(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Tells the pixels `[boxes, height, width]` that lie in each box `[boxes, 4]`."""
    top, bottom, left, right = boxes.T[..., None, None]
    row, column = np.mgrid[:height, :width]
    return (top <= row) & (row <= bottom) & (left <= column) & (column <= right)
