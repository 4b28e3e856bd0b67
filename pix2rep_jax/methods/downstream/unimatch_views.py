"""UniMatch's views: what is moved, changed, mixed and dropped."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.methods.downstream.supervised import augment_slices
from pix2rep_jax.views.cutmix import paste, sample_box
from pix2rep_jax.views.intensity import random_intensity
from pix2rep_jax.views.patches import PatchOptions

__all__ = [
    "HIDDEN",
    "PARTNER",
    "Views",
    "draw_views",
    "drop_complementary",
    "drop_features",
    "with_truth",
]

PARTNER = -1
"""Stands for the label of a pixel that only a pseudo-label can give."""

HIDDEN = "hidden_label"
"""The array of masks that nothing learns from. They measure the pseudo-labels."""


class Views(NamedTuple):
    """Views of the slices without a mask.

    Attributes:
        weak: `[n, height, width, channels]`, moved only.
        partner: The same of the slices to mix with.
        strong: `[2, n, height, width, channels]`, two views of each weak one, with
            boxes of the partner's or of a labelled slice.
        box: `[2, n, height, width]` bool, the pixels of that other slice.
        truth: `[2, n, height, width]`, the labels of what is pasted from labelled
            slices, and `PARTNER` elsewhere; None if nothing is.
        hidden: `[n, height, width]`, the masks of `weak` for the log, or None.
    """

    weak: jax.Array
    partner: jax.Array
    strong: jax.Array
    box: jax.Array
    truth: jax.Array | None
    hidden: jax.Array | None


def draw_views(
    key: jax.Array,
    unlabeled: Mapping[str, jax.Array],
    image: jax.Array,
    label: jax.Array,
    *,
    has_partners: bool,
    paste_probability: float = 0.0,
    spatial: Mapping[str, Any] | None,
    intensity: Mapping[str, Any],
    cutmix: Mapping[str, Any],
    patch: PatchOptions | None = None,
) -> Views:
    """Draws the weak view of every slice, two strong ones, and what is mixed in.

    Args:
        key: One random key.
        unlabeled: "image" `[batch, height, width, channels]`, and `HIDDEN` if there are
            masks to log by; with `patch` also "box" `[batch, 4]`.
        image: `[labelled, height, width, channels]`, labelled slices as they train.
        label: `[labelled, height, width]`.
        has_partners: Whether the second half of the batch is mixed into the first. If
            not, the batch is its own partner, turned round.
        paste_probability: How often a box holds a labelled slice in the place of the
            partner.
        spatial: Options of `affine.sample_sources` for the weak view; None moves
            nothing.
        intensity: Options of `intensity.random_intensity` for the strong views.
        cutmix: Options of `cutmix.sample_box`.
        patch: The side of the patches that are drawn of whole slices; None if the
            images are crops. The masks do not decide where a patch lies.
    """
    weak_key, strong_key, box_key, paste_key = jax.random.split(key, 4)
    plain = unlabeled["image"]
    hidden = unlabeled.get(HIDDEN, jnp.zeros(plain.shape[:3], jnp.uint8))
    weak, hidden = augment_slices(
        weak_key,
        {**unlabeled, "label": hidden},
        patch=patch and patch._replace(foreground_share=0.0),
        spatial=spatial,
        intensity={},
    )
    change = lambda key, image: random_intensity(key, image, **intensity)  # noqa: E731
    keys = jax.random.split(strong_key, (2, len(weak)))
    strong = jax.vmap(jax.vmap(change), in_axes=(0, None))(keys, weak)
    if has_partners:
        number = len(weak) // 2
        weak, partner = weak[:number], weak[number:]
        strong, mixed_in = strong[:, :number], strong[:, number:]
    else:
        number = len(weak)
        partner, mixed_in = weak[::-1], strong[:, ::-1]
    truth = None
    if paste_probability > 0:
        shape = (2, number, 1, 1)
        pasted = jax.random.bernoulli(paste_key, paste_probability, shape)
        # The second view takes other slices than the first. All were drawn at random.
        rows = (np.arange(number) + np.arange(2)[:, None]) % len(image)
        mixed_in = jnp.where(pasted[..., None], image[rows], mixed_in)
        truth = jnp.where(pasted, label[rows].astype(jnp.int32), PARTNER)
    height, width = weak.shape[1:3]
    draw = lambda key: sample_box(key, height=height, width=width, **cutmix)  # noqa: E731
    box = jax.vmap(jax.vmap(draw))(jax.random.split(box_key, (2, number)))
    return Views(
        weak=weak,
        partner=partner,
        strong=paste(box, strong, mixed_in),
        box=box,
        truth=truth,
        hidden=hidden[:number] if HIDDEN in unlabeled else None,
    )


def with_truth(
    truth: jax.Array, label: jax.Array, confidence: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Takes an expert's labels where there are any, which are certain."""
    is_known = truth != PARTNER
    certain = (truth != UNLABELLED).astype(confidence.dtype)
    return (
        jnp.where(is_known, truth, label),
        jnp.where(is_known, certain, confidence),
    )


def drop_features(
    key: jax.Array, *, first: int
) -> Callable[[int, jax.Array], jax.Array]:
    """Makes the perturbation that decodes images a second time, without some channels.

    Args:
        key: One random key.
        first: Index of the first of these images in the batch.

    Returns:
        A function of a level and its map. It adds the maps of those images to the
        batch, with half of the channels zero and the others doubled.
    """

    def perturb(level: int, features: jax.Array) -> jax.Array:
        again = features[first:]
        shape = (len(again), 1, 1, features.shape[-1])
        kept = jax.random.bernoulli(jax.random.fold_in(key, level), shape=shape)
        again = jnp.where(kept, 2 * again, 0).astype(features.dtype)
        return jnp.concatenate([features, again])

    return perturb


def drop_complementary(
    key: jax.Array, *, number: int
) -> Callable[[int, jax.Array], jax.Array]:
    """Makes the perturbation that takes opposite channels from two views of an image.

    Args:
        key: One random key.
        number: Number of images.

    Returns:
        A function of a level and its map, whose batch is all first views and then all
        second views. In a random half of the images every channel is doubled in one
        view and zero in the other. The other images stay as they are, at every level.

    Reference:
        Yang et al., "UniMatch V2: Pushing the Limit of Semi-Supervised Semantic
        Segmentation", TPAMI 2025, "complementary channel-wise dropout".
    """
    order_key, channel_key = jax.random.split(key)
    whole = jax.random.permutation(order_key, number) < number // 2

    def perturb(level: int, features: jax.Array) -> jax.Array:
        shape = (number, 1, 1, features.shape[-1])
        level_key = jax.random.fold_in(channel_key, level)
        factor = 2.0 * jax.random.bernoulli(level_key, shape=shape)
        factor = jnp.where(whole[:, None, None, None], 1.0, factor)
        factors = jnp.concatenate([factor, 2 - factor])
        return features * factors.astype(features.dtype)

    return perturb
