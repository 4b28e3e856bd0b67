"""What probing and fine-tuning share: the network they start with, and the scores."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data.checks import (
    cut_masks,
    empty_slices,
    missing_masks,
    unseen_classes,
)
from pix2rep_jax.data.dataset import Dataset, take_own
from pix2rep_jax.data.held_out import ways_to_test
from pix2rep_jax.data.one_piece import find_one_piece
from pix2rep_jax.data.slices.stored_slices import select
from pix2rep_jax.data.split_record import Split
from pix2rep_jax.errors import check_choice
from pix2rep_jax.evaluation.score_run import score_run
from pix2rep_jax.evaluation.validate import make_validate
from pix2rep_jax.inference.postprocess import choose_components, read_options
from pix2rep_jax.inference.predict import BATCH_SIZE, make_predictors
from pix2rep_jax.methods.downstream.teacher import networks_of_state
from pix2rep_jax.models.build import make_segmentation_net
from pix2rep_jax.models.segmentation_net import SegmentationNet
from pix2rep_jax.modes.loaded_run import Loaded, load, print_notes
from pix2rep_jax.modes.logged_pictures import show_predictions
from pix2rep_jax.modes.run_training import draw_network, train_run
from pix2rep_jax.runs.checkpoint_steps import BEST, LAST
from pix2rep_jax.runs.kept_statistics import measure_statistics
from pix2rep_jax.runs.pretrained_backbone import describe_backbone
from pix2rep_jax.training.run_keys import make_run_keys
from pix2rep_jax.training.state import TrainState
from pix2rep_jax.training.task import Task
from pix2rep_jax.wording import count, for_caller

__all__ = [
    "Segmentation",
    "downstream_keys",
    "labeled_slices",
    "load_segmentation",
    "take_images",
    "train_and_score",
]

_MOST_VALIDATED_PX = 2**22
"""Pixels of whole slices that validate: 16 slices of 512 x 512.

Each validation sees all of them, and takes longer than training if they are more.
"""


class Segmentation(NamedTuple):
    """A segmentation network before its first step.

    Attributes:
        loaded: The scans, and the backbone it starts from.
        net: Backbone and head.
        params: Initial parameters.
        batch_stats: Initial BatchNorm statistics.
        key: The run's random key.
    """

    loaded: Loaded
    net: SegmentationNet
    params: Any
    batch_stats: Any
    key: jax.Array


def load_segmentation(
    config: ConfigDict, workdir: Path, mode: str, *, required_by: str = ""
) -> Segmentation:
    """Loads the data and the pretrained backbone, and makes the network.

    Args:
        config: The whole configuration.
        workdir: The run's folder.
        mode: "probe" or "finetune".
        required_by: As for `decide_start`.

    Raises:
        InputError: As `load`, and if no training slice shows a structure.
    """
    check_choice("segmentation.keep", config.segmentation.keep, (LAST, BEST))
    loaded = load(config, workdir, mode, required_by=required_by)
    dataset, split, backbone = loaded.dataset, loaded.split, loaded.backbone
    if config.data.name == "nifti":
        print_notes(missing_masks(dataset.volumes))
    used = {*split.labeled_patients, *split.test_patients, *split.val_patients}
    print_notes(
        unseen_classes(config.data.classes, select(dataset.labels, split.train_slices)),
        cut_masks([each for each in dataset.volumes if each.patient in used]),
        empty_slices(dataset.volumes),
    )
    net = make_segmentation_net(config, scratch=backbone is None)
    key, init_key = downstream_keys(config)
    params, batch_stats = draw_network(
        net,
        init_key,
        size=config.data.size,
        channels=dataset.images.shape[-1],
        backbone=backbone,
    )
    if backbone is not None and config.init.recalibrate:
        batch_stats = measure_statistics(
            config.data,
            net.backbone,
            params,
            batch_stats,
            select(dataset.images, split.pretrain_slices),
            dataset.boxes[split.pretrain_slices],
        )
    return Segmentation(loaded, net, params, batch_stats, key)


def downstream_keys(config: ConfigDict) -> tuple[jax.Array, jax.Array]:
    """Makes the key of order and augmentation, and that of the first weights.

    Each draw of patients has its own, as the paper's runs have. A pretraining, which
    uses no labels, depends on the seed alone.

    Args:
        config: `seed` and `data.draw` are read.
    """
    return make_run_keys(config.seed, draw=config.data.draw)


def labeled_slices(loaded: Loaded, *, patched: bool = False) -> dict[str, np.ndarray]:
    """Takes the training slices.

    Args:
        loaded: The scans.
        patched: Whether patches of them are drawn.

    Returns:
        "image" `[slices, height, width, channels]`, "label" `[slices, height, width]`,
        and for patches "box" `[slices, 4]`.
    """
    slices = loaded.split.train_slices
    images = take_images(loaded.dataset, slices, patched=patched)
    # Whole slices are large: their patches become int32 when they are drawn.
    dtype = None if patched else np.int32
    return {**images, "label": select(loaded.dataset.labels, slices, dtype=dtype)}


def take_images(
    dataset: Dataset, slices: np.ndarray, *, patched: bool
) -> dict[str, np.ndarray]:
    """Takes the "image" of slices, and if patches of them are drawn their "box"."""
    images = {"image": select(dataset.images, slices)}
    return images | ({"box": dataset.boxes[slices]} if patched else {})


def validation_slices(
    dataset: Dataset, slices: np.ndarray, *, whole: bool
) -> np.ndarray:
    """Takes as many validation slices, evenly, as do not slow the training down.

    Args:
        dataset: All slices.
        slices: `[slices]`, the indices of those that do not train.
        whole: Whether they are whole slices. All crops are taken.
    """
    most = max(1, _MOST_VALIDATED_PX // dataset.labels[0].size)
    if not whole or len(slices) <= most:
        return slices
    return slices[np.linspace(0, len(slices) - 1, most).round().astype(int)]


def make_evaluate(
    config: ConfigDict, dataset: Dataset, split: Split, net: SegmentationNet
) -> tuple[Callable[[TrainState], Mapping[str, float]] | None, str]:
    """Makes the validation score, and says in words which checkpoint is kept.

    A single labelled picture trains. No slice is left to validate by then, so that
    there is None, and the last step is kept.

    Args:
        config: The whole configuration.
        dataset: All slices.
        split: Made of it.
        net: Backbone and head.
    """
    slices = validation_slices(
        dataset, split.val_slices, whole=config.data.crop == "whole"
    )
    if not len(slices):
        return None, "the last step is kept, and no labelled slice is left to validate"
    validate = make_validate(
        net,
        *take_own(dataset, slices),
        num_classes=len(config.data.classes),
    )
    others = count(len(slices), "more slice")
    if split.val_patients:
        patients = count(len(split.val_patients), "other patient")
        others = f"{count(len(slices), 'slice')} of {patients}"
    by_keep = {
        LAST: f"the last step is kept, validated on {others}",
        BEST: f"the checkpoint is chosen on {others}",
    }
    return (
        lambda state: validate(
            networks_of_state(config, state.params, state.model_state)
        ),
        by_keep[config.segmentation.keep],
    )


def train_and_score(
    config: ConfigDict,
    folder: Path,
    start: Segmentation,
    task: Task,
    *,
    command: Sequence[str],
) -> None:
    """Trains, and scores the checkpoint that is kept on the test patients.

    `segmentation.keep` says which one that is. Without validation slices it is the last
    one.

    Where other patients than the labelled ones validate, the last and the best
    checkpoint are both scored, so that the effect of choosing is seen.

    Writes evaluation.json and per_volume.csv, if test patients have masks.

    Args:
        config: The whole configuration.
        folder: `<workdir>/<mode>`.
        start: From `load_segmentation`.
        task: What is trained.
        command: The words of the command line.
    """
    loaded, net, classes = start.loaded, start.net, tuple(config.data.classes)
    split, dataset = loaded.split, loaded.dataset
    source = describe_backbone(loaded.backbone)
    evaluate, chosen_by = make_evaluate(config, dataset, split, net)
    keep = LAST if evaluate is None else config.segmentation.keep
    show = None
    if evaluate is not None:
        whole = config.data.crop == "whole"
        slices = validation_slices(dataset, split.val_slices, whole=whole)
        pairs = take_own(dataset, slices)
        show = show_predictions(config, net, *pairs)
    scores_both = evaluate is not None and bool(split.val_patients)
    last, best, record = train_run(
        config,
        folder,
        loaded,
        task,
        trained=sorted(task.rates),
        command=command,
        message=f"{folder.name} from {{origin}} on "
        f"{count(len(split.train_slices), 'slice')} of "
        f"{count(len(split.labeled_patients), 'patient')}, "
        f"{count(task.num_steps, 'step')}; {chosen_by}",
        one_piece=find_one_piece(dataset.volumes, split.labeled_patients, classes),
        evaluate=evaluate,
        show=show,
        wants_best=scores_both or keep == BEST,
    )
    if not split.test_volumes:
        print(
            f"the network is in {folder}; nothing was scored, because no patient with "
            f"a mask was held out: {ways_to_test(dataset.volumes)}"
        )
        return
    states = {LAST: last} if best is None else {LAST: last, BEST: best}
    kept = states.pop(keep)
    networks = networks_of_state(config, kept.params, kept.model_state)
    beside = states if scores_both else {}
    for name, state in beside.items():
        found = networks_of_state(config, state.params, state.model_state)
        networks = {**networks, name: next(iter(found.values()))}
    origin = record.origin
    table = score_run(
        make_predictors(net, networks, batch_size=BATCH_SIZE),
        dataset,
        split.test_volumes,
        folders=[folder],
        classes=classes,
        uses_ground_truth=config.data.crop == "mask_box",
        details={
            "mode": folder.name,
            "initialised_from": source,
            **({} if origin is None else {"pretrained_steps": origin.step}),
            **({} if origin is None else {"pretrained_digest": origin.digest}),
            "labeled_patients": list(split.labeled_patients),
            "test_patients": list(split.test_patients),
            **(
                {"val_patients": list(split.val_patients)} if split.val_patients else {}
            ),
            "kept": keep,
            "scored_step": int(kept.step),
            **{f"{name}_step": int(state.step) for name, state in beside.items()},
        },
    )
    print(table)
    wanted = read_options(config)["largest_component"]
    pieces = choose_components(config, record, wanted)
    if kept_pieces := pieces.describe(classes):
        note = f"these scores count every piece; --mode predict keeps {kept_pieces}, "
        print(for_caller(note + "and --mode evaluate scores that"))
    print(f"the results are in {folder}")
