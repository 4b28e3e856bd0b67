"""One file per pretraining method, found by the name that `pretrain.method` gives.

A file that makes a method has `make_method(config, recipe) -> Method`. The other files
hold what several methods, or several parts of one, share.
"""

import importlib
import pkgutil
from collections.abc import Mapping

import jax
import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data.slices.grid import PATCHED
from pix2rep_jax.errors import InputError
from pix2rep_jax.methods.method import Method
from pix2rep_jax.training.state import ModelState
from pix2rep_jax.views.patches import PatchOptions, draw_patches

__all__ = ["list_unread", "load_method", "make_recipe", "method_name"]


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
            f"pretrain.method is {name!r}, which does not exist: set it to "
            + " or ".join(map(repr, known))
        )
    method, recipe = _import(name), make_recipe(config)
    try:
        made = method.make_method(config, recipe)
        return made if config.data.crop not in PATCHED else on_patches(made, config)
    except AttributeError as error:  # a new method without its section
        missing = [x for x in getattr(method, "SETTINGS", {}) if x not in recipe]
        if not missing:
            raise
        raise InputError(
            f"pretrain.method={name} needs the setting {name}.{missing[0]}, which the "
            f"configuration does not have: add a section {name} to it, as in "
            "configs/baselines.py"
        ) from error


def on_patches(method: Method, config: ConfigDict) -> Method:
    """Lets a method see a patch of each slice, drawn anywhere in each step.

    A method that compares the same places of different scans sees the middle one.

    Args:
        method: A method whose samples are slices.
        config: The whole configuration; `data.size` is a patch's side.

    Raises:
        InputError: If such a method is to see whole slices, whose sizes differ.
    """
    if method_name(config) == "chaitanya":
        return _on_middle(method, config.data)
    options = PatchOptions(config.data.size)

    def make_samples(slices: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**method.make_samples(slices), "box": slices["box"]}

    def loss_fn(params, model_state: ModelState, batch, key: jax.Array):
        patch_key, loss_key = jax.random.split(key)
        patches = draw_patches(patch_key, batch, options=options)
        return method.loss_fn(params, model_state, patches, loss_key)

    return method._replace(make_samples=make_samples, loss_fn=loss_fn)


def _on_middle(method: Method, data: ConfigDict) -> Method:
    """Lets a method see the middle patch of each slice."""
    if data.crop == "whole":
        raise InputError(
            "pretrain.method=chaitanya compares the same places of different scans, "
            "and data.crop=whole draws patches anywhere: set --config.data.crop=center"
        )
    side = data.size

    def loss_fn(params, model_state: ModelState, batch, key: jax.Array):
        images = batch["image"]
        start = (images.shape[-2] - side) // 2
        inner = slice(start, start + side)
        cut = {**batch, "image": images[..., inner, inner, :]}
        return method.loss_fn(params, model_state, cut, key)

    return method._replace(loss_fn=loss_fn)


def make_recipe(config: ConfigDict) -> ConfigDict:
    """Returns `pretrain`, overridden by the section with the method's name."""
    recipe = config.pretrain.copy_and_resolve_references()
    with recipe.unlocked():
        for name, value in config.get(method_name(config), {}).items():
            recipe[name] = value
    return recipe


def list_unread(config: ConfigDict) -> set[str]:
    """Lists the settings and sections of other methods, which the method does not read.

    A method that declares its SETTINGS reads no others of the section `pretrain` than
    these, besides the optimisation.

    Args:
        config: The whole configuration.

    Returns:
        Dotted names, such as "pretrain.num_points", "projection" and "byol".
    """
    name = method_name(config)
    unread = {each for each in _files() if hasattr(_import(each), "make_method")}
    unread.discard(name)
    own = getattr(_import(name), "SETTINGS", None) if name in _files() else None
    if name != "pix2rep" and own is not None:
        others = _import("pix2rep").SETTINGS
        unread |= {f"pretrain.{each}" for each in others if each not in own}
        unread.add("projection")
    return unread


def method_name(config: ConfigDict) -> str:
    """Returns the method's name, which is Pix2Rep's if the configuration has none."""
    return config.pretrain.get("method", "pix2rep")


def _files() -> list[str]:
    return sorted(each.name for each in pkgutil.iter_modules(__path__))


def _import(name: str):
    return importlib.import_module(f"{__name__}.{name}")
