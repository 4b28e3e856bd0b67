"""Adam with a learning rate for each part of the network."""

from collections.abc import Callable, Mapping

import optax

from pix2rep_jax.errors import check_choice

__all__ = ["make_optimizer", "make_schedule"]


def make_schedule(
    schedule: str, *, num_steps: int, warmup_steps: int
) -> Callable[[int], float]:
    """Makes the factor on the learning rate over a run.

    Args:
        schedule: "constant" (the paper) or "cosine" (falls to zero at the end).
        num_steps: Steps of the run.
        warmup_steps: Steps over which the factor first rises linearly from zero.

    Returns:
        A function of the step, between 0 and 1.

    Raises:
        InputError: If the schedule is neither of the two.
    """
    check_choice("schedule", schedule, ("constant", "cosine"))
    warmup_steps = min(warmup_steps, num_steps // 2)
    if schedule == "constant":
        after = optax.constant_schedule(1.0)
    else:
        after = optax.cosine_decay_schedule(1.0, max(1, num_steps - warmup_steps))
    # One step late, so that the very first step already moves.
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
        learning_rates: Rate of each part of the parameters, such as
            `{"backbone": 5e-5, "head": 1e-2}`; parts are those of `take_parts`.
        schedule: Factor on all rates, by step.
        weight_decay: Decoupled weight decay, times the rate; kernels only.

    Returns:
        The optimiser of a parameter tree whose top-level keys are those of
        `learning_rates`.
    """

    def scaled(rate: float) -> Callable[[int], float]:
        return lambda step: rate * schedule(step)

    def kernels(params):
        return {
            name: kernels(part) if isinstance(part, Mapping) else name == "kernel"
            for name, part in params.items()
        }

    parts = {
        name: optax.adamw(scaled(rate), weight_decay=weight_decay, mask=kernels)
        if weight_decay
        else optax.adam(scaled(rate))
        for name, rate in learning_rates.items()
    }
    return optax.multi_transform(parts, lambda params: {name: name for name in params})
