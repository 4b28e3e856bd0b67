"""--mode finetune: train backbone and segmentation head on a few labelled patients."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.batch_norm import recalibrate
from pix2rep_jax.command_line import next_command
from pix2rep_jax.downstream import prepare, train_and_score
from pix2rep_jax.methods import segmentation
from pix2rep_jax.training.optimizer import make_optimizer, make_schedule
from pix2rep_jax.training.sharding import check_batch_size
from pix2rep_jax.training.state import create_state
from pix2rep_jax.training.step import bind_data, count_steps, make_train_step

__all__ = ["run"]


def run(config: ConfigDict, workdir: Path, *, measure: Callable = recalibrate) -> None:
    """Fine-tunes, keeps the best validation checkpoint and scores it.

    With `init.checkpoint` "none" this is the paper's fully supervised baseline.

    Args:
        config: The whole configuration.
        workdir: The run's folder; this mode's part is `<workdir>/finetune`.
        measure: As for `downstream.prepare`.

    Raises:
        InputError: If the data, the configuration or the pretrained run cannot be
            used.
    """
    recipe = config.finetune
    task = prepare(config, workdir, measure=measure)
    check_batch_size(recipe.batch_size, task.mesh, name="finetune.batch_size")
    train_slices = task.split.train_slices
    data = {
        "image": task.dataset.images[train_slices][..., None],
        "label": task.dataset.labels[train_slices].astype(np.int32),
    }
    num_steps = count_steps(recipe, num_samples=len(train_slices))
    schedule = make_schedule(
        recipe.schedule, num_steps=num_steps, warmup_steps=recipe.warmup_steps
    )
    rates = {
        "backbone": recipe.backbone_learning_rate,
        "head": recipe.head_learning_rate,
    }
    if config.init.checkpoint == "none":
        rates = dict.fromkeys(rates, recipe.scratch_learning_rate)
    tx = make_optimizer(rates, schedule, weight_decay=recipe.weight_decay)
    state = create_state(
        task.params, task.batch_stats, tx, task.key, trainable=tuple(rates)
    )
    loss_fn = segmentation.make_loss(
        task.net,
        **config.segmentation.to_dict(),
        spatial=config.augment.spatial.to_dict(),
        intensity=config.augment.intensity.to_dict(),
        batch_norm=recipe.batch_norm,
    )
    train_step = bind_data(
        make_train_step(loss_fn, tx, schedule, learning_rates=rates),
        data,
        mesh=task.mesh,
        batch_size=recipe.batch_size,
        budget_mb=config.data.device_budget_mb,
    )

    train_and_score(
        config, workdir, task, state, train_step, mode="finetune", num_steps=num_steps
    )
    print(
        "next: "
        + next_command(sys.argv, mode="predict")
        + " --input SCANS --output MASKS"
    )
