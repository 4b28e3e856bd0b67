"""--mode pretrain: learn from scans without labels, by the method of that name."""

import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data.dataset import Dataset
from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.data.splits import Split, take_pretraining_slices
from pix2rep_jax.methods.method import Method
from pix2rep_jax.methods.pretraining import (
    list_unread,
    load_method,
    make_recipe,
    method_name,
)
from pix2rep_jax.methods.pretraining.collapse import collapse_note
from pix2rep_jax.modes.loaded_run import load
from pix2rep_jax.modes.logged_pictures import show_views
from pix2rep_jax.modes.run_training import make_pretraining, train_run
from pix2rep_jax.runs.metric_log import read_metrics
from pix2rep_jax.runs.plan_file import settle
from pix2rep_jax.runs.pretrained_backbone import list_trained
from pix2rep_jax.runtime.command_line import next_step, overrides_without_effect
from pix2rep_jax.training.sharding import check_batch_size, make_mesh
from pix2rep_jax.wording import count, for_caller

__all__ = ["describe_collapse", "describe_next", "run", "watched_slices"]


def run(
    config: ConfigDict,
    workdir: Path,
    *,
    command: Sequence[str] = (),
    propose: bool = True,
) -> None:
    """Pretrains the backbone, resuming what the workdir already holds.

    Args:
        config: The whole configuration; `pretrain.method` names the method.
        workdir: The run's folder; this mode's part is `<workdir>/pretrain`.
        command: The words of the command line, program first.
        propose: Whether the command to go on with is printed at the end.

    Raises:
        InputError: If the data or the configuration cannot be used.
    """
    name, folder = method_name(config), Path(workdir) / "pretrain"
    own = config.get(name, {})
    unread = list_unread(config)
    for sentence in overrides_without_effect(command, own, method=name, unread=unread):
        print(for_caller(f"warning: {sentence}"), file=sys.stderr)
    method, recipe = load_method(config), make_recipe(config)
    section = name if "batch_size" in own else "pretrain"
    check_batch_size(recipe.batch_size, make_mesh(), name=f"{section}.batch_size")
    needs = f"pretrain.method={name}" if method.requires_pretrained else ""
    if (settled := settle(config, workdir, "pretrain")) is not config:
        config = settled
        method = load_method(config)  # the plan decides whether it sees patches
    loaded = load(config, workdir, "pretrain", required_by=needs)
    slices = take_pretraining_slices(loaded.dataset, loaded.split)
    task = make_pretraining(
        method,
        recipe,
        method.make_samples(slices),
        seed=config.seed,
        size=config.data.size,
        backbone=loaded.backbone,
    )
    watch, show = None, None
    if method.make_watch is not None:
        watched = watched_slices(loaded.dataset, loaded.split)
        watch = method.make_watch(watched)
        if config.data.crop != "whole":  # else no slice is one view
            show = show_views(config, watched["image"], watched["box"])
    split, backend = loaded.split, jax.default_backend().upper()
    train_run(
        config,
        folder,
        loaded,
        task,
        trained=list_trained(method.trained, loaded.backbone),
        command=command,
        message=f"pretraining by {name} on "
        f"{count(len(split.pretrain_slices), 'slice')} of "
        f"{count(len(split.pretrain_patients), 'patient')}, "
        f"{count(task.num_steps, 'step')} of {recipe.batch_size} on "
        f"{count(loaded.mesh.size, f'{backend} device')}, from {{origin}}",
        watch=watch,
        show=show,
    )
    print(f"the pretrained network is in {folder}")
    if jax.process_index() == 0:
        if notice := describe_collapse(config, method, folder):
            print(for_caller(f"warning: {notice}"), file=sys.stderr)
        if jax.process_count() == 1:  # reading a checkpoint takes all processes
            # Late: matplotlib and SciPy take as long to import as jax does.
            from pix2rep_jax.modes.run_pictures import draw_learned

            print(draw_learned(config.data, loaded.dataset, split, folder))
        else:
            print(for_caller("--mode figures, in one process, draws what was learned"))
    if not propose:
        return
    # A probe of a decoder that is random says nothing.
    following = "probe" if "backbone" in method.trained else "finetune"
    proposed = next_step(command, mode=following, workdir=str(workdir))
    print(describe_next(proposed, loaded.dataset.volumes))


def describe_next(proposed: str, volumes: Sequence[VolumeFile]) -> str:
    """Says what to do after a pretraining.

    Args:
        proposed: The command that trains a segmenter.
        volumes: The scans. Without any mask there is nothing to train it on.
    """
    if any(volume.label_path is not None for volume in volumes):
        return f"next: {proposed}"
    return f"next: add masks of one patient or more to the scans, then {proposed}"


def watched_slices(
    dataset: Dataset, split: Split, *, most: int = 8
) -> dict[str, np.ndarray]:
    """Takes slices that do not pretrain, evenly among all of them.

    They are of validation patients, or else of test patients, whose masks play no part.
    If all patients pretrain, they are of these.

    Args:
        dataset: All slices.
        split: Made of it.
        most: Number of slices, if there are so many.

    Returns:
        "image" `[slices, height, width, c]` and "box" `[slices, 4]`.
    """
    owners = np.array([volume.patient for volume in dataset.volumes])
    outside = np.isin(owners, split.val_patients or split.test_patients)
    found = np.flatnonzero(outside[dataset.volume_index])
    if not len(found):
        found = split.pretrain_slices
    number = min(most, len(found))
    # The middle of each of so many equal parts.
    chosen = found[(2 * np.arange(number) + 1) * len(found) // (2 * number)]
    return {"image": dataset.images[chosen], "box": dataset.boxes[chosen]}


def describe_collapse(config: ConfigDict, method: Method, folder: Path) -> str:
    """Says that the run in a folder has collapsed, if it has."""
    _, losses = read_metrics(folder / "metrics.jsonl").get("loss", ([], []))
    return collapse_note(losses, method.collapsed_loss, method=method_name(config))
