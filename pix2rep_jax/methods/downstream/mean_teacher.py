"""Mean Teacher: the student learns from few masks, and from its own running average."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from pix2rep_jax import losses
from pix2rep_jax.errors import check_choice
from pix2rep_jax.methods.downstream.supervised import BATCH_NORM
from pix2rep_jax.methods.ema import ema_update
from pix2rep_jax.models.segmentation_net import SegmentationNet
from pix2rep_jax.runtime.config_checks import above_zero, choice, not_below_zero, share
from pix2rep_jax.training.state import LossFn, ModelState
from pix2rep_jax.views.sampling import augment

__all__ = [
    "NETWORKS",
    "consistency",
    "decay_at",
    "make_extra",
    "make_loss",
    "networks_of_state",
    "ramp_up",
    "update_teacher",
]

NETWORKS = ("teacher", "student")
"""The networks that a run trains; `finetune.mean_teacher.result` names one of them."""


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


def decay_at(step: jax.Array, *, ema_decay: float) -> jax.Array:
    """Computes the decay of the average at an update: `min(1 - 1 / (step + 1), decay)`.

    So the teacher is the plain mean of the student's parameters until the average is
    as long as `ema_decay` asks.

    Args:
        step: Number of earlier updates.
        ema_decay: The largest decay.
    """
    return jnp.minimum(1 - 1 / (step + 1), ema_decay)


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


def make_extra(params: Any) -> dict[str, Any]:
    """Makes the initial extra state: a teacher that is equal to the student.

    Args:
        params: The student's.

    Returns:
        "teacher", its parameters, and "step", the number of the student's updates.
    """
    return {"teacher": params, "step": jnp.zeros((), jnp.int32)}


@jax.jit
def update_teacher(
    extra: Mapping[str, Any], params: Any, *, ema_decay: float
) -> dict[str, Any]:
    """Averages the student's newest parameters into the teacher's.

    A loss sees the parameters that the step before left. So this update, which belongs
    to the end of a step, is made at the beginning of the next one. To use the teacher
    after a step, make the update once more.

    Args:
        extra: As the loss left it.
        params: The student's, after its newest update.
        ema_decay: The largest decay.

    Returns:
        The extra state after that update. Before the first step the teacher is the
        student.

    Reference:
        Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017.
    """
    decay = decay_at(jnp.maximum(extra["step"] - 1, 0), ema_decay=ema_decay)
    return {**extra, "teacher": ema_update(extra["teacher"], params, decay=decay)}


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

    Returns:
        The loss of batches with "labeled", as in `supervised.make_loss`, and
        "unlabeled", which has an "image" only. The extra state is `make_extra`'s.

    Raises:
        InputError: If `batch_norm` is neither "train" nor "frozen".

    Reference:
        Tarvainen and Valpola, "Mean teachers are better role models: Weight-averaged
        consistency targets improve semi-supervised deep learning results", NeurIPS
        2017.
    """
    check_choice("finetune.batch_norm", batch_norm, BATCH_NORM)

    def apply(params, batch_stats, image):
        logits, updated = net.apply(
            {"params": params, "batch_stats": batch_stats},
            image,
            train=batch_norm == "train",
            mutable=["batch_stats"],
        )
        return logits, updated["batch_stats"]

    def loss_fn(params, model_state: ModelState, batch, key: jax.Array):
        augment_key, noise_key = jax.random.split(key)
        extra = update_teacher(model_state.extra, params, ema_decay=ema_decay)
        # The average contains the student, and no gradient may pass through it.
        extra = jax.lax.stop_gradient(extra)
        image, label = _augment_all(
            augment_key, batch, spatial=spatial, intensity=intensity
        )
        logits, batch_stats = apply(params, model_state.batch_stats, image)
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
        target, _ = apply(
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


def _augment_all(key: jax.Array, batch: Any, **options: Any):
    """Augments the images of both sets, and the labels of the labelled set."""
    label = batch["labeled"]["label"]
    image = jnp.concatenate([batch[x]["image"] for x in ("labeled", "unlabeled")])
    blank = jnp.zeros((len(image) - len(label), *label.shape[1:]), label.dtype)
    moved, labels = augment(key, image, jnp.concatenate([label, blank]), **options)
    return moved, labels[: len(label)]


def networks_of_state(
    config: ConfigDict, params: Any, model_state: ModelState
) -> dict[str, dict[str, Any]]:
    """Finds the segmentation networks that a state holds.

    Args:
        config: The run's configuration; `finetune.mean_teacher` is read if the state
            has a teacher.
        params: The state's.
        model_state: The state's.

    Returns:
        `{"params": …, "batch_stats": …}` by name: "student", and "teacher" if there is
        one, after its newest update. Both have the same statistics. The first network
        is the run's result.
    """
    student = {"params": params, "batch_stats": model_state.batch_stats}
    if "teacher" not in model_state.extra:
        return {"student": student}
    recipe = config.finetune.mean_teacher
    extra = update_teacher(model_state.extra, params, ema_decay=recipe.ema_decay)
    teacher = student | {"params": extra["teacher"]}
    if recipe.result == "teacher":
        return {"teacher": teacher, "student": student}
    return {"student": student, "teacher": teacher}
