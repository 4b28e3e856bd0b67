"""Builds the networks that a configuration describes, and draws their parameters."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from pix2rep_jax.data.slices.grid import SIDE_MULTIPLE, middle_side
from pix2rep_jax.errors import InputError, check_choice
from pix2rep_jax.models.heads import SegmentationHead
from pix2rep_jax.models.param_parts import put_parts
from pix2rep_jax.models.segmentation_net import SegmentationNet
from pix2rep_jax.models.unet import UNet
from pix2rep_jax.runtime.compiler import once_options
from pix2rep_jax.runtime.config_checks import (
    above_zero,
    all_of,
    choice,
    not_below_zero,
    whole_numbers,
)
from pix2rep_jax.wording import count

__all__ = ["initialise", "make_backbone", "make_segmentation_net"]


DTYPES = ("float32", "bfloat16")
"""Types in which a network computes; its parameters are float32."""

SETTINGS = {
    "channels": all_of(whole_numbers, above_zero),
    "num_features": above_zero,
    "scratch_num_features": above_zero,
    "last_hidden": not_below_zero,
    "dtype": choice(*DTYPES),
    "sparse_last_block": choice("auto", True, False),
}
"""The configuration's section `model`."""


def make_backbone(config: ConfigDict, *, scratch: bool = False) -> UNet:
    """Builds the backbone, f of the paper.

    Args:
        config: The run's configuration; `model` and `data.size` are read.
        scratch: Whether this is the fully supervised baseline. In the paper it has
            another number of feature maps in its last layer.

    Raises:
        InputError: If there is only one level, if the images cannot be halved that
            often, or if the dtype is unknown.
    """
    model = config.model
    if len(model.channels) < 2:
        raise InputError(
            f"model.channels is {tuple(model.channels)}, but a U-Net needs at least "
            "two levels: set for example --config.model.channels=16,32"
        )
    multiple = 2 ** (len(model.channels) - 1)
    if config.data.size % multiple:
        raise InputError(
            f"data.size is {config.data.size} px, which cannot be halved evenly "
            f"{count(len(model.channels) - 1, 'time')}, as model.channels asks: make "
            f"it a multiple of {multiple}"
        )
    if config.data.crop == "whole" and SIDE_MULTIPLE % multiple:
        raise InputError(
            f"model.channels has {len(model.channels)} levels, and the sides of whole "
            f"slices are multiples of {SIDE_MULTIPLE} px: give it "
            f"{SIDE_MULTIPLE.bit_length()} at most, or set --config.data.crop=center"
        )
    side = middle_side(config.data.size)
    if config.data.crop == "middle" and side % multiple:
        raise InputError(
            f"the middle of a slice has {side} px in a row, which cannot be halved "
            f"evenly {count(len(model.channels) - 1, 'time')}, as model.channels asks: "
            "set --config.data.crop=center"
        )
    check_choice("model.dtype", model.dtype, DTYPES)
    return UNet(
        channels=tuple(model.channels),
        num_features=model.scratch_num_features if scratch else model.num_features,
        last_hidden=model.last_hidden or None,
        dtype=jnp.dtype(model.dtype),
    )


def make_segmentation_net(
    config: ConfigDict, *, scratch: bool = False
) -> SegmentationNet:
    """Builds the backbone with a segmentation head for `data.classes`."""
    return SegmentationNet(
        backbone=make_backbone(config, scratch=scratch),
        head=SegmentationHead(num_classes=len(config.data.classes)),
    )


def initialise(
    net: nn.Module,
    key: jax.Array,
    *,
    size: int,
    channels: int = 1,
    known: Sequence[str] = (),
) -> tuple[Any, Any]:
    """Draws the parameters of a network for square images.

    Args:
        net: A network that is called as `net(image, train=False)`.
        key: One random key.
        size: Side of the images (px).
        channels: Number of channels of the images.
        known: Dotted names of parts whose parameters the caller has. They are None
            here, since drawing them takes most of the time that compiling takes. The
            other parts do not depend on that.

    Returns:
        Parameters and BatchNorm statistics, both float32.
    """
    shape = (1, size, size, channels)

    def draw(key: jax.Array) -> tuple[Any, Any]:
        variables = net.init(key, jnp.zeros(shape), train=False)
        params = put_parts(variables["params"], dict.fromkeys(known))
        return params, variables["batch_stats"]

    return jax.jit(draw, compiler_options=once_options())(key)
