"""What probing and fine-tuning share: where they start, how they are scored."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2rep_jax.batch_norm import recalibrate
from pix2rep_jax.data.dataset import Dataset, load_dataset
from pix2rep_jax.data.splits import Split, check_unseen, make_split
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference import make_predict, predict_slices
from pix2rep_jax.methods.segmentation import SegmentationNet
from pix2rep_jax.metrics import dice_per_class
from pix2rep_jax.modes.evaluate import evaluate_volumes
from pix2rep_jax.networks import initialise, make_segmentation_net
from pix2rep_jax.report import write_evaluation
from pix2rep_jax.training.checkpoints import Checkpoints, restore_params
from pix2rep_jax.training.loop import train
from pix2rep_jax.training.metric_writer import MetricWriter
from pix2rep_jax.training.run_folder import find_run, open_run, read_config
from pix2rep_jax.training.sharding import make_mesh, place
from pix2rep_jax.training.state import TrainState

__all__ = ["SECTIONS", "Task", "make_validate", "prepare", "train_and_score"]

SECTIONS = ("seed", "data", "model", "augment", "segmentation", "init", "log")
"""What of the configuration both modes depend on, besides their own section."""

_PREDICT_BATCH = 16


class Task(NamedTuple):
    """A segmentation task before its first step.

    Attributes:
        dataset: All slices.
        split: Which of them train, validate and test.
        net: Backbone and head.
        params: Initial parameters; the backbone's are the pretrained ones, if any.
        batch_stats: Initial statistics, likewise.
        origin: Where the backbone comes from, for people to read.
        key: The run's random key.
        mesh: The devices.
    """

    dataset: Dataset
    split: Split
    net: SegmentationNet
    params: Any
    batch_stats: Any
    origin: str
    key: jax.Array
    mesh: Mesh


def prepare(
    config: ConfigDict, workdir: Path, *, measure: Callable = recalibrate
) -> Task:
    """Loads the data and the pretrained backbone.

    Args:
        config: `init.checkpoint` says where the backbone comes from: "" is this
            workdir's pretraining, a path another run's, "none" random weights.
        workdir: The run's folder.
        measure: As `batch_norm.recalibrate`; many runs from one backbone may share
            what it finds.

    Raises:
        InputError: If there is no such run, or its network has another shape.
    """
    scratch = config.init.checkpoint == "none"
    net = make_segmentation_net(config, scratch=scratch)
    backbone, origin = None, "random weights"
    if not scratch:  # before the data: a mistake here should not cost a minute
        run = find_run(config.init.checkpoint or workdir, "pretrain")
        check_same_network(config, read_config(run), run)
        stored, origin = restore_params(run), str(run)
        backbone = {
            name: tree["backbone"]
            for name, tree in zip(("params", "batch_stats"), stored, strict=True)
        }
    dataset = load_dataset(config.data)
    split = make_split(dataset, config.data)
    if not scratch:
        check_unseen(split, run)
    key, init_key = jax.random.split(jax.random.key(config.seed))
    params, batch_stats = initialise(net, init_key, size=config.data.size)
    if backbone is not None:
        if config.init.recalibrate:
            backbone["batch_stats"] = measure(
                net.backbone, backbone, dataset.images[split.pretrain_slices]
            )
        params = params | {"backbone": backbone["params"]}
        batch_stats = {"backbone": backbone["batch_stats"]}
    return Task(dataset, split, net, params, batch_stats, origin, key, mesh=make_mesh())


def check_same_network(config: ConfigDict, pretrained: Any, run: Path) -> None:
    """Checks that a pretraining run has the backbone that is to start from it.

    Raises:
        InputError: If it has not; names the first difference and the mend.
    """
    for name in ("channels", "num_features", "last_hidden"):
        theirs, ours = pretrained["model"][name], config.model[name]
        listed = list(ours) if isinstance(ours, tuple) else ours
        if theirs != listed:
            written = ",".join(map(str, theirs)) if name == "channels" else theirs
            raise InputError(
                f"the network in {run} was pretrained with model.{name}={theirs}, but "
                f"this configuration asks for {listed}: add "
                f"--config.model.{name}={written}, or name another run by "
                "--config.init.checkpoint"
            )


def make_validate(
    task: Task, *, classes: tuple[str, ...]
) -> Callable[[TrainState], dict[str, float]]:
    """Makes the score that chooses the checkpoint: Dice on the validation slices.

    Args:
        task: The task.
        classes: Names of the classes, background first.

    Returns:
        A function of the state that returns "val_dice", the mean over the
        foreground classes that the validation slices or the prediction have, each
        over all these slices together, at network resolution.
    """
    predict = make_predict(task.net)
    images = task.dataset.images[task.split.val_slices]
    labels = task.dataset.labels[task.split.val_slices]

    def validate(state: TrainState) -> dict[str, float]:
        probabilities = predict_slices(
            predict,
            {"params": state.params, "batch_stats": state.batch_stats},
            images,
            batch_size=min(_PREDICT_BATCH, len(images)),
        )
        dice = dice_per_class(
            probabilities.argmax(-1), labels, num_classes=len(classes)
        )
        present = dice[1:][~np.isnan(dice[1:])]
        return {"val_dice": float(present.mean()) if present.size else 0.0}

    return validate


def train_and_score(
    config: ConfigDict,
    workdir: Path,
    task: Task,
    state: TrainState,
    train_step: Callable[[TrainState], tuple[TrainState, dict[str, jax.Array]]],
    *,
    mode: str,
    num_steps: int,
) -> Path:
    """Trains, keeps the best validation checkpoint and scores it on the test patients.

    Args:
        config: The whole configuration.
        workdir: The run's folder.
        task: The task.
        state: Before the first step.
        train_step: Bound to the training slices.
        mode: "probe" or "finetune": the section of the configuration, and the folder.
        num_steps: Steps of the run.

    Returns:
        The folder with checkpoints, metrics, evaluation.json and per_volume.csv.
    """
    folder = open_run(workdir, mode, config, sections=(*SECTIONS, mode))
    task.split.write(folder.path)
    print(
        f"{mode} from {task.origin} on {len(task.split.train_slices)} slices of "
        f"{len(task.split.labeled_patients)} patient(s), {num_steps} steps"
    )
    classes = tuple(config.data.classes)
    with (
        Checkpoints(folder.path / "checkpoints", best_metric="val_dice") as checkpoints,
        MetricWriter(folder.path) as writer,
    ):
        state = train(
            place(state, task.mesh),
            train_step,
            num_steps=num_steps,
            log_every=config.log.metrics_every,
            checkpoint_every=config.log.checkpoint_every,
            checkpoint_minutes=config.log.checkpoint_minutes,
            eval_every=config.log.validate_every,
            evaluate=make_validate(task, classes=classes),
            checkpoints=checkpoints,
            writer=writer,
            description=mode,
        )
        state = checkpoints.restore_best(state)
    predict = functools.partial(
        predict_slices,
        make_predict(task.net),
        {"params": state.params, "batch_stats": state.batch_stats},
        batch_size=_PREDICT_BATCH,
    )
    table = write_evaluation(
        folder.path,
        evaluate_volumes(
            predict, task.dataset, task.split.test_volumes, classes=classes
        ),
        classes=classes,
        uses_ground_truth=config.data.crop == "mask_box",
        details={
            "mode": mode,
            "initialised_from": task.origin,
            "labeled_patients": list(task.split.labeled_patients),
            "test_patients": list(task.split.test_patients),
            "best_step": int(state.step),
        },
    )
    print(table)
    print(f"the results are in {folder.path}")
    return folder.path
