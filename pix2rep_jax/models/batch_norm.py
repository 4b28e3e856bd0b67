"""BatchNorm's statistics, measured anew for another task."""

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

    Pretraining leaves averages over reversed, blurred, noisy and magnified images. They
    do not fit the plain images that a frozen backbone sees afterwards.

    Args:
        backbone: A `UNet`.
        variables: `{"params": …, "batch_stats": …}`.
        images: `[slices, height, width]`; labels are not needed.
        batch_size: Images whose statistics are measured together.
        max_batches: If the images fill more batches than this, a sample is measured.
        seed: Seeds the order of the images.

    Returns:
        Statistics like `variables["batch_stats"]`. Means and variances are measured per
        batch and averaged over the batches.
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
        # The running averages start at zero, so one step leaves 1 - MOMENTUM of the
        # batch's statistics.
        return jax.tree.map(lambda x: x / (1 - MOMENTUM), updated["batch_stats"])

    params, total = jax.device_put(variables["params"]), zeros
    for index in range(num_batches):
        chosen = order[index * batch_size : (index + 1) * batch_size]
        batch = np.asarray(images[chosen], np.float32)[..., None]
        total = jax.tree.map(jnp.add, total, measure(params, batch))
    return jax.tree.map(lambda x: x / num_batches, total)
