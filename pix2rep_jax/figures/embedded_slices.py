"""Slices of a few patients with the embeddings that a pretraining run gives them."""

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data.dataset import Dataset
from pix2rep_jax.data.splits import Split
from pix2rep_jax.errors import InputError
from pix2rep_jax.figures import selection
from pix2rep_jax.figures.panels import name_of
from pix2rep_jax.methods.pretraining import method_name, pix2rep
from pix2rep_jax.runs.checkpoint_reader import restore_params
from pix2rep_jax.runs.manifest import read_config

__all__ = ["Compared", "compare_slices", "embed"]


class Compared(NamedTuple):
    """Slices and their pixels' embeddings.

    Attributes:
        images: `[slices, height, width]` in [0, 1].
        embeddings: `[slices, height, width, d]`.
        labels: `[slices, height, width]` classes, or None without test patients.
        names: Whose they are.
    """

    images: np.ndarray
    embeddings: np.ndarray
    labels: np.ndarray | None
    names: list[str]


def compare_slices(
    dataset: Dataset, split: Split, run: Path, *, number: int = 3
) -> Compared:
    """Embeds the middle slices of a few test patients.

    Args:
        dataset: All slices.
        split: Without test patients, those of the pretraining are taken.
        run: The pretraining run.
        number: Of patients.

    Raises:
        InputError: If there are fewer than two.
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
    chosen = [selection.middle_slice(dataset, v) for v in volumes]
    return Compared(
        images=dataset.images[chosen],
        embeddings=embed(run, dataset.images[chosen]),
        labels=dataset.labels[chosen] if labeled else None,
        names=[name_of(dataset.volumes[v]) for v in volumes],
    )


def embed(run: Path, images: np.ndarray) -> np.ndarray:
    """Embeds all pixels of `[batch, height, width]` images by a pretraining run.

    Returns:
        `[batch, height, width, d]`, (g∘f)(x).

    Raises:
        InputError: If the run is of a method without embeddings of pixels.
    """
    config = ConfigDict(read_config(run))
    if method_name(config) != "pix2rep":
        raise InputError(
            f"{run} was pretrained by {method_name(config)}, which embeds no pixels: "
            "name a run of pretrain.method=pix2rep by --config.init.checkpoint"
        )
    net = pix2rep.make_net(config)
    params, batch_stats = restore_params(run)
    apply = jax.jit(functools.partial(net.apply, train=False))
    variables = {"params": params, "batch_stats": batch_stats}
    return np.asarray(apply(variables, images[..., None]), np.float32)
