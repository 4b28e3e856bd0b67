"""UniMatch: strong views learn the confident predictions on weak views."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pix2rep_jax import losses
from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.errors import check_choice
from pix2rep_jax.losses.pseudo_labels import (
    confident_dice,
    hard_dice,
    make_pseudo_labels,
)
from pix2rep_jax.methods.downstream.supervised import BATCH_NORM
from pix2rep_jax.methods.downstream.teacher import NETWORKS, update_teacher
from pix2rep_jax.models.segmentation_net import SegmentationNet
from pix2rep_jax.runtime.config_checks import (
    above_zero,
    all_of,
    ascending,
    choice,
    not_below_zero,
    pair,
    share,
)
from pix2rep_jax.training.state import LossFn, ModelState
from pix2rep_jax.views.cutmix import paste, sample_box
from pix2rep_jax.views.intensity import random_intensity
from pix2rep_jax.views.sampling import augment

__all__ = ["HIDDEN", "TEACHERS", "drop_complementary", "drop_features", "make_loss"]

TEACHERS = ("self", "ema")
"""Who makes the pseudo-labels: the network itself, or its running average."""

HIDDEN = "hidden_label"
"""The array of masks that nothing learns from. They measure the pseudo-labels."""

SETTINGS = {
    "teacher": choice(*TEACHERS),
    "result": choice(*NETWORKS),
    "ema_decay": share,
    "unlabeled_batch_size": above_zero,
    "threshold": share,
    "supervised_weight": not_below_zero,
    "unlabeled_weight": not_below_zero,
    "feature_share": share,
    "cutmix_probability": share,
    "cutmix_area": all_of(pair, above_zero, share, ascending),
    "cutmix_aspect": all_of(pair, above_zero, ascending),
}
"""The section `finetune.unimatch`, besides its section `intensity`."""


class Views(NamedTuple):
    """Views of the slices without a mask.

    Attributes:
        weak: `[n, height, width, channels]`, moved only.
        partner: The same of the slices to mix with.
        strong: `[2, n, height, width, channels]`, two views of each weak one, with
            boxes of the partner's.
        box: `[2, n, height, width]` bool, the pixels of the partner.
        hidden: `[n, height, width]`, the masks of `weak` for the log, or None.
    """

    weak: jax.Array
    partner: jax.Array
    strong: jax.Array
    box: jax.Array
    hidden: jax.Array | None


def draw_views(
    key: jax.Array,
    unlabeled: Mapping[str, jax.Array],
    *,
    has_partners: bool,
    spatial: Mapping[str, Any] | None,
    intensity: Mapping[str, Any],
    cutmix: Mapping[str, Any],
) -> Views:
    """Draws the weak view of every slice, two strong ones, and what is mixed in.

    Args:
        key: One random key.
        unlabeled: "image" `[batch, height, width, channels]`, and `HIDDEN` if there are
            masks to log by.
        has_partners: Whether the second half of the batch is mixed into the first. If
            not, the batch is its own partner, turned round.
        spatial: Options of `affine.sample_sources` for the weak view; None moves
            nothing.
        intensity: Options of `intensity.random_intensity` for the strong views.
        cutmix: Options of `cutmix.sample_box`.
    """
    weak_key, strong_key, box_key = jax.random.split(key, 3)
    image = unlabeled["image"]
    hidden = unlabeled.get(HIDDEN, jnp.zeros(image.shape[:3], jnp.uint8))
    weak, hidden = augment(weak_key, image, hidden, spatial=spatial, intensity={})
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
    height, width = image.shape[1:3]
    draw = lambda key: sample_box(key, height=height, width=width, **cutmix)  # noqa: E731
    box = jax.vmap(jax.vmap(draw))(jax.random.split(box_key, (2, number)))
    return Views(
        weak=weak,
        partner=partner,
        strong=paste(box, strong, mixed_in),
        box=box,
        hidden=hidden[:number] if HIDDEN in unlabeled else None,
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


def make_loss(
    net: SegmentationNet,
    *,
    cross_entropy_weight: float,
    dice_weight: float,
    include_background: bool,
    spatial: Mapping[str, Any] | None,
    intensity: Mapping[str, Any],
    batch_norm: str,
    teacher: str,
    ema_decay: float,
    threshold: float,
    supervised_weight: float,
    unlabeled_weight: float,
    feature_share: float,
    strong_intensity: Mapping[str, Any],
    cutmix_probability: float,
    cutmix_area: tuple[float, float],
    cutmix_aspect: tuple[float, float],
) -> LossFn:
    """Makes the loss of slices with and without a mask.

    The weak view of a slice gives a pseudo-label for each pixel. Two strong views learn
    it where it is confident. With a teacher "self", so does the weak view itself,
    decoded from half of its features. With "ema", the strong views lose features.

    The forward passes are those of the published code. One pass in training mode sees
    the labelled slices, with the weak views if they make the pseudo-labels. A second
    one sees the strong views. BatchNorm normalises each by its own batch, and the
    running averages take in both, one after the other. The pseudo-labels of the
    partners, and those of a running average, come from a pass outside training.

    Args:
        net: Backbone and head.
        cross_entropy_weight: Weight of the cross-entropy.
        dice_weight: Weight of the soft Dice loss.
        include_background: Whether background counts in the supervised soft Dice loss.
        spatial: Options of `affine.sample_sources`, for all slices; None moves nothing.
        intensity: Options of `intensity.random_intensity`, for the labelled slices.
        batch_norm: "train" normalises by each batch and averages over the passes.
            "frozen" normalises by the statistics that the run started from.
        teacher: "self" or "ema".
        ema_decay: Largest decay of the teacher's average; of "ema" only.
        threshold: Least probability of a confident pixel's class.
        supervised_weight: Weight of the supervised loss.
        unlabeled_weight: Weight of all other terms together.
        feature_share: Part of that weight that the dropped features have; of "self"
            only. The two strong views share the rest.
        strong_intensity: Options of `intensity.random_intensity`, for the strong views.
        cutmix_probability: How often a strong view holds a box of its partner.
        cutmix_area: Range of the box's area, as a share of the image's.
        cutmix_aspect: Range of the box's height over its width.

    Returns:
        The loss of batches with "labeled", as in `supervised.make_loss`, and
        "unlabeled": "image", and `HIDDEN` if there are masks to log by. With a teacher
        "self" the second half of these slices is mixed into the first. The extra state
        is `{}`, or with "ema" `teacher.make_extra` of the parameters and statistics.

    Raises:
        InputError: If `batch_norm` or `teacher` is unknown.

    Reference:
        Yang et al., "Revisiting Weak-to-Strong Consistency in Semi-Supervised Semantic
        Segmentation", CVPR 2023, and its "more scenarios: medical"; with "ema" Yang et
        al., "UniMatch V2", TPAMI 2025.
    """
    check_choice("finetune.batch_norm", batch_norm, BATCH_NORM)
    check_choice("finetune.unimatch.teacher", teacher, TEACHERS)
    is_own = teacher == "self"

    def train(params, batch_stats, image, perturb=None):
        logits, updated = net.apply(
            {"params": params, "batch_stats": batch_stats},
            image,
            train=batch_norm == "train",
            perturb=perturb,
            mutable=["batch_stats"],
        )
        return logits, updated["batch_stats"]

    def predict(variables, image) -> Any:
        # Without this, the pass would be kept for a gradient that nothing needs.
        return net.apply(jax.lax.stop_gradient(variables), image, train=False)

    def loss_fn(params, model_state: ModelState, batch, key: jax.Array):
        label_key, view_key, drop_key = jax.random.split(key, 3)
        student = {"params": params, "batch_stats": model_state.batch_stats}
        image, label = augment(
            label_key,
            batch["labeled"]["image"],
            batch["labeled"]["label"],
            spatial=spatial,
            intensity=intensity,
        )
        views = draw_views(
            view_key,
            batch["unlabeled"],
            has_partners=is_own,
            spatial=spatial,
            intensity=strong_intensity,
            cutmix={
                "probability": cutmix_probability,
                "area": cutmix_area,
                "aspect": cutmix_aspect,
            },
        )
        strong = views.strong.reshape(-1, *image.shape[1:])
        number, extra = len(label), model_state.extra
        if is_own:
            partner_logits = predict(student, views.partner)
            logits, batch_stats = train(
                params,
                student["batch_stats"],
                jnp.concatenate([image, views.weak]),
                drop_features(drop_key, first=number),
            )
            logits, weak_logits, dropped_logits = jnp.split(
                logits, (number, number + len(views.weak))
            )
            strong_logits, batch_stats = train(params, batch_stats, strong)
        else:
            extra = update_teacher(extra, student, ema_decay=ema_decay)
            # The average contains the student, and no gradient may pass through it.
            extra = jax.lax.stop_gradient(extra)
            weak_logits = predict(extra["teacher"], views.weak)
            partner_logits, dropped_logits = weak_logits[::-1], None
            logits, batch_stats = train(params, student["batch_stats"], image)
            drop = drop_complementary(drop_key, number=len(views.weak))
            strong_logits, batch_stats = train(params, batch_stats, strong, drop)
            extra |= {"step": extra["step"] + 1}
        supervised = losses.segmentation_loss(
            logits,
            label,
            cross_entropy_weight=cross_entropy_weight,
            dice_weight=dice_weight,
            include_background=include_background,
        )
        own, partner = (
            make_pseudo_labels(weak_logits),
            make_pseudo_labels(partner_logits),
        )
        strong_loss = jnp.zeros(())
        for box, view in zip(views.box, jnp.split(strong_logits, 2), strict=True):
            label, confidence = map(partial(paste, box), own, partner)
            strong_loss += confident_dice(view, label, confidence >= threshold) / 2
        metrics = {
            "supervised_loss": supervised,
            "strong_loss": strong_loss,
            "confident_share": (own[1] >= threshold).mean(),
        }
        unlabeled = strong_loss
        if dropped_logits is not None:
            feature_loss = confident_dice(dropped_logits, own[0], own[1] >= threshold)
            metrics["feature_loss"] = feature_loss
            unlabeled += feature_share * (feature_loss - strong_loss)
        if views.hidden is not None:
            metrics |= _measure(own, views.hidden, threshold, logits.shape[-1])
        value = supervised_weight * supervised + unlabeled_weight * unlabeled
        return value, (ModelState(batch_stats, extra), metrics)

    return loss_fn


def _measure(
    pseudo: tuple[jax.Array, jax.Array],
    hidden: jax.Array,
    threshold: float,
    num_classes: int,
) -> dict[str, jax.Array]:
    """Compares pseudo-labels with the masks that nothing learns from, for the log."""
    label, confidence = pseudo
    # In a moved slice without a mask the pixels from beyond it are background.
    without_mask = (hidden == UNLABELLED).any((1, 2), keepdims=True)
    known = jnp.broadcast_to(~without_mask, hidden.shape)
    confident = known & (confidence >= threshold)
    return {
        f"hidden_dice_{name}": hard_dice(label, hidden, pixels, num_classes=num_classes)
        for name, pixels in (("all", known), ("confident", confident))
    }
