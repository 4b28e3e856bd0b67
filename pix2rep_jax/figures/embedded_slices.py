"""Slices of a few patients with the embeddings that a network gives them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pix2rep_jax.data.dataset import Dataset
from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.data.split_record import Split
from pix2rep_jax.errors import InputError
from pix2rep_jax.figures import selection
from pix2rep_jax.figures.panels import volume_title

__all__ = ["EmbeddedSlices", "embed_middle_slices"]


class EmbeddedSlices(NamedTuple):
    """Slices, one per patient, with the embeddings of their pixels.

    Attributes:
        images: `[slices, height, width]` in [0, 1], the first channel.
        embeddings: `[slices, height, width, d]`.
        labels: `[slices, height, width]` classes, or None without test patients.
        names: For each slice the name of its volume.
    """

    images: np.ndarray
    embeddings: np.ndarray
    labels: np.ndarray | None
    names: list[str]


def embed_middle_slices(
    dataset: Dataset,
    split: Split,
    embed: Callable[[np.ndarray], np.ndarray],
    *,
    side: int,
    number: int = 3,
) -> EmbeddedSlices:
    """Embeds the middle slices of a few test patients.

    Args:
        dataset: The data set that holds the patients' slices.
        split: Names the test patients. Without any, patients of the pretraining are
            shown.
        embed: Maps images `[slices, height, width, channels]` to embeddings
            `[slices, height, width, d]`.
        side: Rows and columns of what is shown, px: those of the network's images.
        number: Number of patients.

    Raises:
        InputError: If there are fewer than two patients.
    """
    patients = split.test_patients or split.pretrain_patients
    labeled = bool(split.test_patients)
    volumes = selection.first_volumes(dataset, patients, labeled=labeled)
    if len(volumes) < 2:
        raise InputError(
            "there are fewer than two patients to compare: hold more out by "
            "data.holdout_per_group"
        )
    volumes = selection.spread(volumes, number)
    chosen = [selection.middle_slice(dataset, volume) for volume in volumes]
    images, labels, _ = selection.take_windows(dataset, chosen, side=side)
    return EmbeddedSlices(
        images=images[..., 0],
        embeddings=embed(images),
        labels=np.where(labels == UNLABELLED, 0, labels) if labeled else None,
        names=[volume_title(dataset.volumes[volume]) for volume in volumes],
    )
