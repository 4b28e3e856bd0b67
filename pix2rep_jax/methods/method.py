"""What a pretraining method is: one file beside this one, found by its name."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

__all__ = ["Method"]


def only_images(slices: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Makes every slice a sample."""
    return {"image": slices["image"]}


def keep_statistics(params: Any, batch_stats: Any) -> Any:
    """Starts with BatchNorm's statistics and nothing else."""
    del params
    return batch_stats


class Method(NamedTuple):
    """A pretraining method, as a file of this folder makes it.

    The file holds `make_method(config, recipe) -> Method`; nothing else knows of it.

    Attributes:
        net: Has the U-Net as `backbone`; `net(image, train=...)` runs every part that
            has parameters.
        loss_fn: `(params, batch_stats, batch, key) -> (loss, (batch_stats, metrics))`.
            What changes from step to step without a gradient, such as a slowly moving
            copy of the network, lies in `batch_stats` next to "backbone".
        trained: Dotted names of the parts of the parameters that it trains, such as
            "projection" or "backbone.encode_0". What of the backbone is not among them
            starts at random in fine-tuning.
        arrange: Makes the data, a sample a row, of the slices' "image"
            `[slices, height, width, 1]`, "volume" `[slices]` and "slice" `[slices]`
            (index in its scan). A batch takes samples in a random order.
        begin: `(params, batch_stats) -> batch_stats` before the first step.
        needs_run: Whether there is nothing to learn without the backbone of an earlier
            pretraining run. Any method starts from the one that `init.checkpoint`
            names.
        collapsed_loss: The loss of a network that maps all images to one embedding,
            where that is no minimum.
    """

    net: nn.Module
    loss_fn: Callable
    trained: tuple[str, ...]
    arrange: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]] = only_images
    begin: Callable[[Any, Any], Any] = keep_statistics
    needs_run: bool = False
    collapsed_loss: float | None = None
