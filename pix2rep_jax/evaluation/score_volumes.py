"""Scores volumes of a data set: Dice and distances, as every run reports them."""

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pix2rep_jax.data.dataset import Dataset, take_own
from pix2rep_jax.data.held_out import ways_to_test
from pix2rep_jax.data.slices.volume import read_expert
from pix2rep_jax.errors import InputError
from pix2rep_jax.evaluation.dice import dice_per_class, soft_dice_per_class
from pix2rep_jax.evaluation.surface_distance import surface_distances
from pix2rep_jax.evaluation.volume_score import VolumeScore
from pix2rep_jax.inference.predict import predict_volume

__all__ = ["evaluate_networks", "evaluate_volumes"]

_LOG = logging.getLogger(__name__)


def evaluate_networks(
    predictors: Mapping[str, Callable[[np.ndarray], np.ndarray]],
    dataset: Dataset,
    volume_indices: Sequence[int],
    *,
    classes: Sequence[str],
    finish: Callable[[np.ndarray], np.ndarray] | None = None,
) -> dict[str, list[VolumeScore]]:
    """Scores several networks by `evaluate_volumes`; predictors and results by name."""
    return {
        name: evaluate_volumes(
            predict, dataset, volume_indices, classes=classes, finish=finish
        )
        for name, predict in predictors.items()
    }


def evaluate_volumes(
    predict: Callable[[np.ndarray], np.ndarray],
    dataset: Dataset,
    volume_indices: Sequence[int],
    *,
    classes: Sequence[str],
    finish: Callable[[np.ndarray], np.ndarray] | None = None,
) -> list[VolumeScore]:
    """Scores volumes on the scan's own grid and on the network's.

    At native resolution the prediction is brought back to the scan's grid and compared
    with the expert's mask as it is in its file. So everything counts, also what lies
    outside the network's field of view and slices without a structure. Distances are
    measured there, in mm. Soft Dice, the released code's score, is measured on the
    network's grid.

    Args:
        predict: Maps slices `[slices, height, width, channels]` to probabilities
            `[slices, height, width, num_classes]`.
        dataset: Holds the volumes.
        volume_indices: Indices into `dataset.volumes`. Volumes without a mask or
            without a slice are not scored.
        classes: Names of the classes, background first.
        finish: Changes a mask `[rows, columns, slices]` on the scan's grid before it is
            scored there.

    Returns:
        Two scores per volume, native and network.

    Raises:
        InputError: If none of the volumes has a mask.
    """
    scores, num_classes = [], len(classes)
    for index in volume_indices:
        record = dataset.volumes[index]
        if record.label_path is None:
            continue
        if not (dataset.volume_index == index).any():  # data.crop=mask_box
            _LOG.warning("%s is not scored: its mask is empty", record.volume_id)
            continue
        ids = (record.volume_id, record.patient, record.phase, record.group)
        probabilities, native = predict_volume(predict, dataset, index)
        native = native if finish is None else finish(native)
        expert = read_expert(record, num_classes=num_classes)
        distances = surface_distances(
            native, expert, num_classes=num_classes, spacing_mm=record.spacing_mm
        )
        _, label = take_own(dataset, np.flatnonzero(dataset.volume_index == index))
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
            "no test patient has an expert's mask to compare with: "
            + ways_to_test(dataset.volumes)
        )
    return scores
