"""Mean Teacher: the student learns from few masks, and from its own running average."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from pix2rep_jax import losses
from pix2rep_jax.methods.downstream.supervised import augment_slices, make_train_pass
from pix2rep_jax.methods.downstream.teacher import NETWORKS, update_teacher
from pix2rep_jax.models.segmentation_net import SegmentationNet
from pix2rep_jax.runtime.config_checks import above_zero, choice, not_below_zero, share
from pix2rep_jax.training.state import LossFn, ModelState
from pix2rep_jax.views.patches import PatchOptions

__all__ = ["consistency", "make_loss", "ramp_up"]

SETTINGS = {
    "result": choice(*NETWORKS),
    "unlabeled_batch_size": above_zero,
    "ema_decay": share,
    "consistency_weight": not_below_zero,
    "start_fraction": share,
    "ramp_up_fraction": share,
    "noise_std": not_below_zero,
    "noise_clip": not_below_zero,
}
"""The section `finetune.mean_teacher`."""


def ramp_up(step: jax.Array, *, num_steps: float) -> jax.Array:
    """Computes the factor on the consistency: `exp(-5 (1 - t/T)²)`, and 1 from T on.

    Args:
        step: t, the number of steps done.
        num_steps: T, the length of the ramp.
    """
    progress = jnp.clip(step / max(num_steps, 1), 0, 1)
    return jnp.exp(-5 * (1 - progress) ** 2)


def consistency(logits: jax.Array, target_logits: jax.Array) -> jax.Array:
    """Computes the mean squared difference of two softmax outputs.

    Args:
        logits: The student's, `[..., num_classes]`.
        target_logits: The teacher's, of the same shape.

    Returns:
        A scalar, the mean over pixels and classes.
    """
    return jnp.mean((_softmax(logits) - _softmax(target_logits)) ** 2)


def _softmax(logits: jax.Array) -> jax.Array:
    """Softmax in float32."""
    return jax.nn.softmax(logits.astype(jnp.float32), axis=-1)


def make_loss(
    net: SegmentationNet,
    *,
    cross_entropy_weight: float,
    dice_weight: float,
    include_background: bool,
    spatial: Mapping[str, Any] | None,
    intensity: Mapping[str, Any],
    batch_norm: str,
    num_steps: int,
    ema_decay: float,
    consistency_weight: float,
    start_fraction: float,
    ramp_up_fraction: float,
    noise_std: float,
    noise_clip: float,
    patch: PatchOptions | None = None,
) -> LossFn:
    """Makes the loss of slices with and without a mask.

    The student sees all slices of a batch at once, augmented in the same way. The
    teacher sees the same views of the slices without a mask, with noise added. Outside
    training both normalise by the student's running averages. These include the
    labelled slices and exclude the noise.

    Args:
        net: Backbone and head, the same for student and teacher.
        cross_entropy_weight: Weight of the cross-entropy.
        dice_weight: Weight of the soft Dice loss.
        include_background: Whether background counts in the soft Dice loss.
        spatial: Options of `affine.sample_sources`; None moves nothing.
        intensity: Options of `intensity.random_intensity`.
        batch_norm: "train" normalises by each batch and averages the student's
            batches. "frozen" normalises by the statistics that the run started from.
        num_steps: Steps of the run.
        ema_decay: Largest decay of the teacher's average.
        consistency_weight: Weight of the consistency loss at the end of the ramp.
        start_fraction: Share of the run before the consistency counts.
        ramp_up_fraction: Share of the run at which the ramp ends.
        noise_std: Standard deviation of the teacher's noise; the intensity range is 1.
        noise_clip: Largest absolute noise; the intensity range is 1.
        patch: How patches of whole slices are drawn; None if the images are crops.

    Returns:
        The loss of batches with "labeled", as in `supervised.make_loss`, and
        "unlabeled", which has an "image" and with `patch` a "box". The extra state is
        that of `teacher.make_extra` for the parameters.

    Raises:
        InputError: If `batch_norm` is neither "train" nor "frozen".

    Reference:
        Tarvainen and Valpola, "Mean teachers are better role models: Weight-averaged
        consistency targets improve semi-supervised deep learning results", NeurIPS
        2017.
    """
    train_pass = make_train_pass(net, batch_norm=batch_norm)

    def loss_fn(params, model_state: ModelState, batch, key: jax.Array):
        augment_key, noise_key = jax.random.split(key)
        extra = update_teacher(model_state.extra, params, ema_decay=ema_decay)
        # The average contains the student, and no gradient may pass through it.
        extra = jax.lax.stop_gradient(extra)
        image, label = _augment_all(
            augment_key, batch, patch=patch, spatial=spatial, intensity=intensity
        )
        logits, batch_stats = train_pass(params, model_state.batch_stats, image)
        num_labeled = len(label)
        supervised = losses.segmentation_loss(
            logits[:num_labeled],
            label,
            cross_entropy_weight=cross_entropy_weight,
            dice_weight=dice_weight,
            include_background=include_background,
        )
        unlabeled = image[num_labeled:]
        noise = noise_std * jax.random.normal(noise_key, unlabeled.shape)
        target, _ = train_pass(
            extra["teacher"],
            model_state.batch_stats,
            unlabeled + jnp.clip(noise, -noise_clip, noise_clip),
        )
        apart = consistency(logits[num_labeled:], target)
        step = extra["step"]
        ramp = ramp_up(step, num_steps=ramp_up_fraction * num_steps)
        started = step >= start_fraction * num_steps
        weight = jnp.where(started, consistency_weight * ramp, 0.0)
        extra |= {"step": step + 1}
        metrics = {
            "supervised_loss": supervised,
            "consistency": apart,
            "consistency_weight": weight,
        }
        value = supervised + weight * apart
        return value, (ModelState(batch_stats, extra), metrics)

    return loss_fn


def _augment_all(
    key: jax.Array, batch: Mapping[str, Mapping[str, jax.Array]], **options: Any
) -> tuple[jax.Array, jax.Array]:
    """Augments the images of both sets, and the labels of the labelled set."""
    labeled, label = batch["labeled"], batch["labeled"]["label"]
    number = len(batch["unlabeled"]["image"])
    blank = jnp.zeros((number, *label.shape[1:]), label.dtype)
    unlabeled = {**batch["unlabeled"], "label": blank}
    both = {
        name: jnp.concatenate([labeled[name], unlabeled[name]]) for name in unlabeled
    }
    image, moved = augment_slices(key, both, **options)
    return image, moved[: len(label)]
