"""--mode probe: train a linear head on the frozen backbone's features."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.inference.features import (
    compute_features,
    feature_budget,
    feature_size,
)
from pix2rep_jax.losses.segmentation import loss_options
from pix2rep_jax.methods.downstream.augmentation import patch_options, probing_options
from pix2rep_jax.methods.downstream.probe import make_loss
from pix2rep_jax.modes.loaded_run import print_notes
from pix2rep_jax.modes.train_segmenter import (
    Segmentation,
    labeled_slices,
    load_segmentation,
    train_and_score,
)
from pix2rep_jax.runs.plan_file import settle
from pix2rep_jax.runtime.command_line import next_step
from pix2rep_jax.training.optimizer import count_steps
from pix2rep_jax.training.sharding import check_batch_size, make_mesh
from pix2rep_jax.training.task import Task

__all__ = ["run"]


def run(config: ConfigDict, workdir: Path, *, command: Sequence[str] = ()) -> None:
    """Probes, and scores the checkpoint that `segmentation.keep` names.

    Args:
        config: The whole configuration.
        workdir: The run's folder; this mode's part is `<workdir>/probe`.
        command: The words of the command line, program first.

    Raises:
        InputError: If the data, the configuration or the pretrained run cannot be
            used.
    """
    recipe, folder = config.probe, Path(workdir) / "probe"
    check_batch_size(recipe.batch_size, make_mesh(), name="probe.batch_size")
    config = settle(config, workdir, "probe")
    start = load_segmentation(config, workdir, "probe", required_by="--mode probe")
    changes = probing_options(config.augment)
    # The middle of slices is small enough to be seen at once, as when it is scored.
    patch = patch_options(config.data) if config.data.crop == "whole" else None
    if patch is not None:
        data = labeled_slices(start.loaded, patched=True)
    elif changes["intensity"] is None:
        budget = feature_budget(
            recipe.feature_budget_mb,
            config.data.device_budget_mb,
            platform=jax.default_backend(),
        )
        data = frozen_data(start, budget_mb=budget)
    else:
        data = labeled_slices(start.loaded)
        print_notes(
            f"note: augment.recipe is {config.augment.recipe!r}, so the slices change "
            "in every step; their features are computed anew each time, which is slower"
        )
    task = Task(
        loss_fn=make_loss(
            start.net, **loss_options(config.segmentation), **changes, patch=patch
        ),
        params=start.params,
        batch_stats=start.batch_stats,
        extra={},
        data=data,
        batch_size=recipe.batch_size,
        rates={"head": recipe.learning_rate},
        recipe=recipe,
        num_steps=count_steps(recipe, num_samples=len(data["label"])),
        key=start.key,
    )
    train_and_score(config, folder, start, task, command=command)
    following = next_step(command, mode="finetune", workdir=str(workdir))
    print(f"next: {following}")


def frozen_data(start: Segmentation, *, budget_mb: float) -> dict[str, np.ndarray]:
    """Computes the training slices' features once, if they fit the budget.

    Args:
        start: The network and its training slices.
        budget_mb: Memory for features and labels (MB).

    Returns:
        "label" with "features", or with "image" if features would not fit.
    """
    data = labeled_slices(start.loaded)
    images = data["image"]
    if feature_size(start.net, images) + data["label"].nbytes / 1e6 > budget_mb:
        return data
    variables = {"params": start.params, "batch_stats": start.batch_stats}
    features = compute_features(start.net, variables, images)
    return {"features": features, "label": data["label"]}
