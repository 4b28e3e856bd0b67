"""Adam with a learning rate for each part of the network, its schedule and length."""

from collections.abc import Callable, Mapping
from typing import Any

import optax

from pix2rep_jax.errors import InputError, check_choice
from pix2rep_jax.runtime.config_checks import (
    between,
    choice,
    not_below_zero,
)

__all__ = ["count_steps", "count_warmup", "make_optimizer", "make_schedule"]


def count_steps(recipe: Any, *, num_samples: int) -> int:
    """Counts the steps of a run: `num_steps` if set, else those of `num_epochs`.

    Args:
        recipe: Has `num_steps`, `num_epochs` and `batch_size`. It may have `min_steps`,
            the least number of steps that `num_epochs` stands for.
        num_samples: Samples of the data.

    Raises:
        InputError: If the run would have no step.
    """
    epochs = -(-recipe.num_epochs * num_samples // recipe.batch_size)
    num_steps = recipe.num_steps or max(epochs, recipe.get("min_steps", 0))
    if num_steps < 1:
        raise InputError(
            f"num_steps={recipe.num_steps} with num_epochs={recipe.num_epochs} trains "
            "nothing: set num_steps to 1 or more, or num_steps to 0 and num_epochs to "
            "1 or more"
        )
    return num_steps


def count_warmup(recipe: Any, *, num_steps: int) -> int:
    """Counts the steps of the warm-up: `warmup_steps`, or more by `warmup_share`.

    Args:
        recipe: Has `warmup_steps`. It may have `warmup_share`, a share of the run.
        num_steps: Steps of the run.
    """
    return max(recipe.warmup_steps, round(recipe.get("warmup_share", 0.0) * num_steps))


SCHEDULES = ("constant", "cosine")

RATE = between(0, 10, "Adam moves each number by as much in a step")
"""The check of a learning rate."""

SETTINGS = {
    "learning_rate": RATE,
    "schedule": choice(*SCHEDULES),
    "warmup_steps": not_below_zero,
    "weight_decay": between(0, 10, "Adam's own scale; 0.05 is a large one"),
}
"""Optimisation, in each section that trains."""


def make_schedule(
    schedule: str, *, num_steps: int, warmup_steps: int
) -> Callable[[int], float]:
    """Makes the factor on the learning rate over a run.

    Args:
        schedule: "constant" (the paper) or "cosine" (falls to zero at the end).
        num_steps: Steps of the run.
        warmup_steps: Steps during which the factor first rises linearly from zero.

    Returns:
        A function from the step to a factor between 0 and 1.

    Raises:
        InputError: If there is no such schedule.
    """
    check_choice("schedule", schedule, SCHEDULES)
    warmup_steps = min(warmup_steps, num_steps // 2)
    if schedule == "constant":
        after = optax.constant_schedule(1.0)
    else:
        after = optax.cosine_decay_schedule(1.0, max(1, num_steps - warmup_steps))
    # Counted from 1, so that the very first step already moves.
    rise = lambda step: (step + 1) / (warmup_steps + 1)  # noqa: E731
    return optax.join_schedules([rise, after], [warmup_steps])


def make_optimizer(
    learning_rates: Mapping[str, float],
    schedule: Callable[[int], float],
    *,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """Makes Adam (AdamW where `weight_decay` > 0) for a tree of named parts.

    Args:
        learning_rates: Rate of each part, such as `{"backbone": 5e-5, "head": 1e-2}`.
            The names are those of `take_parts`.
        schedule: Factor on all rates, by step.
        weight_decay: Decoupled weight decay, multiplied by the rate. It acts on
            kernels only.

    Returns:
        The optimiser. Its parameter tree has the keys of `learning_rates` at the top.
    """

    def scaled(rate: float) -> Callable[[int], float]:
        return lambda step: rate * schedule(step)

    def kernels(params):
        return {
            name: kernels(part) if isinstance(part, Mapping) else name == "kernel"
            for name, part in params.items()
        }

    def adam(rate: float) -> optax.GradientTransformation:
        # One long vector compiles in less time than a hundred small ones.
        if not weight_decay:
            return optax.flatten(optax.adam(scaled(rate)))
        return optax.chain(
            optax.flatten(optax.scale_by_adam()),
            optax.add_decayed_weights(weight_decay, mask=kernels),
            optax.scale_by_learning_rate(scaled(rate)),
        )

    parts = {name: adam(rate) for name, rate in learning_rates.items()}
    return optax.multi_transform(parts, lambda params: {name: name for name in params})
