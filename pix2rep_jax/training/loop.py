"""The loop around a step: when to log, to evaluate, to save, and to stop."""

import functools
import itertools
import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.progress_bar import open_progress_bar
from pix2rep_jax.training.interrupt import Interrupt
from pix2rep_jax.training.state import TrainState
from pix2rep_jax.training.step import TrainStep

__all__ = ["train"]

_LOG = logging.getLogger(__name__)

Pending = tuple[int, Mapping[str, Any], Any]
"""A step under way: its number, its metrics and its batch."""

_AGREE_EVERY = 20
"""Steps between two exchanges of several processes."""


def train(
    state: TrainState,
    batches: Iterator[Any],
    step: TrainStep,
    *,
    num_steps: int,
    log_every: int,
    save_every: int,
    save_minutes: float,
    save: Callable[[TrainState, Mapping[str, float] | None], None],
    log: Callable[[int, Mapping[str, float]], None],
    description: str,
    eval_every: int = 0,
    evaluate: Callable[[TrainState], Mapping[str, float]] | None = None,
    watch_every: int = 0,
    watch: Callable[[TrainState], Mapping[str, float]] | None = None,
    keep_batch: Callable[[int, Any], object] | None = None,
) -> TrainState:
    """Trains up to `num_steps`, going on from the step of the given state.

    The metrics of a step are read only after the next step is under way, so the device
    never waits for the host. A loss that is not finite stops the run before that state
    is saved. SIGINT and SIGTERM save the state and leave with status 130 or 143.

    Args:
        state: On its devices; it is donated.
        batches: Yields the batch of each step, from the state's step on.
        step: From `compile_step`.
        num_steps: Steps of the whole run.
        log_every: Steps between two logs of the metrics; 0 logs the last step only.
        save_every: Steps between two saves; 0 saves the last step only.
        save_minutes: Minutes after which a save is due in any case.
        save: Saves a state, with its scores if it was evaluated and else None.
        log: Records metrics or scores of a step, by name.
        description: Name of the run in messages.
        eval_every: Steps between two evaluations. Each evaluated state is saved. 0
            evaluates the last step only.
        evaluate: Scores a state; None never evaluates.
        watch_every: Steps between two measurements by `watch`; 0 measures the last
            step only.
        watch: Measures a state, which is logged and shown but not saved; None never
            measures.
        keep_batch: Keeps a step's batch for a replay, where the loss or the update is
            not finite, and returns the place, or None; None never keeps.

    Returns:
        The state after `num_steps`.

    Raises:
        InputError: If the loss or an update is not finite.
        SystemExit: If a signal came; the state is saved by then.
    """
    start = logged = int(state.step)
    saved_at = logged_at = time.monotonic()
    pending: Pending | None = None
    read_loss = functools.partial(
        _read_loss, description=description, keep_batch=keep_batch
    )
    watched = ""
    batches = itertools.islice(batches, max(0, num_steps - start))
    with (
        Interrupt() as interrupt,
        open_progress_bar(num_steps, initial=start, description=description) as bar,
    ):
        for number, batch in enumerate(batches, start=start + 1):
            state, metrics = step(state, batch)
            if number == start + 1:
                bar.unpause()  # the first step compiles, which says nothing of the rest
            loss = read_loss(pending)  # waits for the step before
            pending = number, metrics, batch
            if loss is not None:
                bar.set_postfix_str(f"loss={loss:.4g}{watched}", refresh=False)
            bar.update()

            is_last = number == num_steps
            minutes = (time.monotonic() - saved_at) / 60
            caught, late = _any_process(
                number, int(interrupt.signal or 0), int(minutes > save_minutes)
            )
            evaluating = evaluate is not None and (
                is_last or _is_due(number, eval_every)
            )
            if is_last or _is_due(number, log_every):
                read_loss(pending)
                now = time.monotonic()
                speed = (number - logged) / max(now - logged_at, 1e-9)
                values = {name: float(np.asarray(x)) for name, x in metrics.items()}
                log(number, values | {"steps_per_second": speed})
                logged, logged_at = number, now
            if watch is not None and (is_last or _is_due(number, watch_every)):
                read_loss(pending)
                measured = watch(state)
                log(number, measured)
                watched = "".join(f", {x}={y:.3f}" for x, y in measured.items())
            if is_last or evaluating or caught or late or _is_due(number, save_every):
                read_loss(pending)
                scores = evaluate(state) if evaluate and evaluating else None
                if scores:
                    log(number, scores)
                save(state, scores)
                saved_at = time.monotonic()
            if caught:
                _leave(caught, number, description)
        # A signal may have come while the last state was evaluated and saved.
        (caught,) = _any_process(0, int(interrupt.signal or 0))
        if caught:
            _leave(caught, num_steps, description)
    return state


def _is_due(step: int, every: int) -> bool:
    """Tells whether something is due that is done every so many steps; 0 is never."""
    return every > 0 and step % every == 0


def _read_loss(
    pending: Pending | None,
    *,
    description: str,
    keep_batch: Callable[[int, Any], object] | None,
) -> float | None:
    """Waits for a step and returns its loss; None if there is no step yet.

    Raises:
        InputError: If the loss or the update is not finite.
    """
    if pending is None:
        return None
    step, metrics, batch = pending
    loss = float(np.asarray(metrics["loss"]))
    update = float(np.asarray(metrics.get("l2_updates", 0.0)))
    if not (math.isfinite(loss) and math.isfinite(update)):
        place = keep_batch(step, batch) if keep_batch else None
        kept = f", and its batch is in {place}" if place else ""
        raise InputError(
            f"{description}: the loss or its gradient is not finite at step {step}; "
            f"that step was not saved{kept}. Lower the learning rate or use "
            "--config.model.dtype=float32 in another --workdir, or look for broken "
            "scans"
        )
    return loss


def _any_process(step: int, *wishes: int) -> tuple[int, ...]:
    """Makes all processes act alike: each wish is the largest of any process.

    Several processes exchange their wishes every `_AGREE_EVERY` steps. Between these
    steps no process has a wish.
    """
    if jax.process_count() == 1:
        return wishes
    if step % _AGREE_EVERY:
        return (0,) * len(wishes)
    everyone = multihost_utils.process_allgather(np.array(wishes))
    return tuple(np.asarray(everyone).reshape(-1, len(wishes)).max(0).tolist())


def _leave(number: int, step: int, description: str) -> NoReturn:
    """Ends the program with the status that a shell expects after a signal."""
    _LOG.warning(
        "%s: stopped by %s and saved at step %d; the same command goes on from there",
        description,
        signal.Signals(number).name,
        step,
    )
    raise SystemExit(128 + number)
