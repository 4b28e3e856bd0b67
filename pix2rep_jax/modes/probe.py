"""--mode probe: train a linear head on the frozen backbone's features."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.predict import predict_slices
from pix2rep_jax.methods.downstream import probe
from pix2rep_jax.modes.run_training import Task, prepare, train_and_score
from pix2rep_jax.runtime.command_line import next_command
from pix2rep_jax.runtime.compiler import compiler_options
from pix2rep_jax.training.feed import make_batches
from pix2rep_jax.training.optimizer import count_steps
from pix2rep_jax.training.sharding import check_batch_size
from pix2rep_jax.training.state import TrainState
from pix2rep_jax.training.step import make_update

__all__ = ["compute_features", "run"]


def run(config: ConfigDict, workdir: Path, *, command: Sequence[str] = ()) -> None:
    """Probes, keeps the best validation checkpoint and scores it.

    Args:
        config: The whole configuration.
        workdir: The run's folder; this mode's part is `<workdir>/probe`.
        command: The words of the command line; none from Python.

    Raises:
        InputError: If the data, the configuration or the pretrained run cannot be
            used.
    """
    recipe = config.probe
    if config.init.checkpoint == "none":
        raise InputError(
            "probing needs a pretrained backbone, but init.checkpoint is 'none': use "
            "--mode finetune for the baseline from random weights"
        )
    task = prepare(config, workdir)
    check_batch_size(recipe.batch_size, task.mesh, name="probe.batch_size")
    num_steps = count_steps(recipe, num_samples=len(task.split.train_slices))
    loss_fn = probe.make_loss(task.net, **config.segmentation.to_dict())
    data = frozen_data(
        task, budget_mb=feature_budget(config, platform=jax.default_backend())
    )
    state, update = make_update(
        loss_fn,
        task.params,
        task.batch_stats,
        recipe=recipe,
        rates={"head": recipe.learning_rate},
        key=task.key,
        num_steps=num_steps,
    )

    def feed(state: TrainState) -> Iterator[Any]:
        return make_batches(
            data,
            key=state.key,
            first_step=int(state.step),
            mesh=task.mesh,
            batch_size=recipe.batch_size,
            budget_mb=config.data.device_budget_mb,
        )

    train_and_score(
        config,
        workdir,
        task,
        state,
        update,
        feed,
        mode="probe",
        num_steps=num_steps,
        command=command,
    )
    print("next: " + next_command(command, mode="finetune"))


def feature_budget(config: ConfigDict, *, platform: str) -> float:
    """Says how large a set of features may be to be computed once (MB).

    An accelerator must hold them itself: those that lie on the host cross the bus in
    every step, which takes longer than the backbone does.

    Args:
        config: The whole configuration.
        platform: As jax names it, such as "cpu".
    """
    budget = config.probe.feature_budget_mb
    return budget if platform == "cpu" else min(budget, config.data.device_budget_mb)


def frozen_data(task: Task, *, budget_mb: float) -> dict[str, np.ndarray]:
    """Computes the training slices' features once, if they fit the budget.

    Args:
        task: The task.
        budget_mb: Memory for features and labels (MB).

    Returns:
        "label" with "features", or with "image" where features would not fit.
    """
    slices = task.split.train_slices
    images, label = task.dataset.images[slices], task.dataset.labels[slices]
    label = label.astype(np.int32)
    size = images.size * 4 * task.net.backbone.num_features + label.nbytes
    if size > budget_mb * 1e6:
        return {"image": images[..., None], "label": label}
    return {"features": compute_features(task, slices), "label": label}


def compute_features(
    task: Task, slices: np.ndarray, *, batch_size: int = 16
) -> np.ndarray:
    """Runs the frozen backbone over slices of the data set, in the order given.

    Args:
        task: The task.
        slices: `[n]` indices into `task.dataset.images`.
        batch_size: Slices computed at once.

    Returns:
        `[n, height, width, num_features]` float32.
    """
    apply = jax.jit(
        functools.partial(task.net.apply, method="features"),
        compiler_options=compiler_options(),
    )
    variables = {"params": task.params, "batch_stats": task.batch_stats}
    images = task.dataset.images[slices]
    features = predict_slices(apply, variables, images, batch_size=batch_size)
    return features.astype(np.float32)
