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
from pix2rep_jax.runtime.progress_bar import open_progress_bar

__all__ = ["EmbeddedScans", "EmbeddedSlices", "embed_middle_slices", "embed_scans"]


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


class EmbeddedScans(NamedTuple):
    """A slice of one patient, and scans of others, with embeddings of all pixels.

    Attributes:
        images: `[height, width]` of the first, `[slices, height, width]` of the others,
            in [0, 1], the first channel.
        embeddings: The same with a last axis of values.
        labels: Classes, in the shape of the images; None without test patients.
        names: For each patient the name of the volume.
    """

    images: list[np.ndarray]
    embeddings: list[np.ndarray]
    labels: list[np.ndarray] | None
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
    volumes, labeled = _find_volumes(dataset, split)
    volumes = selection.spread(volumes, number)
    chosen = [selection.middle_slice(dataset, volume) for volume in volumes]
    images, labels, _ = selection.take_windows(dataset, chosen, side=side)
    return EmbeddedSlices(
        images=images[..., 0],
        embeddings=embed(images),
        labels=np.where(labels == UNLABELLED, 0, labels) if labeled else None,
        names=[volume_title(dataset.volumes[volume]) for volume in volumes],
    )


def embed_scans(
    dataset: Dataset,
    split: Split,
    embed: Callable[[np.ndarray], np.ndarray],
    *,
    side: int,
    number: int = 3,
    most: int = 12,
) -> EmbeddedScans:
    """Embeds the middle slice of the first test patient, and scans of the next ones.

    Args:
        dataset: As for `embed_middle_slices`, like the others.
        split: Names the test patients.
        embed: Embeds images.
        side: Rows and columns of what is shown, px.
        number: Number of patients.
        most: Slices of a scan; of more, so many are taken evenly.

    Raises:
        InputError: If there are fewer than two patients.
    """
    volumes, labeled = _find_volumes(dataset, split)
    volumes = volumes[:number]
    query, *others = volumes
    chosen = [[selection.middle_slice(dataset, query)]]
    for volume in others:
        own = np.flatnonzero(dataset.volume_index == volume).tolist()
        chosen.append(selection.spread(own, most))
    images, embeddings, labels = [], [], []
    total = sum(map(len, chosen))
    with open_progress_bar(
        total, description="compare", unit="slice", delay_s=5
    ) as bar:
        for rows in chosen:
            taken, label, _ = selection.take_windows(dataset, rows, side=side)
            found = []
            for image in taken:  # one at a time, which is compiled once
                found.append(embed(image[None])[0])
                bar.update()
            images.append(taken[..., 0])
            embeddings.append(np.stack(found))
            labels.append(np.where(label == UNLABELLED, 0, label))
    for each in (images, embeddings, labels):
        each[0] = each[0][0]
    return EmbeddedScans(
        images,
        embeddings,
        labels if labeled else None,
        [volume_title(dataset.volumes[volume]) for volume in volumes],
    )


def _find_volumes(dataset: Dataset, split: Split) -> tuple[list[int], bool]:
    """Finds the first volume of each test patient, and whether these have masks."""
    patients = split.test_patients or split.pretrain_patients
    labeled = bool(split.test_patients)
    volumes = selection.first_volumes(dataset, patients, labeled=labeled)
    if len(volumes) < 2:
        raise InputError(
            "there are fewer than two patients to compare: hold more out by "
            "--config.data.holdout_per_group"
        )
    return volumes, labeled
