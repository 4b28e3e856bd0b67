"""What a pretraining method is: one file beside this one, found by its name."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax import methods
from pix2rep_jax.errors import InputError

__all__ = ["Method", "load_method", "make_recipe", "method_name"]


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


def load_method(config: ConfigDict) -> Method:
    """Makes the method that `pretrain.method` names.

    Args:
        config: The whole configuration.

    Raises:
        InputError: If no file has that name, or the configuration cannot be used.
    """
    name = method_name(config)
    if name not in _files() or not hasattr(_import(name), "make_method"):
        known = [each for each in _files() if hasattr(_import(each), "make_method")]
        raise InputError(
            f"pretrain.method is {name!r}, and there is no such method: it must be "
            + " or ".join(map(repr, known))
        )
    return _import(name).make_method(config, make_recipe(config))


def make_recipe(config: ConfigDict) -> ConfigDict:
    """Returns `pretrain`, with what the section of the method's name says otherwise."""
    recipe = config.pretrain.copy_and_resolve_references()
    with recipe.unlocked():
        for name, value in config.get(method_name(config), {}).items():
            recipe[name] = value
    return recipe


def method_name(config: ConfigDict) -> str:
    """Returns the method's name; runs from before there was a choice are Pix2Rep's."""
    return config.pretrain.get("method", "pix2rep")


def _files() -> list[str]:
    return sorted(each.name for each in pkgutil.iter_modules(methods.__path__))


def _import(name: str):
    return importlib.import_module(f"pix2rep_jax.methods.{name}")
