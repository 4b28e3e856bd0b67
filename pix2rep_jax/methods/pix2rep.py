"""Pix2Rep pretraining: equivariant under φ, invariant under t and t'."""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from pix2rep_jax import losses
from pix2rep_jax.errors import InputError
from pix2rep_jax.geometry import gather_neighbours
from pix2rep_jax.unet import ProjectionHead, UNet
from pix2rep_jax.views import make_views, sample_points

__all__ = ["Pix2RepNet", "make_loss"]


class Pix2RepNet(nn.Module):
    """The backbone f and the projection head g.

    Attributes:
        backbone: f.
        projection: g.
    """

    backbone: UNet
    projection: ProjectionHead

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, height, width, 1]` to embeddings of all its pixels."""
        return self.projection(self.backbone(image, train=train))

    def features(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, height, width, 1]` to features: f alone."""
        return self.backbone(image, train=train)

    def project(self, features: jax.Array) -> jax.Array:
        """Maps `[..., num_features]` to embeddings `[..., d]`: g alone."""
        return self.projection(features)


def make_loss(
    net: Pix2RepNet,
    *,
    loss: str,
    temperature: float,
    off_diagonal_weight: float,
    num_points: int | str,
    spatial: Mapping[str, Any],
    intensity: Mapping[str, Any],
):
    """Makes the pretraining loss of a batch.

    Args:
        net: f and g.
        loss: "info_nce" (Pix2Rep) or "cross_correlation" (Pix2Rep-v2).
        temperature: τ of the InfoNCE loss.
        off_diagonal_weight: λ of the cross-correlation loss.
        num_points: Points an image at which the views are compared, M of the
            paper; "all" takes every pixel.
        spatial: Options of `geometry.sample_sources`: φ.
        intensity: Options of `intensity.random_intensity`: t and t'.

    Returns:
        `loss_fn(params, batch_stats, batch, key) -> (loss, (batch_stats, metrics))`
        for batches with an "image" `[batch, height, width, 1]`.

    Raises:
        InputError: If `loss` is neither of the two.

    Reference:
        Seince et al., "Dense Self-Supervised Learning for Medical Image
        Segmentation", MIDL 2024, section 3 and Eq. 1-2.
    """
    if loss not in ("info_nce", "cross_correlation"):
        raise InputError(
            f"pretrain.loss is {loss!r}: it must be 'info_nce' or 'cross_correlation'"
        )

    def loss_fn(params, batch_stats, batch, key: jax.Array):
        view_key, point_key = jax.random.split(key)
        views = make_views(
            view_key, batch["image"], spatial=spatial, intensity=intensity
        )
        features, updated = net.apply(
            {"params": params, "batch_stats": batch_stats},
            jnp.concatenate([views.view_a, views.view_b]),
            train=True,
            method="features",
            mutable=["batch_stats"],
        )
        points, valid = choose_points(point_key, views.valid, num_points)
        features_a, features_b = jnp.split(features, 2)
        u, v = jax.vmap(functools.partial(embed_pairs, net, params))(
            features_a, features_b, views.sources, points
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
        return value, (updated["batch_stats"], metrics)

    return loss_fn


def choose_points(key: jax.Array, valid: jax.Array, num_points: int | str):
    """Samples M valid pixels an image, or takes all pixels with their validity."""
    if num_points != "all":
        return sample_points(key, valid, num_points=num_points)
    batch, height, width = valid.shape
    points = jnp.broadcast_to(
        jnp.arange(height * width, dtype=jnp.int32), (batch, height * width)
    )
    return points, valid.reshape(batch, -1)


def embed_pairs(net: Pix2RepNet, params, features_a, features_b, sources, points):
    """Embeds one image's points in both views: φ·(g∘f)(v) and (g∘f)(φ·v').

    g acts on each pixel alone, so φ·g(f(v)) at the chosen points needs g only at
    the four pixels around each source: equal to warping the whole map.
    """
    pixels, weights = gather_neighbours(features_a, sources.reshape(-1, 2)[points])
    project = lambda x: net.apply({"params": params}, x, method="project")  # noqa: E731
    u = jnp.einsum("mkd,mk->md", project(pixels).astype(jnp.float32), weights)
    v = project(features_b.reshape(-1, features_b.shape[-1])[points])
    return u, v
