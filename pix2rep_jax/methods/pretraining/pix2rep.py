"""Pix2Rep pretraining: equivariant under φ, invariant under t and t'."""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax import losses
from pix2rep_jax.errors import InputError, check_choice
from pix2rep_jax.losses.contrastive import TEMPERATURE
from pix2rep_jax.losses.decorrelation import OFF_DIAGONAL_WEIGHT
from pix2rep_jax.methods.method import Method, check_pairs
from pix2rep_jax.methods.pretraining.neighbour_rate import make_watch
from pix2rep_jax.methods.pretraining.pixel_pairs import (
    choose_points,
    embed_at_points,
    embed_everywhere,
)
from pix2rep_jax.models.build import make_backbone
from pix2rep_jax.models.heads import ProjectionHead
from pix2rep_jax.models.unet import UNet
from pix2rep_jax.runtime.config_checks import (
    above_zero,
    all_of,
    anything,
    choice,
    whole_numbers,
)
from pix2rep_jax.training.state import LossFn, ModelState
from pix2rep_jax.views.sampling import Views, make_views

__all__ = [
    "Pix2RepNet",
    "make_comparison",
    "make_loss",
    "make_method",
    "make_net",
    "make_samples",
]


LOSSES = ("info_nce", "cross_correlation")

SPARSE_SHARE = 0.4
"""Share of both views' pixels below which "auto" reads the points' pixels alone."""

SETTINGS = {
    "loss": choice(*LOSSES),
    "temperature": TEMPERATURE,
    "off_diagonal_weight": OFF_DIAGONAL_WEIGHT,
    "num_points": anything,  # `make_method` knows how many pixels there are
    "joint_batch_norm": anything,
}
"""What Pix2Rep reads of the section `pretrain`, besides its optimisation."""

PROJECTION = {
    "hidden": all_of(whole_numbers, above_zero),
    "features": above_zero,
}
"""The section `projection`."""


class Pix2RepNet(nn.Module):
    """The backbone f and the projection head g.

    Attributes:
        backbone: f.
        projection: g.
    """

    backbone: UNet
    projection: ProjectionHead

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, height, width, channels]` to embeddings of all its pixels."""
        return self.projection(self.backbone(image, train=train))

    def features(
        self, image: jax.Array, *, train: bool, views: int = 1, read: Any = None
    ) -> Any:
        """Maps `[batch, height, width, c]` to features, by f alone; see `UNet`."""
        return self.backbone(image, train=train, views=views, read=read)

    def project(self, features: jax.Array) -> jax.Array:
        """Maps `[..., num_features]` to embeddings `[..., d]`, by g alone."""
        return self.projection(features)


def make_method(config: ConfigDict, recipe: ConfigDict) -> Method:
    """Makes Pix2Rep, which trains the whole backbone and g.

    Args:
        config: The whole configuration; `data.size`, `model`, `projection`, `spatial`
            and `intensity` are read.
        recipe: Its `pretrain`.

    Raises:
        InputError: If `num_points` is more than an image has pixels, if a step has a
            single pair, or if the configuration is invalid otherwise.
    """
    num_pixels = config.data.size**2
    if recipe.num_points != "all" and not (
        isinstance(recipe.num_points, int) and 1 <= recipe.num_points <= num_pixels
    ):
        raise InputError(
            f"pretrain.num_points is {recipe.num_points!r}: set it to a whole number "
            f"from 1 to {num_pixels}, the pixels of an image, or to 'all'"
        )
    points = num_pixels if recipe.num_points == "all" else recipe.num_points
    check_pairs(points * recipe.batch_size, "pretrain.num_points")
    net = make_net(config)
    loss_fn = make_loss(
        net,
        loss=recipe.loss,
        temperature=recipe.temperature,
        off_diagonal_weight=recipe.off_diagonal_weight,
        num_points=recipe.num_points,
        spatial=config.spatial.to_dict(),
        intensity=config.intensity.to_dict(),
        joint_batch_norm=recipe.joint_batch_norm,
        sparse_last_block=is_sparse(
            config.model.sparse_last_block, recipe.num_points, num_pixels=num_pixels
        ),
    )
    watch = functools.partial(
        make_watch,
        net,
        spatial=config.spatial.to_dict(),
        intensity=config.intensity.to_dict(),
    )
    return Method(
        net=net,
        loss_fn=loss_fn,
        trained=("backbone", "projection"),
        make_samples=make_samples,
        make_watch=watch,
    )


def make_samples(slices: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Makes every slice a sample, with the box that tells its scan from its padding."""
    return {"image": slices["image"], "box": slices["box"]}


def make_net(config: ConfigDict) -> Pix2RepNet:
    """Makes f and g from `data.size`, `model` and `projection`."""
    backbone = make_backbone(config)
    projection = ProjectionHead(
        hidden=tuple(config.projection.hidden),
        features=config.projection.features,
        dtype=backbone.dtype,
    )
    return Pix2RepNet(backbone=backbone, projection=projection)


def make_loss(
    net: Pix2RepNet,
    *,
    loss: str,
    temperature: float,
    off_diagonal_weight: float,
    num_points: int | str,
    spatial: Mapping[str, Any],
    intensity: Mapping[str, Any],
    joint_batch_norm: bool = False,
    sparse_last_block: bool = False,
) -> LossFn:
    """Makes the pretraining loss of a batch.

    Args:
        net: f and g.
        loss: "info_nce" (Pix2Rep) or "cross_correlation" (Pix2Rep-v2).
        temperature: τ of the InfoNCE loss.
        off_diagonal_weight: λ of the cross-correlation loss.
        num_points: M, the number of points per image at which the views are
            compared; "all" takes every pixel. Padding is never compared.
        spatial: Options of `affine.sample_sources`: φ.
        intensity: Options of `intensity.random_intensity`: t and t'.
        joint_batch_norm: As for `make_comparison`.
        sparse_last_block: As for `make_comparison`.

    Returns:
        The loss of batches with an "image" `[batch, height, width, c]` and a "box"
        `[batch, 4]`, as `make_views` takes them.

    Raises:
        InputError: If there is no such `loss`.

    Reference:
        Seince et al., "Dense Self-Supervised Learning for Medical Image
        Segmentation", MIDL 2024, section 3 and Eq. 1-2.
    """
    compare = make_comparison(
        net,
        loss=loss,
        temperature=temperature,
        off_diagonal_weight=off_diagonal_weight,
        joint_batch_norm=joint_batch_norm,
        sparse_last_block=sparse_last_block,
    )

    def loss_fn(params, model_state: ModelState, batch, key: jax.Array):
        view_key, point_key = jax.random.split(key)
        views = make_views(
            view_key, batch["image"], batch["box"], spatial=spatial, intensity=intensity
        )
        points, valid = choose_points(point_key, views.valid, num_points)
        value, (batch_stats, metrics) = compare(
            params, model_state.batch_stats, views, points, valid
        )
        return value, (model_state._replace(batch_stats=batch_stats), metrics)

    return loss_fn


def is_sparse(setting: bool | str, num_points: int | str, *, num_pixels: int) -> bool:
    """Decides whether the last convolution runs at the points alone.

    A point needs one pixel of view b and four of view a.

    Args:
        setting: `model.sparse_last_block`; "auto" compares the share of the pixels
            that are read with `SPARSE_SHARE`.
        num_points: M, or "all".
        num_pixels: Pixels of an image.
    """
    if isinstance(setting, bool):
        return setting
    if isinstance(num_points, str):
        return False
    return 5 * num_points / (2 * num_pixels) < SPARSE_SHARE


def make_comparison(
    net: Pix2RepNet,
    *,
    loss: str,
    temperature: float,
    off_diagonal_weight: float,
    joint_batch_norm: bool = False,
    sparse_last_block: bool = False,
):
    """Makes the loss of a batch whose views and points have been drawn.

    Args:
        net: f and g.
        loss: "info_nce" or "cross_correlation".
        temperature: τ of the InfoNCE loss.
        off_diagonal_weight: λ of the cross-correlation loss.
        joint_batch_norm: Whether BatchNorm normalises both views by their common
            statistics. If not, each view has its own, as in the released code. The
            running averages are then updated by view a, and after it by b.
        sparse_last_block: Whether the last convolution of f runs at the points alone,
            if there are points. See `embed_at_points`.

    Returns:
        `compare(params, batch_stats, views, points, valid) -> (loss, (batch_stats,
        metrics))`, with `points` and `valid` from `choose_points`.

    Raises:
        InputError: If there is no such `loss`.
    """
    check_choice("pretrain.loss", loss, LOSSES)

    def compare(params, batch_stats, views: Views, points, valid):
        variables = {"params": params, "batch_stats": batch_stats}
        if sparse_last_block and points is not None:
            u, v, batch_stats = embed_at_points(
                net, variables, views, points, valid, joint=joint_batch_norm
            )
        else:
            u, v, batch_stats = embed_everywhere(
                net, variables, views, points, joint=joint_batch_norm
            )
        u, v = (x.reshape(-1, x.shape[-1]).astype(jnp.float32) for x in (u, v))
        valid = valid.reshape(-1)
        if loss == "info_nce":
            value = losses.info_nce(u, v, temperature=temperature, valid=valid)
        else:
            value = losses.cross_correlation(
                u, v, off_diagonal_weight=off_diagonal_weight, valid=valid
            )
        metrics = {
            "alignment": losses.alignment(u, v, valid=valid),
            "embedding_std": losses.embedding_std(v, valid=valid),
            "valid_fraction": views.valid.mean(),
        }
        return value, (batch_stats, metrics)

    return compare
