"""Measures what a segmenter finds in slices where the expert has none of a structure.

python -m benchmarks.false_slices --workdir RUN [--patients patient002,patient019]

The heart's base is such a place: experts stop there, and what follows looks alike. For
each structure, over the volumes of each phase, the table has the mean Dice, the Dice
with every structure removed from the slices where the expert has none of it, and the
pixels that were removed, as a share of the expert's. Without `--patients` the run's
test patients are read.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax import Segmenter
from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.data.slices.volume import read_expert
from pix2rep_jax.evaluation.dice import dice_per_class
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runs.run_record import read_run


class FalseSlices(NamedTuple):
    """One volume's `[num_classes - 1]` figures; NaN where the expert has no structure.

    Attributes:
        dice: Dice of each structure.
        within: The same, without what lies in slices where the expert has none of it.
        removed: Pixels of these slices over the expert's pixels of the structure.
    """

    dice: np.ndarray
    within: np.ndarray
    removed: np.ndarray


def measure(labels: np.ndarray, expert: np.ndarray, *, num_classes: int) -> FalseSlices:
    """Measures one volume.

    Args:
        labels: `[rows, columns, slices]` int, the segmenter's classes.
        expert: The expert's, of the same shape. `UNLABELLED` counts nowhere.
        num_classes: Number of classes, background included.
    """
    found = np.full((3, num_classes - 1), np.nan)
    known = expert != UNLABELLED
    for index in range(1, num_classes):
        true, predicted = expert == index, (labels == index) & known
        if true.any():
            inside = predicted & true.any((0, 1))
            removed = (predicted & ~inside).sum() / true.sum()
            found[:, index - 1] = _dice(predicted, true), _dice(inside, true), removed
    return FalseSlices(*found)


def _dice(predicted: np.ndarray, true: np.ndarray) -> float:
    pair = predicted.astype(np.uint8), true.astype(np.uint8)
    return float(dice_per_class(*pair, num_classes=2)[1])


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a line for each phase and structure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--patients", default="", help="such as patient002,patient019")
    flags = parser.parse_args(argv)
    run = flags.workdir / "finetune"
    data, segmenter = ConfigDict(read_config(run)["data"]), Segmenter.load(run)
    chosen = flags.patients.split(",") if flags.patients else ()
    patients = chosen or read_run(run).split.test_patients
    classes = segmenter.classes
    found: dict[str, list[FalseSlices]] = defaultdict(list)
    for record in load_dataset(data).volumes:
        if record.patient in patients and record.label_path is not None:
            expert = read_expert(record, num_classes=len(classes))
            channels = record.image_paths if record.more_channels else record.image_path
            labels = segmenter.predict(channels)
            if record.frame is not None:
                labels = labels[..., record.frame]
            found[record.phase].append(
                measure(labels, expert, num_classes=len(classes))
            )
    print("phase  structure   Dice  without false slices  false slices, % of volume")
    for phase, volumes in sorted(found.items()):
        means = (100 * np.nanmean(figure, 0) for figure in zip(*volumes, strict=True))
        for name, *figures in zip(classes[1:], *means, strict=True):
            dice, within, removed = (f"{figure:.1f}" for figure in figures)
            print(f"{phase:5}  {name:9}  {dice:>5}  {within:>20}  {removed:>25}")


if __name__ == "__main__":
    main()
