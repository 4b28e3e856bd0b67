"""Mean Teacher: the student learns from few masks, and from its own running average."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from pix2rep_jax import losses
from pix2rep_jax.errors import check_choice
from pix2rep_jax.methods.downstream import mean_teacher
from pix2rep_jax.methods.downstream.supervised import BATCH_NORM
from pix2rep_jax.models.segmentation_net import SegmentationNet
from pix2rep_jax.views.sampling import augment

__all__ = [
    "NETWORKS",
    "add_teacher",
    "consistency",
    "decay_at",
    "follow",
    "make_loss",
    "ramp_up",
    "trained_networks",
]

NETWORKS = ("teacher", "student")
"""Names of what a run trains; `finetune.mean_teacher.result` is one of them."""


def decay_at(step: jax.Array, *, ema_decay: float) -> jax.Array:
    """Returns the decay of the average at an update: `min(1 - 1 / (step + 1), decay)`.

    So the teacher is the plain mean of the student's parameters until the average is
    as long as `ema_decay` asks.

    Args:
        step: Updates before this one.
        ema_decay: The largest decay.
    """
    return jnp.minimum(1 - 1 / (step + 1), ema_decay)


def ramp_up(step: jax.Array, *, num_steps: float) -> jax.Array:
    """Returns the factor on the consistency: `exp(-5 (1 - t/T)²)`, and 1 from T on.

    Args:
        step: t, steps done.
        num_steps: T, steps of the ramp.
    """
    progress = jnp.clip(step / max(num_steps, 1), 0, 1)
    return jnp.exp(-5 * (1 - progress) ** 2)


def consistency(logits: jax.Array, target_logits: jax.Array) -> jax.Array:
    """Computes the mean squared difference of two softmax outputs.

    Args:
        logits: `[..., num_classes]`, the student's.
        target_logits: Of the same shape, the teacher's.

    Returns:
        A scalar; the mean over pixels and classes.
    """
    return jnp.mean((_softmax(logits) - _softmax(target_logits)) ** 2)


def _softmax(logits: jax.Array) -> jax.Array:
    """Softmax in float32."""
    return jax.nn.softmax(logits.astype(jnp.float32), axis=-1)


def add_teacher(params: Any, batch_stats: Any) -> dict[str, Any]:
    """Adds a teacher, equal to the student, to what is not trained by gradients.

    Args:
        params: The student's.
        batch_stats: The student's, which are the teacher's too.

    Returns:
        `batch_stats` with "teacher": its "params", and "step", the student's updates.
        As statistics of a `TrainState` they are saved and restored as these are.
    """
    teacher = {"params": params, "step": jnp.zeros((), jnp.int32)}
    return {**batch_stats, "teacher": teacher}


@jax.jit
def follow(teacher: Any, params: Any, *, ema_decay: float) -> Any:
    """Averages the student's newest parameters into the teacher's.

    The loss of a step sees the parameters that the step before left. So the update
    that belongs to the end of a step is made at the beginning of the next one; a
    teacher that is to be used after a step needs it as well.

    Args:
        teacher: "params" and "step", as the loss left them.
        params: The student's after its newest update.
        ema_decay: The largest decay.

    Returns:
        The teacher after that update; before the first one it is the student.

    Reference:
        Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017.
    """
    decay = decay_at(jnp.maximum(teacher["step"] - 1, 0), ema_decay=ema_decay)
    average = jax.tree.map(
        lambda old, new: decay * old + (1 - decay) * new, teacher["params"], params
    )
    return {**teacher, "params": average}


def make_loss(
    net: SegmentationNet,
    *,
    cross_entropy_weight: float,
    dice_weight: float,
    include_background: bool,
    spatial: Mapping[str, Any],
    intensity: Mapping[str, Any],
    batch_norm: str,
    num_steps: int,
    ema_decay: float,
    consistency_weight: float,
    start_fraction: float,
    ramp_up_fraction: float,
    noise_std: float,
    noise_clip: float,
):
    """Makes the loss of slices with and without a mask.

    The student sees all slices of a batch at once, augmented alike; the teacher sees
    those without a mask as the student does, and noise on top. Outside training both
    normalise by the student's running averages: the noise is not in those, and the
    labelled slices are.

    Args:
        net: Backbone and head, of student and teacher alike.
        cross_entropy_weight: Weight of the cross-entropy.
        dice_weight: Weight of the soft Dice loss.
        include_background: Whether background counts in the soft Dice loss.
        spatial: Options of `affine.sample_sources`.
        intensity: Options of `intensity.random_intensity`.
        batch_norm: "train" normalises by each batch, and averages what the student
            sees. "frozen" normalises by the statistics that the run started from.
        num_steps: Steps of the run.
        ema_decay: Of the teacher's parameters.
        consistency_weight: Of the consistency loss, at the end of the ramp.
        start_fraction: Of the run, during which the consistency does not count.
        ramp_up_fraction: Of the run, from its beginning to the end of the ramp.
        noise_std: Standard deviation of the teacher's noise, of the range.
        noise_clip: The noise stays within plus and minus this, of the range.

    Returns:
        `loss_fn(params, batch_stats, batch, key) -> (loss, (batch_stats, metrics))`
        for `batch_stats` of `add_teacher`, and batches with "labeled", as of
        `segmentation.make_loss`, and "unlabeled", with an "image" only.

    Raises:
        InputError: If `batch_norm` is neither of the two.

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

    def loss_fn(params, batch_stats, batch, key: jax.Array):
        augment_key, noise_key = jax.random.split(key)
        student_stats = dict(batch_stats)
        teacher = follow(student_stats.pop("teacher"), params, ema_decay=ema_decay)
        # The average holds a share of the student: no gradient may pass there.
        teacher = jax.lax.stop_gradient(teacher)
        image, label = _augment_all(
            augment_key, batch, spatial=spatial, intensity=intensity
        )
        logits, updated_stats = apply(params, student_stats, image)
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
            teacher["params"],
            student_stats,
            unlabeled + jnp.clip(noise, -noise_clip, noise_clip),
        )
        apart = consistency(logits[num_labeled:], target)
        step = teacher["step"]
        ramp = ramp_up(step, num_steps=ramp_up_fraction * num_steps)
        started = step >= start_fraction * num_steps
        weight = jnp.where(started, consistency_weight * ramp, 0.0)
        teacher |= {"step": step + 1}
        metrics = {
            "supervised_loss": supervised,
            "consistency": apart,
            "consistency_weight": weight,
        }
        value = supervised + weight * apart
        return value, ({**updated_stats, "teacher": teacher}, metrics)

    return loss_fn


def _augment_all(key: jax.Array, batch: Any, **options: Mapping[str, Any]):
    """Augments the images of both sets, and the labels of the one that has them."""
    label = batch["labeled"]["label"]
    image = jnp.concatenate([batch[x]["image"] for x in ("labeled", "unlabeled")])
    blank = jnp.zeros((len(image) - len(label), *label.shape[1:]), label.dtype)
    moved, labels = augment(key, image, jnp.concatenate([label, blank]), **options)
    return moved, labels[: len(label)]


def trained_networks(
    config: ConfigDict, params: Any, batch_stats: Any
) -> dict[str, dict[str, Any]]:
    """Finds the segmentation networks that a state holds.

    Args:
        config: The run's configuration; `finetune.mean_teacher` is read where there
            is a teacher.
        params: The state's.
        batch_stats: The state's.

    Returns:
        `{"params": …, "batch_stats": …}` by name: "student" alone, or with "teacher",
        after its newest update, and the same statistics. The first one is the run's
        result.
    """
    student_stats = dict(batch_stats)
    teacher = student_stats.pop("teacher", None)
    student = {"student": {"params": params, "batch_stats": student_stats}}
    if teacher is None:
        return student
    recipe = config.finetune.mean_teacher
    last = mean_teacher.follow(teacher, params, ema_decay=recipe.ema_decay)
    teacher = {"teacher": {"params": last["params"], "batch_stats": student_stats}}
    return teacher | student if recipe.result == "teacher" else student | teacher
