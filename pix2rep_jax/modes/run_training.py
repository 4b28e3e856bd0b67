"""What probing and fine-tuning share: where they start, how they are scored."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2rep_jax.data.checks import cut_masks, shared_patients_note, unseen_classes
from pix2rep_jax.data.dataset import Dataset, load_dataset
from pix2rep_jax.data.splits import Split, check_unseen, make_split, neutral_root
from pix2rep_jax.evaluation.dice import dice_per_class
from pix2rep_jax.evaluation.report import write_evaluation
from pix2rep_jax.evaluation.score_volumes import evaluate_networks
from pix2rep_jax.inference.predict import make_predict, make_predictors, predict_slices
from pix2rep_jax.methods.downstream.mean_teacher import networks_of_state
from pix2rep_jax.models.batch_norm import recalibrate
from pix2rep_jax.models.build import initialise, make_segmentation_net
from pix2rep_jax.models.param_parts import put_parts
from pix2rep_jax.models.segmentation_net import SegmentationNet
from pix2rep_jax.runs.checkpoint_reader import unfinished
from pix2rep_jax.runs.checkpoint_writer import Checkpoints
from pix2rep_jax.runs.lock import hold_run
from pix2rep_jax.runs.manifest import check_place, find_run, open_run, write_num_steps
from pix2rep_jax.runs.metric_log import MetricWriter
from pix2rep_jax.runs.pretrained_backbone import (
    Origin,
    keep_origin,
    neutral_places,
    other_data,
    read_backbone,
)
from pix2rep_jax.runtime.multihost import check_alike
from pix2rep_jax.training.loop import train
from pix2rep_jax.training.sharding import make_mesh, place
from pix2rep_jax.training.state import TrainState
from pix2rep_jax.training.step import TrainStep, compile_step

__all__ = [
    "SECTIONS",
    "Task",
    "make_validate",
    "prepare",
    "resume",
    "train_and_score",
]

SECTIONS = ("seed", "data", "model", "augment", "segmentation", "init", "log")
"""What of the configuration both modes depend on, besides their own section."""

_PREDICT_BATCH = 16


class Task(NamedTuple):
    """A segmentation task before its first step.

    Attributes:
        dataset: All slices.
        split: Which of them train, validate and test.
        net: Backbone and head.
        params: Initial parameters; what was pretrained of the backbone is, the rest
            is drawn.
        batch_stats: Initial statistics, likewise.
        source: Where the backbone comes from, for people to read.
        origin: The same for the record; None for random weights.
        key: The run's random key.
        mesh: The devices.
    """

    dataset: Dataset
    split: Split
    net: SegmentationNet
    params: Any
    batch_stats: Any
    source: str
    origin: Origin | None
    key: jax.Array
    mesh: Mesh


def prepare(config: ConfigDict, workdir: Path) -> Task:
    """Loads the data and the pretrained backbone.

    Args:
        config: `init.checkpoint` says where the backbone comes from: "" is this
            workdir's pretraining, a path another run's, "none" random weights.
        workdir: The run's folder.

    Raises:
        InputError: If there is no such run, its network has another shape, there is
            nothing to learn, or the workdir cannot be written.
    """
    check_place(workdir)
    scratch = config.init.checkpoint == "none"
    net = make_segmentation_net(config, scratch=scratch)
    pretrained, source = None, "random weights"
    if not scratch:  # before the data: a mistake here should not cost a minute
        run = find_run(config.init.checkpoint or workdir, "pretrain")
        pretrained = read_backbone(config, run)
        source = describe(run, pretrained.params)
        for note in (other_data(config, run), unfinished(run)):
            if note:
                print(note, file=sys.stderr)
    dataset = load_dataset(config.data)
    if config.data.name == "nifti" and (note := shared_patients_note(dataset.volumes)):
        print(note, file=sys.stderr)
    split = make_split(dataset, config.data)
    if not scratch:
        check_unseen(split, run)
    check_alike(config, split.scans, network=pretrained and pretrained.origin.digest)
    used = {*split.labeled_patients, *split.test_patients}
    for note in (
        unseen_classes(config.data.classes, dataset.labels[split.train_slices]),
        cut_masks([each for each in dataset.volumes if each.patient in used]),
    ):
        if note:
            print(note, file=sys.stderr)
    key, init_key = jax.random.split(jax.random.key(config.seed))
    params, batch_stats = initialise(net, init_key, size=config.data.size)
    if pretrained is not None:
        params = put_parts(params, pretrained.params)
        batch_stats = put_parts(batch_stats, pretrained.batch_stats)
        if config.init.recalibrate:
            batch_stats["backbone"] = recalibrate(
                net.backbone,
                {
                    "params": params["backbone"],
                    "batch_stats": batch_stats["backbone"],
                },
                dataset.images[split.pretrain_slices],
            )
    origin = pretrained and pretrained.origin
    ready = (dataset, split, net, params, batch_stats, source, origin, key)
    return Task(*ready, mesh=make_mesh())


def origin_details(origin: Origin | None) -> dict[str, Any]:
    """What evaluation.json says of the backbone, besides its place."""
    if origin is None:
        return {}
    return {"pretrained_steps": origin.step, "pretrained_digest": origin.digest}


def describe(run: Path, parts: Mapping[str, Any]) -> str:
    """Names a run, and what it has trained where that is not the whole backbone."""
    if "backbone" in parts:
        return str(run)
    blocks = ", ".join(name.removeprefix("backbone.") for name in parts)
    return f"{run} ({blocks}; the rest of the backbone is random)"


def make_validate(
    config: ConfigDict, task: Task
) -> Callable[[TrainState], dict[str, float]]:
    """Makes the score that chooses the checkpoint: Dice on the validation slices.

    Args:
        config: The whole configuration.
        task: The task.

    Returns:
        A function of the state that returns "val_dice" of the network that is to be
        the result, the mean over the foreground classes that the validation slices or
        the prediction have, each over all these slices together, at network
        resolution; and of another one, as "val_dice_student", likewise.
    """
    predict = make_predict(task.net)
    images = task.dataset.images[task.split.val_slices]
    labels = task.dataset.labels[task.split.val_slices]

    def score(variables: Any) -> float:
        probabilities = predict_slices(
            predict, variables, images, batch_size=min(_PREDICT_BATCH, len(images))
        )
        dice = dice_per_class(
            probabilities.argmax(-1), labels, num_classes=len(config.data.classes)
        )
        present = dice[1:][~np.isnan(dice[1:])]
        return float(present.mean()) if present.size else 0.0

    def validate(state: TrainState) -> dict[str, float]:
        networks = networks_of_state(config, state.params, state.model_state)
        (_, result), *others = networks.items()
        return {"val_dice": score(result)} | {
            f"val_dice_{name}": score(variables) for name, variables in others
        }

    return validate


def resume(
    state: TrainState,
    checkpoints: Checkpoints,
    writer: MetricWriter,
    *,
    num_steps: int,
    description: str,
) -> TrainState:
    """Restores the newest checkpoint of a run, if there is one.

    Args:
        state: The state before the first step, on its devices.
        checkpoints: The run's.
        writer: The run's; it forgets metrics of later steps.
        num_steps: Steps of the whole run.
        description: Name of the run in messages.

    Returns:
        The state that the run goes on from.
    """
    resumed = checkpoints.restore_latest(state)
    if resumed is not None:
        state, step = resumed, int(resumed.step)
        doing = "finished already at" if step >= num_steps else "going on from"
        print(f"{description}: {doing} step {step} of {num_steps}")
    writer.rewind(int(state.step))
    return state


def train_and_score(
    config: ConfigDict,
    workdir: Path,
    task: Task,
    state: TrainState,
    update: TrainStep,
    feed: Callable[[TrainState], Iterator[Any]],
    *,
    mode: str,
    num_steps: int,
    command: Sequence[str] = (),
) -> Path:
    """Trains, keeps the best validation checkpoint and scores it on the test patients.

    Args:
        config: The whole configuration.
        workdir: The run's folder.
        task: The task.
        state: Before the first step.
        update: From `make_update`.
        feed: Makes the batches of the training slices from the state's step on.
        mode: "probe" or "finetune": the section of the configuration, and the folder.
        num_steps: Steps of the run.
        command: The words of the command line; none from Python.

    Returns:
        The folder with checkpoints, metrics, and, where test patients have masks,
        evaluation.json and per_volume.csv.
    """
    folder = Path(workdir) / mode
    neutral = neutral_places(folder) if task.origin else ()
    folder = open_run(
        workdir,
        mode,
        config,
        sections=(*SECTIONS, mode),
        neutral=(*neutral, *neutral_root(folder)),
        command=command,
    )
    task.split.write(folder)
    write_num_steps(folder, num_steps)
    origin = keep_origin(folder, task.origin)
    print(
        f"{mode} from {task.source} on {len(task.split.train_slices)} slices of "
        f"{len(task.split.labeled_patients)} patient(s), {num_steps} steps"
    )
    classes = tuple(config.data.classes)
    # A short run too has checkpoints to choose from.
    validate_every = min(config.log.validate_every, max(1, num_steps // 10))
    with (
        hold_run(folder),
        Checkpoints(folder / "checkpoints", best_metric="val_dice") as checkpoints,
        MetricWriter(folder) as writer,
    ):
        state = resume(
            place(state, task.mesh),
            checkpoints,
            writer,
            num_steps=num_steps,
            description=mode,
        )
        state = train(
            state,
            feed(state),
            compile_step(update, mesh=task.mesh),
            num_steps=num_steps,
            log_every=config.log.metrics_every,
            save_every=config.log.checkpoint_every,
            save_minutes=config.log.checkpoint_minutes,
            eval_every=validate_every,
            evaluate=make_validate(config, task),
            save=lambda state, scores: checkpoints.save(state, metrics=scores),
            log=writer.write,
            description=mode,
        )
        state = checkpoints.restore_best(state)
    if not task.split.test_volumes:
        print(
            "nothing was scored, as no test patient has a mask (data.holdout_per_group "
            f"holds out some that have one); the network is in {folder}"
        )
        return folder
    networks = networks_of_state(config, state.params, state.model_state)
    predictors = make_predictors(task.net, networks, batch_size=_PREDICT_BATCH)
    (result, scores), *others = evaluate_networks(
        predictors, task.dataset, task.split.test_volumes, classes=classes
    ).items()
    table = write_evaluation(
        folder,
        scores,
        others=dict(others),
        classes=classes,
        uses_ground_truth=config.data.crop == "mask_box",
        details={
            "mode": mode,
            **({"scored": result} if others else {}),
            "initialised_from": task.source,
            **origin_details(origin),
            "labeled_patients": list(task.split.labeled_patients),
            "test_patients": list(task.split.test_patients),
            "best_step": int(state.step),
        },
    )
    print(table)
    print(f"the results are in {folder}")
    return folder
