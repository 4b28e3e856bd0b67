"""BYOL of whole images: predict how a slowly moving copy embeds the other view."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from pix2rep_jax import losses
from pix2rep_jax.methods.ema import ema_update
from pix2rep_jax.methods.method import Method, check_pairs
from pix2rep_jax.models.build import make_backbone
from pix2rep_jax.models.heads import MLP
from pix2rep_jax.models.image_embedder import embed_image, encoder_parts
from pix2rep_jax.models.param_parts import put_parts, take_parts
from pix2rep_jax.models.unet import UNet
from pix2rep_jax.runtime.config_checks import above_zero, all_of, share, whole_numbers
from pix2rep_jax.training.state import LossFn, ModelState
from pix2rep_jax.views.sampling import make_view_pairs

__all__ = ["ByolNet", "make_extra", "make_loss", "make_method"]


SETTINGS = {
    "hidden": all_of(whole_numbers, above_zero),
    "features": above_zero,
    "momentum": share,
}
"""The section `byol`, besides what it overrides of `pretrain`."""


class ByolNet(nn.Module):
    """The online network; its copy, the target, has no predictor.

    Attributes:
        backbone: f. Its decoder has parameters but is not used.
        projection: Maps the pooled bottleneck to an embedding.
        predictor: Maps an embedding of one view to the target's of the other.
    """

    backbone: UNet
    projection: MLP
    predictor: MLP

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, height, width, c]` to `[batch, features]`; runs all of f."""
        self.backbone(image, train=train)
        return self.predict(image, train=train)

    def embed(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, height, width, channels]` to embeddings `[batch, features]`."""
        return self.projection(
            embed_image(self.backbone, image, train=train), train=train
        )

    def predict(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, height, width, c]` to predictions `[batch, features]`."""
        return self.predictor(self.embed(image, train=train), train=train)


def make_method(config: ConfigDict, recipe: ConfigDict) -> Method:
    """Makes BYOL: it trains the encoder, its head and the predictor.

    Args:
        config: The whole configuration; `model`, `spatial` and `intensity` are read.
        recipe: Its `pretrain`, overridden by its `byol`.

    Raises:
        InputError: If the network cannot be made.
    """
    check_pairs(recipe.batch_size, "byol.batch_size")  # BatchNorm needs several too
    head = {"features": recipe.features, "batch_norm": True}
    net = ByolNet(
        backbone=make_backbone(config),
        projection=MLP(hidden=tuple(recipe.hidden), **head),
        predictor=MLP(hidden=tuple(recipe.hidden), **head),
    )
    followed = (*encoder_parts(config), "projection")
    loss_fn = make_loss(
        net,
        momentum=recipe.momentum,
        followed=followed,
        spatial=config.spatial.to_dict(),
        intensity=config.intensity.to_dict(),
    )
    return Method(
        net=net,
        loss_fn=loss_fn,
        trained=(*followed, "predictor"),
        make_extra=functools.partial(make_extra, followed=followed),
    )


def make_extra(params: Any, *, followed: Sequence[str]) -> dict[str, Any]:
    """Makes the initial extra state: a target that is equal to the online network."""
    return {"target": take_parts(params, followed)}


def make_loss(
    net: ByolNet,
    *,
    momentum: float,
    followed: Sequence[str],
    spatial: Mapping[str, Any],
    intensity: Mapping[str, Any],
) -> LossFn:
    """Makes the loss of a batch, which also moves the target.

    The target first moves towards the given parameters, which the step before left.
    Then its embeddings are what the online network has to predict.

    Args:
        net: The online network.
        momentum: Share of itself that the target keeps in a step.
        followed: Dotted names of the parts that the target has.
        spatial: Options of `affine.sample_sources`, for both views.
        intensity: Options of `intensity.random_intensity`, for both views.

    Returns:
        The loss of batches with an "image" `[batch, height, width, c]`. The extra
        state is `make_extra`'s.

    Reference:
        Grill et al., "Bootstrap Your Own Latent: A New Approach to Self-Supervised
        Learning", NeurIPS 2020, Eq. 1-2.
    """

    def loss_fn(params, model_state: ModelState, batch, key: jax.Array):
        online = take_parts(params, followed)
        target = ema_update(model_state.extra["target"], online, decay=momentum)
        views = make_view_pairs(
            key, batch["image"], spatial=spatial, intensity=intensity
        )

        def apply(params, method):
            return net.apply(
                {"params": params, "batch_stats": model_state.batch_stats},
                views,
                train=True,
                method=method,
                mutable=["batch_stats"],
            )

        predicted, updated = apply(params, "predict")
        # The target normalises by the batch and keeps no statistics of its own.
        aims, _ = apply(put_parts(params, target), "embed")
        # The average contains the online network: no gradient may pass through it.
        aims = jax.lax.stop_gradient(aims)
        first, second = jnp.split(aims, 2)
        alignment = losses.alignment(predicted, jnp.concatenate([second, first]))
        metrics = {
            "alignment": alignment,
            "embedding_std": losses.embedding_std(aims),
        }
        # |p - z|² of unit vectors, of both views.
        value = 2 * (2 - 2 * alignment)
        return value, (ModelState(updated["batch_stats"], {"target": target}), metrics)

    return loss_fn
