"""--mode pretrain: learn pixel embeddings from scans without labels."""

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2rep_jax.command_line import next_command
from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.splits import make_split
from pix2rep_jax.errors import InputError
from pix2rep_jax.methods import pix2rep
from pix2rep_jax.networks import initialise, make_pix2rep_net
from pix2rep_jax.training.checkpoints import Checkpoints
from pix2rep_jax.training.loop import train
from pix2rep_jax.training.metric_writer import MetricWriter
from pix2rep_jax.training.optimizer import make_optimizer, make_schedule
from pix2rep_jax.training.run_folder import open_run
from pix2rep_jax.training.sharding import check_batch_size, make_mesh, place
from pix2rep_jax.training.state import TrainState, create_state
from pix2rep_jax.training.step import bind_data, count_steps, make_train_step

__all__ = ["SECTIONS", "make_training", "run"]

SECTIONS = (
    "seed",
    "data",
    "model",
    "projection",
    "spatial",
    "intensity",
    "pretrain",
)
"""What of the configuration a pretraining run depends on."""

NEUTRAL = ("data.num_labeled", "data.draw", "data.val_fraction")
"""What of these sections it does not: labels play no part in it."""


def run(config: ConfigDict, workdir: Path) -> None:
    """Pretrains the backbone, resuming what the workdir already holds.

    Args:
        config: The whole configuration.
        workdir: The run's folder; this mode's part is `<workdir>/pretrain`.

    Raises:
        InputError: If the data or the configuration cannot be used.
    """
    mesh = make_mesh()
    check_batch_size(config.pretrain.batch_size, mesh, name="pretrain.batch_size")
    dataset = load_dataset(config.data)
    split = make_split(dataset, config.data, draw_labeled=False)
    images = dataset.images[split.pretrain_slices][..., None]
    if not len(images):
        raise InputError(
            "no patient is left to pretrain on: lower data.holdout_per_group or "
            "data.validation_patients, or shorten data.exclude"
        )
    num_steps = count_steps(config.pretrain, num_samples=len(images))
    state, train_step = make_training(config, images, mesh=mesh, num_steps=num_steps)

    folder = open_run(workdir, "pretrain", config, sections=SECTIONS, neutral=NEUTRAL)
    split.write(folder.path)
    print(
        f"pretraining on {len(images)} slices of {len(split.pretrain_patients)} "
        f"patients, {num_steps} steps of {config.pretrain.batch_size} on "
        f"{mesh.size} {jax.default_backend().upper()} device(s)"
    )
    with (
        Checkpoints(folder.path / "checkpoints") as checkpoints,
        MetricWriter(folder.path) as writer,
    ):
        train(
            state,
            train_step,
            num_steps=num_steps,
            log_every=config.log.metrics_every,
            checkpoint_every=config.log.checkpoint_every,
            checkpoint_minutes=config.log.checkpoint_minutes,
            checkpoints=checkpoints,
            writer=writer,
            description="pretrain",
        )
    print(f"the pretrained network is in {folder.path}")
    print("next: " + next_command(sys.argv, mode="probe"))


def make_training(
    config: ConfigDict, images: np.ndarray, *, mesh: Mesh, num_steps: int
) -> tuple[TrainState, Callable]:
    """Makes the state before the first step, and the step from one to the next.

    Args:
        config: The whole configuration.
        images: `[slices, size, size, 1]`.
        mesh: The devices.
        num_steps: Steps of the run, which the schedule spans.

    Returns:
        The state, on its devices, and `train_step(state) -> (state, metrics)`, not
        compiled before its first call.

    Raises:
        InputError: If the configuration cannot be used.
    """
    recipe = config.pretrain
    num_pixels = config.data.size**2
    if recipe.num_points != "all" and not (
        isinstance(recipe.num_points, int) and 1 <= recipe.num_points <= num_pixels
    ):
        raise InputError(
            f"pretrain.num_points is {recipe.num_points!r}, and an image has "
            f"{num_pixels} pixels: take a whole number of them from 1 up, or 'all'"
        )
    net = make_pix2rep_net(config)
    key, init_key = jax.random.split(jax.random.key(config.seed))
    params, batch_stats = initialise(net, init_key, size=config.data.size)
    schedule = make_schedule(
        recipe.schedule, num_steps=num_steps, warmup_steps=recipe.warmup_steps
    )
    rates = dict.fromkeys(("backbone", "projection"), recipe.learning_rate)
    tx = make_optimizer(rates, schedule, weight_decay=recipe.weight_decay)
    state = create_state(params, batch_stats, tx, key, trainable=tuple(rates))
    loss_fn = pix2rep.make_loss(
        net,
        loss=recipe.loss,
        temperature=recipe.temperature,
        off_diagonal_weight=recipe.off_diagonal_weight,
        num_points=recipe.num_points,
        spatial=config.spatial.to_dict(),
        intensity=config.intensity.to_dict(),
    )
    train_step = bind_data(
        make_train_step(loss_fn, tx, schedule, learning_rates=rates),
        {"image": np.asarray(images)},
        mesh=mesh,
        batch_size=recipe.batch_size,
        budget_mb=config.data.device_budget_mb,
    )
    return place(state, mesh), train_step
