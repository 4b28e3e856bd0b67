"""--mode finetune: train backbone and segmentation head on a few labelled patients."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.errors import check_choice
from pix2rep_jax.methods.downstream import mean_teacher, supervised
from pix2rep_jax.modes.run_training import Task, prepare, train_and_score
from pix2rep_jax.runtime.command_line import next_command
from pix2rep_jax.training.feed import make_batches
from pix2rep_jax.training.optimizer import count_steps
from pix2rep_jax.training.sharding import check_batch_size
from pix2rep_jax.training.state import TrainState
from pix2rep_jax.training.step import make_update

__all__ = ["run"]


def run(config: ConfigDict, workdir: Path, *, command: Sequence[str] = ()) -> None:
    """Fine-tunes, keeps the best validation checkpoint and scores it.

    With `init.checkpoint` "none" this is the paper's fully supervised baseline, or
    with `finetune.method` "mean_teacher" its semi-supervised one.

    Args:
        config: The whole configuration.
        workdir: The run's folder; this mode's part is `<workdir>/finetune`.
        command: The words of the command line; none from Python.

    Raises:
        InputError: If the data, the configuration or the pretrained run cannot be
            used.
    """
    recipe = config.finetune
    check_method(recipe)
    if recipe.batch_norm == "frozen" and config.init.checkpoint == "none":
        print(
            "note: finetune.batch_norm is 'frozen', and random weights have no "
            "statistics to keep: nothing is normalised; 'train' would normalise",
            file=sys.stderr,
        )
    task = prepare(config, workdir)
    check_batch_size(recipe.batch_size, task.mesh, name="finetune.batch_size")
    num_steps = count_steps(recipe, num_samples=len(task.split.train_slices))
    rates = {
        "backbone": recipe.backbone_learning_rate,
        "head": recipe.head_learning_rate,
    }
    if config.init.checkpoint == "none":
        rates = dict.fromkeys(rates, recipe.scratch_learning_rate)
    prepare_method = (
        semi_supervised if recipe.method == "mean_teacher" else only_labeled
    )
    loss_fn, extra, data, batch_size = prepare_method(config, task, num_steps)
    state, update = make_update(
        loss_fn,
        task.params,
        task.batch_stats,
        recipe=recipe,
        rates=rates,
        key=task.key,
        num_steps=num_steps,
        extra=extra,
    )

    def feed(state: TrainState) -> Iterator[Any]:
        return make_batches(
            data,
            key=state.key,
            first_step=int(state.step),
            mesh=task.mesh,
            batch_size=batch_size,
            budget_mb=config.data.device_budget_mb,
        )

    train_and_score(
        config,
        workdir,
        task,
        state,
        update,
        feed,
        mode="finetune",
        num_steps=num_steps,
        command=command,
    )
    print(
        "next: "
        + next_command(command, mode="predict")
        + " --input SCANS --output MASKS"
    )


def check_method(recipe: ConfigDict) -> None:
    """Checks what `finetune` names.

    Raises:
        InputError: If there is no such method, or its result is no network of it.
    """
    for name, value, known in (
        ("method", recipe.method, ("supervised", "mean_teacher")),
        ("mean_teacher.result", recipe.mean_teacher.result, mean_teacher.NETWORKS),
    ):
        check_choice(f"finetune.{name}", value, known)


def labeled_data(task: Task) -> dict[str, np.ndarray]:
    """Collects the training slices with their masks."""
    slices = task.split.train_slices
    return {
        "image": task.dataset.images[slices][..., None],
        "label": task.dataset.labels[slices].astype(np.int32),
    }


def loss_options(config: ConfigDict) -> dict[str, Any]:
    """Collects what all methods' losses are made with."""
    return config.segmentation.to_dict() | {
        "spatial": config.augment.spatial.to_dict(),
        "intensity": config.augment.intensity.to_dict(),
        "batch_norm": config.finetune.batch_norm,
    }


def only_labeled(config: ConfigDict, task: Task, num_steps: int):
    """Makes the loss, the extra state and data it is for, and the size of a batch."""
    del num_steps
    loss_fn = supervised.make_loss(task.net, **loss_options(config))
    return loss_fn, {}, labeled_data(task), config.finetune.batch_size


def semi_supervised(config: ConfigDict, task: Task, num_steps: int):
    """Makes the same of Mean Teacher, whose other slices are all of pretraining."""
    recipe = config.finetune.mean_teacher.to_dict()
    del recipe["result"]
    size = recipe.pop("unlabeled_batch_size")
    check_batch_size(size, task.mesh, name="finetune.mean_teacher.unlabeled_batch_size")
    loss_fn = mean_teacher.make_loss(
        task.net, **loss_options(config), num_steps=num_steps, **recipe
    )
    unlabeled = task.dataset.images[task.split.pretrain_slices][..., None]
    print(f"Mean Teacher: consistency on {len(unlabeled)} slices, their masks unseen")
    return (
        loss_fn,
        mean_teacher.make_extra(task.params),
        {"labeled": labeled_data(task), "unlabeled": {"image": unlabeled}},
        {"labeled": config.finetune.batch_size, "unlabeled": size},
    )
