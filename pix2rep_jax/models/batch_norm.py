"""BatchNorm's statistics at the change of task."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from pix2rep_jax.models.layers import MOMENTUM

__all__ = ["recalibrate"]


def recalibrate(
    backbone: nn.Module,
    variables: Any,
    images: np.ndarray,
    *,
    batch_size: int = 32,
    max_batches: int = 48,
    seed: int = 0,
) -> Any:
    """Measures BatchNorm's statistics anew, on images as they will be segmented.

    Pretraining leaves the averages of what it saw: images reversed, blurred, noisy
    and magnified. A frozen backbone that normalises plain images by them is off.

    Args:
        backbone: A `UNet`.
        variables: `{"params": …, "batch_stats": …}`.
        images: `[slices, height, width]`; labels are not needed.
        batch_size: Images whose statistics are measured together.
        max_batches: More images than these many batches hold are sampled.
        seed: Of the order.

    Returns:
        Statistics like `variables["batch_stats"]`: the mean over the batches of each
        batch's own mean and variance.
    """
    order = np.random.default_rng(seed).permutation(len(images))
    batch_size = min(batch_size, len(images))
    num_batches = min(max_batches, len(images) // batch_size)
    zeros = jax.tree.map(jnp.zeros_like, variables["batch_stats"])

    @jax.jit
    def measure(params: Any, batch: jax.Array) -> Any:
        _, updated = backbone.apply(
            {"params": params, "batch_stats": zeros},
            batch,
            train=True,
            mutable=["batch_stats"],
        )
        # From zero, one step of the running average is this fraction of the batch's.
        return jax.tree.map(lambda x: x / (1 - MOMENTUM), updated["batch_stats"])

    params, total = jax.device_put(variables["params"]), zeros
    for index in range(num_batches):
        chosen = order[index * batch_size : (index + 1) * batch_size]
        batch = np.asarray(images[chosen], np.float32)[..., None]
        total = jax.tree.map(jnp.add, total, measure(params, batch))
    return jax.tree.map(lambda x: x / num_batches, total)
