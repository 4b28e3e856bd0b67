"""BYOL of whole images: predict how a slowly moving copy embeds the other view."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from pix2rep_jax import losses
from pix2rep_jax.methods.method import Method
from pix2rep_jax.models.build import make_backbone
from pix2rep_jax.models.heads import MLP
from pix2rep_jax.models.image_embedder import embed_image, encoder_parts
from pix2rep_jax.models.param_parts import put_parts, take_parts
from pix2rep_jax.models.unet import UNet
from pix2rep_jax.views.sampling import make_view_pairs

__all__ = ["ByolNet", "make_loss", "make_method", "move_target"]


class ByolNet(nn.Module):
    """The online network; its copy, the target, has no predictor.

    Attributes:
        backbone: f; its decoder has parameters, and takes no part.
        projection: Maps the pooled bottleneck to an embedding.
        predictor: Maps an embedding to what the target makes of the other view.
    """

    backbone: UNet
    projection: MLP
    predictor: MLP

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, height, width, 1]` to `[batch, features]`, f run as a whole."""
        self.backbone(image, train=train)
        return self.predict(image, train=train)

    def embed(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, height, width, 1]` to embeddings `[batch, features]`."""
        return self.projection(
            embed_image(self.backbone, image, train=train), train=train
        )

    def predict(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, height, width, 1]` to predictions `[batch, features]`."""
        return self.predictor(self.embed(image, train=train), train=train)


def make_method(config: ConfigDict, recipe: ConfigDict) -> Method:
    """Makes BYOL: it trains the encoder, its head and the predictor.

    Args:
        config: The whole configuration; `model`, `spatial` and `intensity` are read.
        recipe: Its `pretrain`, with what `byol` says otherwise.

    Raises:
        InputError: If the network cannot be made.
    """
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
        begin=lambda params, batch_stats: (
            batch_stats | {"target": take_parts(params, followed)}
        ),
    )


def make_loss(
    net: ByolNet,
    *,
    momentum: float,
    followed: Sequence[str],
    spatial: Mapping[str, Any],
    intensity: Mapping[str, Any],
):
    """Makes the loss of a batch, which moves the target too.

    The target first follows the parameters it is given, which are those after the
    last step's update, and is then compared with.

    Args:
        net: The online network.
        momentum: What of itself the target keeps in a step.
        followed: Names of the parts of the parameters that the target has.
        spatial: Options of `affine.sample_sources`, for both views.
        intensity: Options of `intensity.random_intensity`, likewise.

    Returns:
        `loss_fn(params, batch_stats, batch, key) -> (loss, (batch_stats, metrics))`
        for batches with an "image" `[batch, height, width, 1]`; `batch_stats` holds
        the "target", as `take_parts` makes it.

    Reference:
        Grill et al., "Bootstrap Your Own Latent: A New Approach to Self-Supervised
        Learning", NeurIPS 2020, Eq. 1-2.
    """

    def loss_fn(params, batch_stats, batch, key: jax.Array):
        statistics = dict(batch_stats)
        target = move_target(
            statistics.pop("target"), take_parts(params, followed), momentum=momentum
        )
        views = make_view_pairs(
            key, batch["image"], spatial=spatial, intensity=intensity
        )

        def apply(params, method):
            return net.apply(
                {"params": params, "batch_stats": statistics},
                views,
                train=True,
                method=method,
                mutable=["batch_stats"],
            )

        predicted, updated = apply(params, "predict")
        # It normalises by the batch's statistics and keeps none of its own.
        aims, _ = apply(put_parts(params, target), "embed")
        first, second = jnp.split(jax.lax.stop_gradient(aims), 2)
        alignment = losses.alignment(predicted, jnp.concatenate([second, first]))
        metrics = {
            "alignment": alignment,
            "embedding_std": losses.embedding_std(aims),
        }
        # |p - z|² of unit vectors, of both views.
        value = 2 * (2 - 2 * alignment)
        return value, (updated["batch_stats"] | {"target": target}, metrics)

    return loss_fn


def move_target(target: Any, online: Any, *, momentum: float) -> Any:
    """Moves the target towards the online network, without a gradient.

    Args:
        target: Tree of arrays.
        online: Tree of the same shapes.
        momentum: What of itself the target keeps.

    Returns:
        momentum · target + (1 - momentum) · online.
    """
    return jax.tree.map(
        lambda old, new: jax.lax.stop_gradient(momentum * old + (1 - momentum) * new),
        target,
        online,
    )
