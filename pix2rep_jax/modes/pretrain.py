"""--mode pretrain: learn from scans without labels, by the method of that name."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2rep_jax.data.checks import shared_patients_note
from pix2rep_jax.data.dataset import Dataset, load_dataset
from pix2rep_jax.data.splits import Split, check_unseen, make_split, neutral_root
from pix2rep_jax.errors import InputError
from pix2rep_jax.methods.method import Method
from pix2rep_jax.methods.pretraining import load_method, make_recipe, method_name
from pix2rep_jax.models.build import initialise
from pix2rep_jax.models.param_parts import put_parts
from pix2rep_jax.modes.run_training import resume
from pix2rep_jax.runs.checkpoint_reader import unfinished
from pix2rep_jax.runs.checkpoint_writer import Checkpoints
from pix2rep_jax.runs.lock import hold_run
from pix2rep_jax.runs.manifest import (
    check_place,
    find_run,
    open_run,
    read_trained,
    write_num_steps,
    write_trained,
)
from pix2rep_jax.runs.metric_log import MetricWriter, read_metrics
from pix2rep_jax.runs.pretrained_backbone import (
    Backbone,
    keep_origin,
    neutral_places,
    other_data,
    read_backbone,
)
from pix2rep_jax.runtime.command_line import next_command, overrides_without_effect
from pix2rep_jax.runtime.multihost import check_alike
from pix2rep_jax.training.feed import make_batches
from pix2rep_jax.training.loop import train
from pix2rep_jax.training.optimizer import count_steps
from pix2rep_jax.training.sharding import check_batch_size, make_mesh, place
from pix2rep_jax.training.state import TrainState
from pix2rep_jax.training.step import TrainStep, compile_step, make_update

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
"""What of the configuration every pretraining run depends on."""

NEUTRAL = ("data.num_labeled", "data.draw", "data.val_fraction")
"""What of these sections none does: labels play no part in it."""


def run(config: ConfigDict, workdir: Path, *, command: Sequence[str] = ()) -> None:
    """Pretrains the backbone, resuming what the workdir already holds.

    Args:
        config: The whole configuration; `pretrain.method` names the method.
        workdir: The run's folder; this mode's part is `<workdir>/pretrain`.
        command: The words of the command line; none from Python.

    Raises:
        InputError: If the data or the configuration cannot be used.
    """
    check_place(workdir)
    mesh, name = make_mesh(), method_name(config)
    own = config.get(name, {})
    for sentence in overrides_without_effect(command, own, method=name):
        print(f"warning: {sentence}", file=sys.stderr)
    method, recipe = load_method(config), make_recipe(config)
    section = name if "batch_size" in own else "pretrain"
    check_batch_size(recipe.batch_size, mesh, name=f"{section}.batch_size")
    start = find_start(config, method, workdir)
    dataset = load_dataset(config.data)
    if config.data.name == "nifti" and (note := shared_patients_note(dataset.volumes)):
        print(note, file=sys.stderr)
    split = make_split(dataset, config.data, draw_labeled=False)
    if start is not None:
        check_unseen(split, start)
        for note in (other_data(config, start), unfinished(start)):
            if note:
                print(note, file=sys.stderr)
    backbone = None if start is None else read_backbone(config, start)
    check_alike(config, split.scans, network=backbone and backbone.origin.digest)
    data = method.make_samples(list_slices(dataset, split))
    num_samples = len(data["image"])
    num_steps = count_steps(recipe, num_samples=num_samples)
    state, step, feed = make_training(
        config, method, data, mesh=mesh, num_steps=num_steps, backbone=backbone
    )

    folder = open_run(
        workdir,
        "pretrain",
        config,
        sections=(*SECTIONS, name, *(() if start is None else ("init",))),
        neutral=(
            *NEUTRAL,
            *neutral_places(workdir / "pretrain"),
            *neutral_root(workdir / "pretrain"),
            "init.recalibrate",
        ),
        command=command,
    )
    # Before anything is written that says what the run is: it may refuse.
    keep_origin(folder, backbone and backbone.origin)
    split.write(folder)
    write_num_steps(folder, num_steps)
    write_trained(folder, list_trained(method, start))
    print(
        f"pretraining by {name} on {len(split.pretrain_slices)} slices of "
        f"{len(split.pretrain_patients)} patients, {num_steps} steps of "
        f"{recipe.batch_size} on {mesh.size} {jax.default_backend().upper()} device(s)"
        + ("" if start is None else f", from {start}")
    )
    with (
        hold_run(folder),
        Checkpoints(folder / "checkpoints") as checkpoints,
        MetricWriter(folder) as writer,
    ):
        state = resume(
            state, checkpoints, writer, num_steps=num_steps, description="pretrain"
        )
        train(
            state,
            feed(state),
            step,
            num_steps=num_steps,
            log_every=config.log.metrics_every,
            save_every=config.log.checkpoint_every,
            save_minutes=config.log.checkpoint_minutes,
            save=lambda state, scores: checkpoints.save(state, metrics=scores),
            log=writer.write,
            description="pretrain",
        )
    print(f"the pretrained network is in {folder}")
    if jax.process_index() == 0:
        notice = describe_collapse(config, method, folder)
        if notice:
            print(f"warning: {notice}", file=sys.stderr)
    # A probe of a decoder that is random says nothing.
    following = "probe" if "backbone" in method.trained else "finetune"
    # What this run started from is no longer what the next one starts from.
    named = f" --config.init.checkpoint={workdir}" if config.init.checkpoint else ""
    print("next: " + next_command(command, mode=following) + named)


def find_start(config: ConfigDict, method: Method, workdir: Path) -> Path | None:
    """Finds the run whose backbone this one starts from.

    Args:
        config: The whole configuration; `init.checkpoint` is read.
        method: Made from it.
        workdir: The run's folder; who names it names nothing else than this run.

    Returns:
        The folder of the pretraining run; None for random weights.

    Raises:
        InputError: If there is no such run, or none is named where the method needs
            one.
    """
    named = config.init.checkpoint
    if named not in ("", "none") and not is_same_place(named, workdir):
        return find_run(named, "pretrain")
    if method.requires_pretrained:
        raise InputError(
            f"pretrain.method={method_name(config)} goes on from another pretraining "
            "run here: name its workdir by --config.init.checkpoint, and a new one by "
            "--workdir"
        )
    return None


def is_same_place(named: str, workdir: Path) -> bool:
    """Whether a workdir, or the pretraining's folder in it, is this one."""
    place, own = (Path(x).expanduser().resolve() for x in (named, workdir))
    return place in (own, own / "pretrain")


def list_slices(dataset: Dataset, split: Split) -> dict[str, np.ndarray]:
    """Lists the slices to pretrain on, as `Method.make_samples` takes them."""
    chosen = split.pretrain_slices
    if not len(chosen):
        raise InputError(
            "no patient is left to pretrain on: lower data.holdout_per_group or "
            "data.validation_patients, or shorten data.exclude"
        )
    return {
        "image": dataset.images[chosen][..., None],
        "volume": dataset.volume_index[chosen],
        "slice": dataset.slice_index[chosen],
    }


def list_trained(method: Method, start: Path | None) -> list[str]:
    """Lists the parts that are trained once the run is: its own, and its start's."""
    names = {*method.trained}
    if start is not None:
        names |= {x for x in read_trained(start) if x.startswith("backbone")}
    # A part of a part that is listed says nothing more.
    return sorted(x for x in names if "." not in x or x.split(".")[0] not in names)


def describe_collapse(config: ConfigDict, method: Method, folder: Path) -> str:
    """Says that a run's last losses all stand at that of a collapse, or nothing."""
    loss = method.collapsed_loss
    if loss is None:
        return ""
    _, logged = read_metrics(folder / "metrics.jsonl").get("loss", ([], []))
    if not logged or not (abs(np.array(logged[-5:]) - loss) < 0.01 * loss).all():
        return ""
    return (
        f"{method_name(config)} has collapsed: its loss stands at {loss:.3f}, that of "
        "a network which maps all images to one embedding, so nothing was learned: "
        "lower the learning rate, warm up longer or raise the temperature, in another "
        "--workdir"
    )


def make_training(
    config: ConfigDict,
    method: Method,
    data: Mapping[str, np.ndarray],
    *,
    mesh: Mesh,
    num_steps: int,
    backbone: Backbone | None = None,
) -> tuple[TrainState, TrainStep, Callable[[TrainState], Iterator[Any]]]:
    """Makes the state before the first step, the step, and its batches.

    Args:
        config: The whole configuration.
        method: Made from it.
        data: The method's samples; Pix2Rep's are an "image"
            `[slices, size, size, 1]`.
        mesh: The devices.
        num_steps: Steps of the run, which the schedule spans.
        backbone: What an earlier pretraining has trained, if it starts from one.

    Returns:
        The state on its devices, the step from `compile_step`, and a function that
        makes the batches from a state's step on.

    Raises:
        InputError: If the configuration cannot be used.
    """
    recipe = make_recipe(config)
    key, init_key = jax.random.split(jax.random.key(config.seed))
    params, batch_stats = initialise(method.net, init_key, size=config.data.size)
    if backbone is not None:
        params = put_parts(params, backbone.params)
        batch_stats = put_parts(batch_stats, backbone.batch_stats)
    state, update = make_update(
        method.loss_fn,
        params,
        batch_stats,
        recipe=recipe,
        rates=dict.fromkeys(method.trained, recipe.learning_rate),
        key=key,
        num_steps=num_steps,
        extra=method.make_extra(params),
    )

    def feed(state: TrainState) -> Iterator[Any]:
        return make_batches(
            data,
            key=state.key,
            first_step=int(state.step),
            mesh=mesh,
            batch_size=recipe.batch_size,
            budget_mb=config.data.device_budget_mb,
        )

    return place(state, mesh), compile_step(update, mesh=mesh), feed
