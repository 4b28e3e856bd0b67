"""--mode pretrain: learn pixel embeddings from scans without labels."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.command_line import next_command
from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.splits import make_split
from pix2rep_jax.methods import pix2rep
from pix2rep_jax.networks import make_pix2rep_net
from pix2rep_jax.training.checkpoints import Checkpoints
from pix2rep_jax.training.loop import train
from pix2rep_jax.training.metric_writer import MetricWriter
from pix2rep_jax.training.optimizer import make_optimizer, make_schedule
from pix2rep_jax.training.run_folder import open_run
from pix2rep_jax.training.sharding import check_batch_size, make_mesh, place
from pix2rep_jax.training.state import create_state
from pix2rep_jax.training.step import bind_data, count_steps, make_train_step

__all__ = ["SECTIONS", "run"]

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
    net = make_pix2rep_net(config)
    dataset = load_dataset(config.data)
    split = make_split(dataset, config.data, draw_labeled=False)
    images = dataset.images[split.pretrain_slices][..., None]
    num_steps = count_steps(config.pretrain, num_samples=len(images))

    key, init_key = jax.random.split(jax.random.key(config.seed))
    variables = jax.jit(net.init, static_argnames="train")(
        init_key, jnp.asarray(images[:1]), train=False
    )
    schedule = make_schedule(
        config.pretrain.schedule,
        num_steps=num_steps,
        warmup_steps=config.pretrain.warmup_steps,
    )
    rate = config.pretrain.learning_rate
    rates = {"backbone": rate, "projection": rate}
    tx = make_optimizer(rates, schedule, weight_decay=config.pretrain.weight_decay)
    state = create_state(
        variables["params"], variables["batch_stats"], tx, key, trainable=tuple(rates)
    )
    loss_fn = pix2rep.make_loss(
        net,
        loss=config.pretrain.loss,
        temperature=config.pretrain.temperature,
        off_diagonal_weight=config.pretrain.off_diagonal_weight,
        num_points=config.pretrain.num_points,
        spatial=config.spatial.to_dict(),
        intensity=config.intensity.to_dict(),
    )
    train_step = bind_data(
        make_train_step(loss_fn, tx, schedule, trainable=tuple(rates)),
        {"image": np.asarray(images)},
        mesh=mesh,
        batch_size=config.pretrain.batch_size,
        budget_mb=config.data.device_budget_mb,
    )

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
            place(state, mesh),
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
