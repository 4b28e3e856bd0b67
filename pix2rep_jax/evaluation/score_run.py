"""Scores of a run's networks, written beside the run."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pix2rep_jax.data.dataset import Dataset
from pix2rep_jax.evaluation.report import write_evaluation
from pix2rep_jax.evaluation.score_volumes import evaluate_networks

__all__ = ["score_run"]

CHECKPOINTS = ("last", "best")
"""Names of the result network at another checkpoint, where that is scored too."""


def score_run(
    predictors: Mapping[str, Callable[[np.ndarray], np.ndarray]],
    dataset: Dataset,
    volume_indices: Sequence[int],
    *,
    folders: Sequence[Path],
    classes: Sequence[str],
    uses_ground_truth: bool,
    details: Mapping[str, Any],
    finish: Callable[[np.ndarray], np.ndarray] | None = None,
) -> str:
    """Scores a run's networks and writes evaluation.json and per_volume.csv.

    Args:
        predictors: Functions from slices to probabilities by name, as `make_predictors`
            makes them; the run's result comes first.
        dataset: Holds the volumes.
        volume_indices: Which of `dataset.volumes` to score.
        folders: Where the files are written; all of them exist.
        classes: Names of the classes, background first.
        uses_ground_truth: Whether the crop saw the test labels.
        details: More to record at the top of evaluation.json.
        finish: As for `evaluate_volumes`.

    Returns:
        The table to print.

    Raises:
        InputError: If no volume has a mask, or if the files cannot be written.
    """
    scores = evaluate_networks(
        predictors, dataset, volume_indices, classes=classes, finish=finish
    )
    (result, own), *others = scores.items()
    if {name for name, _ in others} - {*CHECKPOINTS}:
        details = {**details, "scored": result}
    tables = [
        write_evaluation(
            folder,
            own,
            others=dict(others),
            classes=classes,
            uses_ground_truth=uses_ground_truth,
            details=details,
        )
        for folder in folders
    ]
    return tables[0]
