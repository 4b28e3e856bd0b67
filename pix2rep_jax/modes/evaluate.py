"""--mode evaluate: Dice and distances of the test patients, as every run reports."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data import nifti
from pix2rep_jax.data.dataset import PREPARATION, Dataset, load_dataset
from pix2rep_jax.data.splits import check_unseen, make_split
from pix2rep_jax.distances import surface_distances
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference import predict_volume
from pix2rep_jax.metrics import dice_per_class, soft_dice_per_class
from pix2rep_jax.report import write_evaluation
from pix2rep_jax.scores import VolumeScore
from pix2rep_jax.segmenter import find_runs, load_predictors
from pix2rep_jax.training.run_folder import check_place, make_folder, read_config
from pix2rep_jax.training.stored import result_step, unfinished

__all__ = ["check_same_data", "evaluate_networks", "evaluate_volumes", "run"]

ELSEWHERE = ("root", "cache_dir", "device_budget_mb")
"""Of `data`: what says where things lie rather than what they are."""


def run(config: ConfigDict, workdir: Path) -> None:
    """Scores the networks of a workdir, or of `init.checkpoint`, on the test patients.

    Writes `<workdir>/evaluate/MODE/` for each of finetune and probe that ran, and the
    files of the first of them in `<workdir>/evaluate` too. `data.name` and `data.root`
    may name other scans than the network was trained on.

    Args:
        config: The whole configuration; `data` and `init.checkpoint` are read.
        workdir: The run's folder.

    Raises:
        InputError: If there is no network, it expects other data or was trained on a
            test patient, or none of these has a mask.
    """
    workdir, classes = Path(workdir), tuple(config.data.classes)
    check_place(workdir)
    runs = find_runs(workdir, elsewhere=config.init.checkpoint)
    for folder in runs:
        check_same_data(config.data, read_config(folder)["data"], folder)
    dataset = load_dataset(config.data)
    split = make_split(dataset, config.data, draw_labeled=False)
    for folder in runs:
        check_unseen(split, folder)
        if note := unfinished(folder):
            print(note, file=sys.stderr)
    labelled = [each for each in dataset.volumes if each.label_path is not None]
    print(
        f"scoring {len(split.test_volumes)} test volumes of the {len(labelled)} that "
        "have a mask (data.holdout_per_group says how many patients are held out)"
    )
    output = workdir / "evaluate"
    for folder in reversed(runs):  # the preferred one comes last, under the eyes
        scores = evaluate_networks(
            load_predictors(folder), dataset, split.test_volumes, classes=classes
        )
        (result, own), *others = scores.items()
        best_step = result_step(folder)
        targets = [output / folder.name]
        if folder == runs[0]:
            targets.append(output)
        for target in targets:
            make_folder(target)
            table = write_evaluation(
                target,
                own,
                others=dict(others),
                classes=classes,
                uses_ground_truth=config.data.crop == "mask_box",
                details={
                    "mode": folder.name,
                    **({"scored": result} if others else {}),
                    "run": str(folder),
                    "best_step": best_step,
                    "data": config.data.root or config.data.name,
                    "test_patients": list(split.test_patients),
                },
            )
        print(f"{folder.name}: {table}\n")
    print(f"the results are in {output}")


def evaluate_networks(
    predictors: Mapping[str, Callable[[np.ndarray], np.ndarray]],
    dataset: Dataset,
    volume_indices: Sequence[int],
    *,
    classes: Sequence[str],
) -> dict[str, list[VolumeScore]]:
    """Scores each of a run's networks as `evaluate_volumes` does, under its name."""
    return {
        name: evaluate_volumes(predict, dataset, volume_indices, classes=classes)
        for name, predict in predictors.items()
    }


def evaluate_volumes(
    predict: Callable[[np.ndarray], np.ndarray],
    dataset: Dataset,
    volume_indices: Sequence[int],
    *,
    classes: Sequence[str],
) -> list[VolumeScore]:
    """Scores volumes on the scan's own grid and on the network's.

    At native resolution the prediction is brought back to the scan's grid and compared
    with the expert's mask as it is in its file, so everything counts: what lies
    outside the network's field of view, and slices without a structure. Distances are
    measured there, in mm; soft Dice, the released code's score, on the network's grid.

    Args:
        predict: Maps slices `[slices, height, width]` to probabilities
            `[slices, height, width, num_classes]`.
        dataset: Holds the volumes.
        volume_indices: Which of `dataset.volumes` to score; those without a mask, or
            without a slice, are left out.
        classes: Names of the classes, background first.

    Returns:
        Two scores a volume, native and network.

    Raises:
        InputError: If none of the volumes has a mask.
    """
    scores, num_classes = [], len(classes)
    for index in volume_indices:
        record = dataset.volumes[index]
        if record.label_path is None:
            continue
        if not (dataset.volume_index == index).any():  # data.crop=mask_box
            print(f"{record.volume_id} is not scored: its mask is empty")
            continue
        ids = (record.volume_id, record.patient, record.phase, record.group)
        probabilities, native = predict_volume(predict, dataset, index)
        expert = nifti.read_label(
            record.label_path, shape=record.shape, num_classes=num_classes
        )
        distances = surface_distances(
            native, expert, num_classes=num_classes, spacing_mm=record.spacing_mm
        )
        label = dataset.labels[dataset.volume_index == index]
        scores += [
            VolumeScore(
                *ids,
                resolution="native",
                dice=dice_per_class(native, expert, num_classes=num_classes),
                hd95_mm=distances.hd95_mm,
                assd_mm=distances.assd_mm,
            ),
            VolumeScore(
                *ids,
                resolution="network",
                dice=dice_per_class(
                    probabilities.argmax(-1), label, num_classes=num_classes
                ),
                soft_dice=soft_dice_per_class(probabilities, label),
            ),
        ]
    if not scores:
        raise InputError(
            "no test patient has an expert's mask to compare with: hold some that have "
            "one out by data.holdout_per_group, or add their masks"
        )
    return scores


def check_same_data(
    data: ConfigDict, trained_on: Mapping[str, Any], folder: Path
) -> None:
    """Checks that a network can be scored on this data.

    Of the scans it was trained on, the split must be the run's as well, so that no
    training patient is tested.

    Args:
        data: Of the configuration.
        trained_on: `data` of the run's own configuration.
        folder: The run.

    Raises:
        InputError: If a setting differs; names it and both values.
    """
    same_scans = all(data[name] == trained_on[name] for name in ("name", "root"))
    names = [n for n in data if n not in ELSEWHERE]
    if not same_scans:  # what the network was trained to expect, whatever the scans
        names = [*PREPARATION, "classes"]
    for name in names:
        ours, theirs = _plain(data[name]), _plain(trained_on.get(name))
        if ours != theirs:
            raise InputError(
                f"data.{name} is {ours}, but the network in {folder} was trained with "
                f"{theirs}: use the run's own setting"
            )


def _plain(value: Any) -> Any:
    """A setting as JSON would hold it."""
    return list(value) if isinstance(value, tuple | list) else value
