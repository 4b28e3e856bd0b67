"""--mode finetune: train backbone and segmentation head on a few labelled patients."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data.slices.grid import PATCHED
from pix2rep_jax.data.slices.stored_slices import blank, select
from pix2rep_jax.data.split_record import Split
from pix2rep_jax.errors import InputError
from pix2rep_jax.evaluation.gain import describe_gain, measure_gain
from pix2rep_jax.evaluation.patient_dice import read_dice
from pix2rep_jax.methods.downstream.finetuning import (
    check_finetuning,
    make_finetuning,
    settle_recipe,
)
from pix2rep_jax.methods.downstream.unimatch_views import HIDDEN
from pix2rep_jax.modes.loaded_run import Loaded, print_notes
from pix2rep_jax.modes.train_segmenter import (
    labeled_slices,
    load_segmentation,
    take_images,
    train_and_score,
)
from pix2rep_jax.runs.plan_file import settle
from pix2rep_jax.runs.run_record import read_run
from pix2rep_jax.runs.start import SCRATCH
from pix2rep_jax.runtime.command_line import next_step
from pix2rep_jax.training.optimizer import count_steps
from pix2rep_jax.training.sharding import check_batch_size, make_mesh
from pix2rep_jax.training.task import Task
from pix2rep_jax.wording import count, for_caller

__all__ = ["run"]

TITLES = {
    "mean_teacher": "Mean Teacher: consistency",
    "unimatch": "UniMatch: pseudo-labels",
}
"""What a method asks of the slices without a mask."""

_FEW = 3
"""With so many labelled patients or fewer, scans without masks teach most."""


def run(
    config: ConfigDict,
    workdir: Path,
    *,
    command: Sequence[str] = (),
    propose: bool = True,
) -> None:
    """Fine-tunes, and scores the checkpoint that `segmentation.keep` names.

    With `init.checkpoint` "none" this is the paper's fully supervised baseline, or
    with `finetune.method` "mean_teacher" its semi-supervised one. With
    `finetune.compare_scratch` that baseline is trained too, in `<workdir>/scratch`.
    Both go on where they were stopped.

    Args:
        config: The whole configuration.
        workdir: The run's folder; this mode's part is `<workdir>/finetune`.
        command: The words of the command line, program first.
        propose: Whether the command to go on with is printed at the end.

    Raises:
        InputError: If the data, the configuration or the pretrained run cannot be
            used.
    """
    both = config.finetune.get("compare_scratch", False)
    if both and Path(config.init.checkpoint).name in ("none", "finetune"):
        raise InputError(
            "finetune.compare_scratch compares a pretraining with random weights, and "
            f"init.checkpoint={config.init.checkpoint} is not a pretraining: name one, "
            "or leave finetune.compare_scratch out"
        )
    check_recipe(config)
    config = settle(config, workdir, "finetune")  # once: both see the same images
    train(config, Path(workdir), command=command)
    if both:
        own = config.copy_and_resolve_references()
        own.init.checkpoint, own.finetune.compare_scratch = "none", False
        beside = Path(workdir) / SCRATCH
        print(f"\nthe same from random weights, in {beside}")
        train(own, beside, command=command)
        print(compare(Path(workdir), beside))
    if not propose:
        return
    if config.finetune.method == "supervised":
        split = read_run(Path(workdir) / "finetune").split
        if unused := unused_scans(split):
            print(for_caller(unused))
    following, options = "predict", " --input SCANS --output MASKS"
    if both:
        following, options = "report", ""
    step = next_step(command, mode=following, workdir=str(workdir), options=options)
    print(f"next: {step}")


def unused_scans(split: Split) -> str:
    """Says that scans without masks could train too, where few have masks.

    Args:
        split: Who took part in a fine-tuning that needs masks.

    Returns:
        A note; "" if there are no such scans, or where little is to be gained.
    """
    others = {*split.pretrain_patients} - {*split.labeled_patients}
    if not others or len(split.labeled_patients) > _FEW:
        return ""
    return (
        f"note: {count(len(others), 'more patient')} took no part in this: in another "
        "--workdir, --config.finetune.method=unimatch learns from their scans too, "
        "without masks"
    )


def check_recipe(config: ConfigDict) -> None:
    """Raises InputError if the settings of fine-tuning do not fit each other."""
    for name, size in check_finetuning(config.finetune).items():
        check_batch_size(size, make_mesh(), name=name)


def compare(pretrained: Path, scratch: Path) -> str:
    """Says what a workdir's network gains over another's; "" if it is not known."""
    runs = [each / "finetune" for each in (pretrained, scratch)]
    tables = [run / "per_volume.csv" for run in runs]
    if not all(table.is_file() for table in tables):
        return ""
    ours, theirs = ({(0, 0): read_dice(table)} for table in tables)
    gain = measure_gain(ours, theirs)
    labeled = read_run(runs[0]).split.labeled_patients
    return "" if gain is None else describe_gain(gain, num_labeled=len(labeled))


def train(config: ConfigDict, workdir: Path, *, command: Sequence[str]) -> None:
    """Trains and scores one network, from where its run in the workdir stands.

    Args:
        config: The whole configuration, settled.
        workdir: The run's folder.
        command: As for `run`.

    Raises:
        InputError: As `run`.
    """
    folder = workdir / "finetune"
    start = load_segmentation(config, workdir, "finetune")
    loaded, scratch = start.loaded, start.loaded.backbone is None
    recipe = settle_recipe(config.finetune, pretrained=not scratch)
    if scratch and recipe.batch_norm == "frozen":
        print_notes(
            "note: finetune.batch_norm is 'frozen', and random weights have no "
            "statistics to keep: nothing is normalised; 'train' would normalise"
        )
    patched = config.data.crop in PATCHED
    labeled = labeled_slices(loaded, patched=patched)
    num_steps = count_steps(recipe, num_samples=len(labeled["label"]))
    unlabeled = {}
    if recipe.method != "supervised":
        slices = loaded.split.pretrain_slices
        unlabeled = take_images(loaded.dataset, slices, patched=patched)
        print(f"{TITLES[recipe.method]} on {count(len(slices), 'slice')}, masks unseen")
    if recipe.method == "unimatch":
        unlabeled |= masks_to_log_by(loaded)
    method = make_finetuning(
        config,
        start.net,
        start.params,
        start.batch_stats,
        labeled=labeled,
        unlabeled=unlabeled,
        num_steps=num_steps,
    )
    task = Task(
        loss_fn=method.loss_fn,
        params=start.params,
        batch_stats=start.batch_stats,
        extra=method.extra,
        data=method.data,
        batch_size=method.batch_size,
        rates={
            "backbone": recipe.backbone_learning_rate,
            "head": recipe.head_learning_rate,
        },
        recipe=recipe,
        num_steps=num_steps,
        key=start.key,
    )
    train_and_score(config, folder, start, task, command=command)


def masks_to_log_by(loaded: Loaded) -> dict[str, np.ndarray]:
    """Takes the masks that measure the pseudo-labels, and that nothing learns from.

    Masks of labelled patients are left out: the network knows most of them.

    Returns:
        `HIDDEN`, `[slices, height, width]` for the slices of pretraining; nothing if
        none of the others has a mask.
    """
    split = loaded.split
    known = np.isin(split.pretrain_slices, [*split.train_slices, *split.val_slices])
    annotated = loaded.dataset.is_annotated()[split.pretrain_slices]
    if not (annotated & ~known).any():
        return {}
    return {HIDDEN: blank(select(loaded.dataset.labels, split.pretrain_slices), known)}
