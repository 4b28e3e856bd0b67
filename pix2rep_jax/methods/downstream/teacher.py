"""The teacher: a running average of the network that learns, the student."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from pix2rep_jax.methods.ema import ema_update
from pix2rep_jax.training.state import ModelState

__all__ = [
    "NETWORKS",
    "decay_at",
    "make_extra",
    "networks_of_state",
    "update_teacher",
]

NETWORKS = ("teacher", "student")
"""The networks that a run trains; a method's setting `result` names one of them."""


def decay_at(step: jax.Array, *, ema_decay: float) -> jax.Array:
    """Computes the decay of the average at an update: `min(1 - 1 / (step + 1), decay)`.

    So the teacher is the plain mean of the student's values until the average is as
    long as `ema_decay` asks.

    Args:
        step: Number of earlier updates.
        ema_decay: The largest decay.
    """
    return jnp.minimum(1 - 1 / (step + 1), ema_decay)


def make_extra(params: Any, *, batch_stats: Any = None) -> dict[str, Any]:
    """Makes the initial extra state: a teacher that is equal to the student.

    Args:
        params: The student's parameters, which are averaged.
        batch_stats: The student's statistics, if the teacher has its own; None if it
            takes the student's.

    Returns:
        "teacher", the parameters; "step", the number of the student's updates; and
        "batch_stats" if the teacher has its own.
    """
    extra = {"teacher": params, "step": jnp.zeros((), jnp.int32)}
    return extra if batch_stats is None else {**extra, "batch_stats": batch_stats}


@jax.jit
def update_teacher(
    extra: Mapping[str, Any], student: Any, *, ema_decay: float
) -> dict[str, Any]:
    """Averages the student's newest values into the teacher's.

    A loss sees the parameters that the step before left. So this update, which belongs
    to the end of a step, is made at the beginning of the next one. To use the teacher
    after a step, make the update once more.

    Args:
        extra: As the loss left it.
        student: The student's values, after its newest update.
        ema_decay: The largest decay.

    Returns:
        The extra state after that update. Before the first step the teacher is the
        student.

    Reference:
        Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017.
    """
    decay = decay_at(jnp.maximum(extra["step"] - 1, 0), ema_decay=ema_decay)
    return {**extra, "teacher": ema_update(extra["teacher"], student, decay=decay)}


def networks_of_state(
    config: ConfigDict, params: Any, model_state: ModelState
) -> dict[str, dict[str, Any]]:
    """Finds the segmentation networks that a state holds.

    Args:
        config: The run's configuration. If the state has a teacher, `finetune.method`
            and the section of that name are read.
        params: The state's.
        model_state: The state's.

    Returns:
        `{"params": …, "batch_stats": …}` by name: "student", and "teacher" if there is
        one, after its newest update. It has the student's statistics where it has none
        of its own. The first network is the run's result.
    """
    student = {"params": params, "batch_stats": model_state.batch_stats}
    if "teacher" not in model_state.extra:
        return {"student": student}
    recipe = config.finetune[config.finetune.method]
    # Runs of earlier versions averaged UniMatch's statistics too.
    both = model_state.extra["teacher"].keys() == student.keys()
    averaged = student if both else params
    extra = update_teacher(model_state.extra, averaged, ema_decay=recipe.ema_decay)
    teacher = extra["teacher"]
    if not both:
        own = extra.get("batch_stats", model_state.batch_stats)
        teacher = {"params": teacher, "batch_stats": own}
    if recipe.result == "teacher":
        return {"teacher": teacher, "student": student}
    return {"student": student, "teacher": teacher}
