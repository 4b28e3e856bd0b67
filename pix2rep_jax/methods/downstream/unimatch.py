"""UniMatch: strong views learn the confident predictions on weak views."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from pix2rep_jax import losses
from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.errors import check_choice
from pix2rep_jax.losses.pseudo_labels import (
    confident_loss,
    hard_dice,
    make_pseudo_labels,
)
from pix2rep_jax.methods.downstream import similarity_terms as terms_module
from pix2rep_jax.methods.downstream.similarity_terms import (
    NO_TERMS,
    Similarity,
    similarity_terms,
)
from pix2rep_jax.methods.downstream.supervised import augment_slices, make_train_pass
from pix2rep_jax.methods.downstream.teacher import NETWORKS, update_teacher
from pix2rep_jax.methods.downstream.unimatch_views import (
    Views,
    draw_views,
    drop_complementary,
    drop_features,
    with_truth,
)
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
from pix2rep_jax.training.optimizer import RATE
from pix2rep_jax.training.state import LossFn, ModelState
from pix2rep_jax.views.cutmix import paste
from pix2rep_jax.views.patches import PatchOptions

__all__ = ["TEACHERS", "make_loss"]

TEACHERS = ("self", "ema")
"""Who makes the pseudo-labels: the network itself, or its running average."""

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
    "paste_probability": share,
    "cross_entropy_share": share,
    "pretrained_learning_rate": RATE,  # these two are read by finetuning.py
    "pretrained_warmup_share": share,
    **terms_module.SETTINGS,
}
"""The section `finetune.unimatch`, besides its section `intensity`."""


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
    paste_probability: float = 0.0,
    cross_entropy_share: float = 0.0,
    similarity: Similarity = NO_TERMS,
    patch: PatchOptions | None = None,
) -> LossFn:
    """Makes the loss of slices with and without a mask.

    The weak view of a slice gives a pseudo-label for each pixel. Two strong views learn
    it where it is confident. With a teacher "self", so does the weak view itself,
    decoded from half of its features. With "ema", the strong views lose features.

    The forward passes are those of the published code, but for one: there labelled
    slices are decoded from half of their features too, and the result is not used. One
    pass in training mode sees the labelled slices, with the weak views if they make the
    pseudo-labels. A second one sees the strong views. BatchNorm normalises each by its
    own batch, and the running averages take in both, one after the other. The
    pseudo-labels of the partners come from a pass outside training.

    A teacher "ema" passes the weak views in training mode, and has running averages of
    its own (ours). The student's take in features with dropped channels, which vary
    more.

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
        paste_probability: How often a box holds a labelled slice and its mask in the
            place of the partner and its pseudo-label (Bai et al., CVPR 2023).
        cross_entropy_share: Share of the cross-entropy in what pseudo-labels teach; the
            soft Dice loss has the rest.
        similarity: Further terms, which compare features (Xie et al., 2024). Their
            weights stand beside the 1 of all other terms without masks.
        patch: How patches of whole slices are drawn; None if the images are crops.

    Returns:
        The loss of batches with "labeled", as in `supervised.make_loss`, and
        "unlabeled": "image", and `unimatch_views.HIDDEN` if there are masks to log by;
        with `patch` both have a "box".
        With a teacher "self" the second half of these slices is mixed into the first.
        The extra state is `{}`. With "ema" it is `teacher.make_extra` of the parameters
        and statistics.

    Raises:
        InputError: If `batch_norm` or `teacher` is unknown.

    Reference:
        Yang et al., "Revisiting Weak-to-Strong Consistency in Semi-Supervised Semantic
        Segmentation", CVPR 2023, and its "more scenarios: medical"; with "ema" Yang et
        al., "UniMatch V2", TPAMI 2025.
    """
    train_pass = partial(
        make_train_pass(net, batch_norm=batch_norm), with_features=True
    )
    check_choice("finetune.unimatch.teacher", teacher, TEACHERS)
    is_own = teacher == "self"
    learn = partial(confident_loss, cross_entropy_share=cross_entropy_share)

    def predict(variables, image) -> Any:
        # Without this, the pass would be kept for a gradient that nothing needs.
        frozen = jax.lax.stop_gradient(variables)
        return net.apply(frozen, image, train=False, with_features=True)

    def loss_fn(params, model_state: ModelState, batch, key: jax.Array):
        label_key, view_key, drop_key = jax.random.split(key, 3)
        student = {"params": params, "batch_stats": model_state.batch_stats}
        image, label = augment_slices(
            label_key,
            batch["labeled"],
            patch=patch,
            spatial=spatial,
            intensity=intensity,
        )
        views = draw_views(
            view_key,
            batch["unlabeled"],
            image,
            label,
            has_partners=is_own,
            paste_probability=paste_probability,
            spatial=spatial,
            intensity=strong_intensity,
            cutmix={
                "probability": cutmix_probability,
                "area": cutmix_area,
                "aspect": cutmix_aspect,
            },
            patch=patch,
        )
        strong = views.strong.reshape(-1, *image.shape[1:])
        number, extra = len(label), model_state.extra
        if is_own:
            partner = predict(student, views.partner)
            seen, batch_stats = train_pass(
                params,
                student["batch_stats"],
                jnp.concatenate([image, views.weak]),
                drop_features(drop_key, first=number),
            )
            ends = (number, number + len(views.weak))
            parts = [jnp.split(each, ends) for each in seen]
            labeled, weak, dropped = zip(*parts, strict=True)
            strong_seen, batch_stats = train_pass(params, batch_stats, strong)
        else:
            extra = update_teacher(extra, params, ema_decay=ema_decay)
            # The average contains the student, and no gradient may pass through it.
            extra = jax.lax.stop_gradient(extra)
            # The student's running averages take in features that were dropped.
            weak, own_stats = train_pass(
                extra["teacher"], extra["batch_stats"], views.weak
            )
            partner, dropped = tuple(x[::-1] for x in weak), None
            labeled, batch_stats = train_pass(params, student["batch_stats"], image)
            drop = drop_complementary(drop_key, number=len(views.weak))
            strong_seen, batch_stats = train_pass(params, batch_stats, strong, drop)
            extra |= {"step": extra["step"] + 1, "batch_stats": own_stats}
        supervised = losses.segmentation_loss(
            labeled[0],
            label,
            cross_entropy_weight=cross_entropy_weight,
            dice_weight=dice_weight,
            include_background=include_background,
        )
        own, other = (make_pseudo_labels(weak[0]), make_pseudo_labels(partner[0]))
        if views.truth is not None:
            other = with_truth(views.truth, *other)
        targets, confidence = map(partial(paste, views.box), own, other)
        confident = confidence >= threshold
        strong_loss = jnp.zeros(())
        for index, view in enumerate(jnp.split(strong_seen[0], 2)):
            strong_loss += learn(view, targets[index], confident[index]) / 2
        metrics = {
            "supervised_loss": supervised,
            "strong_loss": strong_loss,
            "confident_share": (own[1] >= threshold).mean(),
        }
        unlabeled = strong_loss
        if dropped is not None:
            feature_loss = learn(dropped[0], own[0], own[1] >= threshold)
            metrics["feature_loss"] = feature_loss
            unlabeled += feature_share * (feature_loss - strong_loss)
        further, terms = similarity_terms(
            labeled,
            label,
            weak,
            partner,
            strong_seen,
            paste_targets=partial(_paste_classes, views),
            targets=targets,
            confident=confident,
            options=similarity,
        )
        metrics |= terms
        unlabeled += further
        if views.hidden is not None:
            metrics |= _measure(own, views.hidden, threshold, labeled[0].shape[-1])
        value = supervised_weight * supervised + unlabeled_weight * unlabeled
        return value, (ModelState(batch_stats, extra), metrics)

    return loss_fn


def _paste_classes(views: Views, own: jax.Array, other: jax.Array) -> jax.Array:
    """Makes the classes `[2, n, height, width]` of what two strong views show.

    Args:
        views: The boxes, and the experts' labels in them.
        own: `[n, height, width]`, classes of the weak views.
        other: `[n, height, width]`, classes of the partners.
    """
    if views.truth is not None:
        other, _ = with_truth(views.truth, other, jnp.ones(other.shape))
    return paste(views.box, own, other)


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
