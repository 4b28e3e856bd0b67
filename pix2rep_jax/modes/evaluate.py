"""--mode evaluate: Dice and distances of the test patients, as every run reports."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pix2rep_jax.data.dataset import PREPARATION, load_dataset
from pix2rep_jax.data.splits import check_unseen, make_split
from pix2rep_jax.errors import InputError
from pix2rep_jax.evaluation.report import write_evaluation
from pix2rep_jax.evaluation.score_volumes import evaluate_networks
from pix2rep_jax.inference.segmenter import find_runs, load_predictors
from pix2rep_jax.runs.checkpoint_reader import result_step, unfinished
from pix2rep_jax.runs.manifest import check_place, make_folder, read_config

__all__ = ["check_same_data", "run"]

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
