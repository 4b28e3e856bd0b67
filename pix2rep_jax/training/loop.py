"""The loop around a step: when to log, to validate, to save, and to stop."""

import math
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.checkpoint_writer import Checkpoints
from pix2rep_jax.runs.metric_log import MetricWriter
from pix2rep_jax.training.interrupt import Interrupt
from pix2rep_jax.training.progress import Progress
from pix2rep_jax.training.state import TrainState

__all__ = ["train"]

_AGREE_EVERY = 20


def train(
    state: TrainState,
    train_step: Callable[[TrainState], tuple[TrainState, Mapping[str, jax.Array]]],
    *,
    num_steps: int,
    log_every: int,
    checkpoint_every: int,
    checkpoint_minutes: float,
    checkpoints: Checkpoints,
    writer: MetricWriter,
    description: str,
    eval_every: int = 0,
    evaluate: Callable[[TrainState], dict[str, float]] | None = None,
) -> TrainState:
    """Trains up to `num_steps`, going on from the newest checkpoint if there is one.

    The metrics of a step are read only after the next one is under way, so the
    device never waits for the host. A loss that is not finite stops the run before
    anything of it is saved. SIGINT and SIGTERM save, and leave with 130 or 143.

    Args:
        state: Before the first step, on its devices; it is donated.
        train_step: Bound to its data.
        num_steps: Steps of the whole run.
        log_every: Steps between two lines of metrics; 0 logs the end only.
        checkpoint_every: Steps between two checkpoints; 0 saves the end only.
        checkpoint_minutes: Save at least this often, too.
        checkpoints: Where states go.
        writer: Where metrics go.
        description: Name of the run for people.
        eval_every: Steps between two evaluations; each is a checkpoint that may
            become the best one. 0 evaluates at the end only.
        evaluate: Scores a state; None never does.

    Returns:
        The state after `num_steps`.

    Raises:
        InputError: If the loss is not finite, or the disk is full.
        SystemExit: If a signal came, once all is saved.
    """
    resumed = checkpoints.restore_latest(state)
    if resumed is not None:
        state = resumed
        done = int(state.step)
        finished = done >= num_steps
        print(
            f"{description}: "
            + ("finished already at" if finished else "going on from")
            + f" step {done} of {num_steps}"
        )
    start = logged = int(state.step)
    writer.rewind(start)
    saved_at = logged_at = time.monotonic()
    pending: tuple[int, Mapping[str, Any]] | None = None
    with (
        Interrupt() as interrupt,
        Progress(num_steps, initial=start, description=description) as progress,
    ):
        for step in range(start + 1, num_steps + 1):
            state, metrics = train_step(state)
            loss = _check(pending, description)
            pending = step, metrics
            progress.update(loss)
            at_eval = evaluate is not None and (
                step == num_steps or _is_due(step, eval_every)
            )
            late = time.monotonic() - saved_at > 60 * checkpoint_minutes
            number, late = _agree(step, int(interrupt.signal or 0), int(late))
            at_save = at_eval or number or late or _is_due(step, checkpoint_every)
            if _is_due(step, log_every) or step == num_steps:
                _check(pending, description)
                now = time.monotonic()
                values = {name: float(np.asarray(x)) for name, x in metrics.items()}
                speed = (step - logged) / max(now - logged_at, 1e-9)
                writer.write(step, values | {"steps_per_second": speed})
                logged, logged_at = step, now
            if at_save or step == num_steps:
                _check(pending, description)
                scores = evaluate(state) if at_eval else None
                if scores:
                    writer.write(step, scores)
                checkpoints.save(state, metrics=scores)
                saved_at = time.monotonic()
            if number:
                _leave(number, step, description)
        # One that came while the last state was scored and saved.
        (number,) = _agree(0, int(interrupt.signal or 0))
        if number:
            _leave(number, num_steps, description)
    return state


def _leave(number: int, step: int, description: str) -> NoReturn:
    """Ends the program as a signal would have, with a word on what is saved."""
    print(
        f"{description}: stopped by {signal.Signals(number).name} and saved at step "
        f"{step}; the same command goes on from there",
        file=sys.stderr,
    )
    raise SystemExit(128 + number)  # what a shell expects


def _is_due(step: int, every: int) -> bool:
    """Whether something done every so many steps is to be done; never where 0."""
    return every > 0 and step % every == 0


def _check(pending: tuple[int, Mapping[str, Any]] | None, description: str):
    """Waits for a step, and returns its loss; stops the run if it is not finite."""
    if pending is None:
        return None
    step, metrics = pending
    loss = float(np.asarray(metrics["loss"]))
    if not all(
        math.isfinite(float(np.asarray(metrics[name])))
        for name in ("loss", "l2_updates")
        if name in metrics
    ):
        raise InputError(
            f"{description}: the loss or its gradient is not finite at step {step} "
            "(nothing of it was saved): in another --workdir lower the learning rate "
            "or use --config.model.dtype=float32, or look for broken scans"
        )
    return loss


def _agree(step: int, *wishes: int) -> tuple[int, ...]:
    """Makes all processes act alike: what one of them wants, not 0, all do."""
    if jax.process_count() == 1:
        return wishes
    if step % _AGREE_EVERY:
        return (0,) * len(wishes)
    everyone = multihost_utils.process_allgather(np.array(wishes))
    return tuple(np.asarray(everyone).reshape(-1, len(wishes)).max(0).tolist())
