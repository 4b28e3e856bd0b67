"""The networks of a segmentation run as functions from slices to probabilities."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.inference.postprocess import (
    average_motions,
    choose_motions,
    known_motions,
)
from pix2rep_jax.inference.predict import BATCH_SIZE, make_predictors
from pix2rep_jax.methods.downstream.teacher import networks_of_state
from pix2rep_jax.models.build import make_segmentation_net
from pix2rep_jax.runs.checkpoint_reader import restore_model
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runs.run_record import RunRecord, read_run

__all__ = ["load_predict", "load_predictors", "restore_predictors"]


def load_predict(
    run: Path, *, mirror: bool | str = False, keep: str = ""
) -> Callable[[np.ndarray], np.ndarray]:
    """Loads the result of a segmentation run.

    Args:
        run: The folder of a finetune or probe run.
        mirror: As `predict.mirror` of the configuration.
        keep: "last" or "best", the checkpoint; "" is what the run keeps.

    Returns:
        A function from slices `[slices, height, width]` to probabilities
        `[slices, height, width, num_classes]`.
    """
    return next(iter(load_predictors(run, mirror=mirror, keep=keep).values()))


def load_predictors(
    run: Path,
    *,
    batch_size: int = BATCH_SIZE,
    mirror: bool | str = False,
    keep: str = "",
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Loads all networks of a segmentation run, from one checkpoint.

    Args:
        run: The folder of a finetune or probe run.
        batch_size: Number of slices predicted at once.
        mirror: As `predict.mirror` of the configuration.
        keep: As for `load_predict`.

    Returns:
        Functions like that of `load_predict`, by the names that
        `teacher.networks_of_state` gives. The run's result comes first.
    """
    return restore_predictors(
        run,
        read_config(run),
        read_run(run),
        batch_size=batch_size,
        mirror=mirror,
        keep=keep,
    )


def restore_predictors(
    run: Path,
    config: Mapping[str, Any],
    record: RunRecord,
    *,
    batch_size: int = BATCH_SIZE,
    mirror: bool | str = False,
    keep: str = "",
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Loads the networks of a run whose configuration and record have been read.

    Args:
        run: The run's folder.
        config: Its whole configuration, from `read_config`.
        record: What its run.json holds.
        batch_size: As for `load_predictors`.
        mirror: As for `load_predictors`.
        keep: As for `load_predict`.

    Returns:
        As `load_predictors`.
    """
    config = ConfigDict(config)
    net = make_segmentation_net(config, scratch=record.origin is None)
    keep = keep or config["segmentation"]["keep"]
    networks = networks_of_state(config, *restore_model(run, keep=keep))
    predictors = make_predictors(net, networks, batch_size=batch_size)
    motions = choose_motions(known_motions(config, run.name), mirror)
    return {
        name: average_motions(predict, motions) for name, predict in predictors.items()
    }
