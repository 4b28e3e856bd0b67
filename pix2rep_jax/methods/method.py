"""What a pretraining method consists of."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from pix2rep_jax.errors import InputError
from pix2rep_jax.training.state import LossFn, TrainState
from pix2rep_jax.wording import count

__all__ = ["Method", "check_pairs"]


def use_slices(slices: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Makes every slice a sample."""
    return {"image": slices["image"]}


def make_nothing(params: Any) -> dict[str, Any]:
    """Starts without extra state."""
    del params
    return {}


def check_pairs(number: int, name: str) -> None:
    """Checks that a step compares several pairs: one alone has nothing unlike it.

    Args:
        number: Pairs of a step, of all devices together.
        name: The setting that makes them more.

    Raises:
        InputError: If there are fewer than two.
    """
    if number < 2:
        raise InputError(
            f"{name} gives a step {count(number, 'pair')} of views, and a pair is "
            f"compared with others: raise {name} so that there are 2 or more"
        )


class Method(NamedTuple):
    """A pretraining method.

    Each file of `methods/pretraining` that is a method has a function
    `make_method(config, recipe) -> Method`. No other code knows about the method.

    Attributes:
        net: Has the U-Net as `backbone`. `net(image, train=...)` runs every part that
            has parameters.
        loss_fn: The loss of a batch of samples.
        trained: Dotted names of the parts that it trains, such as "projection" or
            "backbone.encode_0". Other parts of the backbone start from random weights
            in fine-tuning.
        make_samples: Makes the data, one sample per row, from a mapping with "image"
            `[slices, height, width, c]`, "box" `[slices, 4]` (the pixels that lie in
            the scan: first and last row, first and last column), "volume" `[slices]`
            and "slice" `[slices]`, the slice's index in its scan. A batch takes samples
            in a random order.
        make_extra: Makes the initial extra state from the initial parameters.
        requires_pretrained: Whether the method must start from the backbone of an
            earlier pretraining run. Every method can, by `init.checkpoint`.
        make_watch: Makes the measure of a `TrainState` that is logged now and then,
            from a few slices that do not pretrain, with the fields that `make_samples`
            gets; None if the method has none.
        collapsed_loss: The loss of a network that maps all images to one embedding;
            None if such a network has a small loss.

    >>> def darkness(params, model_state, batch, key):
    ...     return batch["image"].mean(), (model_state, {})
    >>> method = Method(nn.Dense(2), darkness, trained=("backbone",))
    >>> samples = method.make_samples({"image": np.ones((3, 8, 8, 1)), "volume": None})
    >>> float(method.loss_fn({}, {}, samples, None)[0]), method.requires_pretrained
    (1.0, False)
    """

    net: nn.Module
    loss_fn: LossFn
    trained: tuple[str, ...]
    make_samples: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]] = (
        use_slices
    )
    make_extra: Callable[[Any], Any] = make_nothing
    requires_pretrained: bool = False
    make_watch: (
        Callable[[Mapping[str, np.ndarray]], Callable[[TrainState], dict[str, float]]]
        | None
    ) = None
    collapsed_loss: float | None = None
