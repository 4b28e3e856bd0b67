"""Open, train and close a run: once, for pretraining and downstream alike."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data.one_piece import NOTHING_KNOWN, OnePiece
from pix2rep_jax.data.slice_summary import (
    describe_inputs,
    usual_slice_axis,
)
from pix2rep_jax.methods.method import Method
from pix2rep_jax.models.build import initialise
from pix2rep_jax.models.param_parts import put_parts
from pix2rep_jax.modes.loaded_run import Loaded, print_notes
from pix2rep_jax.modes.logged_pictures import Show, with_pictures
from pix2rep_jax.runs.checkpoint_steps import SCORE, check_steps, has_checkpoint
from pix2rep_jax.runs.checkpoint_writer import Checkpoints
from pix2rep_jax.runs.diverged_batch import save_batch
from pix2rep_jax.runs.environment import environment_warning, numeric_environment
from pix2rep_jax.runs.lock import hold_run
from pix2rep_jax.runs.manifest import (
    open_run,
)
from pix2rep_jax.runs.metric_log import MetricWriter
from pix2rep_jax.runs.pretrained_backbone import (
    TrainedBackbone,
    describe_backbone,
)
from pix2rep_jax.runs.run_record import (
    RunRecord,
    make_record,
)
from pix2rep_jax.runs.trackers import open_trackers
from pix2rep_jax.runtime.config_checks import walk
from pix2rep_jax.training.loop import train
from pix2rep_jax.training.optimizer import count_steps
from pix2rep_jax.training.run_keys import make_run_keys
from pix2rep_jax.training.state import TrainState
from pix2rep_jax.training.task import Task, make_training

__all__ = [
    "Trained",
    "draw_network",
    "make_pretraining",
    "train_run",
]


_WATCH_EVERY = 100
"""Steps at least between two measurements, so that they take 1 or 2 % of the time."""


class Trained(NamedTuple):
    """What a training leaves.

    Attributes:
        last: The last state.
        best: The state with the best score, if it was asked for; else None.
        record: The run's record.
    """

    last: TrainState
    best: TrainState | None
    record: RunRecord


def draw_network(
    net: nn.Module,
    key: jax.Array,
    *,
    size: int,
    channels: int = 1,
    backbone: TrainedBackbone | None,
) -> tuple[Any, Any]:
    """Draws a network's parameters and puts the pretrained backbone in.

    Args:
        net: Has the U-Net as `backbone`.
        key: One random key.
        size: Side of the images (px).
        channels: Number of channels of the images.
        backbone: Its trained parts; the other parts are random.

    Returns:
        Parameters and BatchNorm statistics.
    """
    known = tuple(backbone.params) if backbone else ()
    params, batch_stats = initialise(
        net, key, size=size, channels=channels, known=known
    )
    if backbone is not None:
        params = put_parts(params, backbone.params)
        batch_stats = put_parts(batch_stats, backbone.batch_stats)
    return params, batch_stats


def make_pretraining(
    method: Method,
    recipe: ConfigDict,
    data: Mapping[str, np.ndarray],
    *,
    seed: int,
    size: int,
    backbone: TrainedBackbone | None = None,
) -> Task:
    """Makes the task of a pretraining method.

    Args:
        method: The method.
        recipe: From `make_recipe`.
        data: The method's samples.
        seed: Seed of the parameters and of the order of the samples.
        size: Side of the images (px).
        backbone: What an earlier pretraining has trained, if it starts from one.
    """
    key, init_key = make_run_keys(seed)
    params, batch_stats = draw_network(
        method.net,
        init_key,
        size=size,
        channels=data["image"].shape[-1],
        backbone=backbone,
    )
    return Task(
        loss_fn=method.loss_fn,
        params=params,
        batch_stats=batch_stats,
        extra=method.make_extra(params),
        data=data,
        batch_size=recipe.batch_size,
        rates=dict.fromkeys(method.trained, recipe.learning_rate),
        recipe=recipe,
        num_steps=count_steps(recipe, num_samples=len(data["image"])),
        key=key,
    )


def train_run(
    config: ConfigDict,
    folder: Path,
    loaded: Loaded,
    task: Task,
    *,
    trained: Sequence[str],
    command: Sequence[str],
    message: str,
    one_piece: OnePiece = NOTHING_KNOWN,
    evaluate: Callable[[TrainState], Mapping[str, float]] | None = None,
    watch: Callable[[TrainState], Mapping[str, float]] | None = None,
    show: Show | None = None,
    wants_best: bool = False,
) -> Trained:
    """Opens a run, trains it to its end and closes it.

    A run that has a checkpoint goes on from there.

    Args:
        config: The whole configuration.
        folder: `<workdir>/<mode>`.
        loaded: From `load`.
        task: What is trained.
        trained: Dotted names of the parts that are trained once the run is.
        command: The words of the command line, for the record.
        message: Printed once the run is open. "{origin}" in it becomes where the
            weights come from.
        one_piece: What is one piece in every training mask, for the record.
        evaluate: Scores a state by `SCORE`; None never does.
        watch: Measures a state that is not scored; None never does.
        show: Draws a state for TensorBoard, now and then when it is measured.
        wants_best: Whether the state with the best score is restored at the end.

    Raises:
        InputError: If the folder holds another run, cannot be written, or is in the
            hands of another process.
        SystemExit: If a signal came; the state is saved by then.
    """
    mode, num_steps = folder.name, task.num_steps
    state, step, feed = make_training(
        task, mesh=loaded.mesh, budget_mb=config.data.device_budget_mb
    )
    record = make_record(
        num_steps=num_steps,
        trained=trained,
        origin=loaded.backbone and loaded.backbone.origin,
        split=loaded.split,
        command=command,
        slice_axis=usual_slice_axis(loaded.dataset),
        inputs=describe_inputs(loaded.dataset),
        one_piece=one_piece,
    )
    best_metric = None if evaluate is None else SCORE
    with contextlib.ExitStack() as stack:
        # First: two that start at once must not both find the folder free.
        stack.enter_context(hold_run(folder))
        begun = has_checkpoint(folder)
        record = open_run(folder, config, record, begun=begun)
        if begun:
            check_steps(folder, num_steps)
        checkpoints = stack.enter_context(
            Checkpoints(folder / "checkpoints", best_metric=best_metric)
        )
        restored = checkpoints.restore_latest(state)
        origin = describe_backbone(loaded.backbone)
        if restored is not None:
            origin = f"its own step {int(restored.step)}"
        print(message.replace("{origin}", origin))
        if restored is not None:
            state = restored
            done = int(state.step)
            print(describe_resumption(done, num_steps, mode=mode))
            if done < num_steps:
                print_notes(numerics_note(record))
        done = int(state.step)
        trackers = open_trackers(folder, config) if done < num_steps else []
        log = stack.enter_context(
            MetricWriter(folder, first_step=done + 1, trackers=trackers)
        )
        log.write_text(done, "config", describe_config(config))
        # A short run too has checkpoints to choose from.
        eval_every = min(config.log.validate_every, max(1, num_steps // 10))
        watch_every = max(_WATCH_EVERY, config.log.validate_every)

        def drawn(measure, every):
            return measure and with_pictures(
                measure,
                show,
                log,
                every=config.log.get("pictures_every", 0),
                measured_every=every,
                num_steps=num_steps,
            )

        state = train(
            state,
            feed(state),
            step,
            num_steps=num_steps,
            log_every=config.log.metrics_every,
            save_every=config.log.checkpoint_every,
            save_minutes=config.log.checkpoint_minutes,
            eval_every=eval_every,
            evaluate=drawn(evaluate, eval_every),
            watch_every=watch_every,
            watch=drawn(watch, watch_every),
            save=lambda state, scores: checkpoints.save(state, metrics=scores),
            log=log.write,
            keep_batch=functools.partial(save_batch, folder),
            description=mode,
        )
        log.close()
        best = checkpoints.restore_best(state) if wants_best else None
    return Trained(state, best, record)


def describe_config(config: ConfigDict) -> str:
    """Lists all settings as Markdown that is shown as it is."""
    lines = [f"    {name} = {value!r}" for name, value in walk(config)]
    return "\n".join(lines)


def describe_resumption(done: int, num_steps: int, *, mode: str) -> str:
    """Says from which step a run goes on."""
    how = "finished already at" if done >= num_steps else "going on from"
    return f"{mode}: {how} step {done} of {num_steps}"


def numerics_note(record: RunRecord) -> str:
    """Says in what the machine differs from that of the first start; "" if nothing."""
    recorded = record.environment.get("numerics", {})
    return environment_warning(recorded, numeric_environment())
