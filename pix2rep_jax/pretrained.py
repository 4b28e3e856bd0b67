"""A pretrained backbone for a new network: the parts that its run has trained."""

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError
from pix2rep_jax.training.checkpoints import restore_params
from pix2rep_jax.training.parts import take_parts
from pix2rep_jax.training.run_folder import read_config, read_trained

__all__ = ["other_data", "read_backbone"]

_PREPARATION = ("crop", "spacing_mm", "crop_px", "size", "percentiles")
"""Of `data`: what decides how large, how sharp and how bright anatomy is."""


def read_backbone(
    config: ConfigDict, run: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads what a pretraining run has trained of the backbone.

    Args:
        config: Of the network that is to start from it; `model` is read.
        run: The folder of the pretraining run.

    Returns:
        Parameters and BatchNorm statistics by dotted name, for `put_parts`: either
        "backbone", or blocks of it such as "backbone.encode_0".

    Raises:
        InputError: If that run's network has another shape, or there is no checkpoint
            that can be read.
    """
    check_same_network(config, read_config(run), run)
    names = [name for name in read_trained(run) if name.startswith("backbone")]
    params, batch_stats = restore_params(run)
    # Upsampling has no statistics.
    measured = [
        name
        for name in names
        if name == "backbone"
        or name.removeprefix("backbone.") in batch_stats["backbone"]
    ]
    return take_parts(params, names), take_parts(batch_stats, measured)


def check_same_network(config: ConfigDict, pretrained: Any, run: Path) -> None:
    """Checks that a pretraining run has the backbone that is to start from it.

    Raises:
        InputError: If it has not; names the first difference and the mend.
    """
    for name in ("channels", "num_features", "last_hidden"):
        theirs, ours = pretrained["model"][name], config.model[name]
        listed = list(ours) if isinstance(ours, tuple) else ours
        if theirs != listed:
            written = ",".join(map(str, theirs)) if name == "channels" else theirs
            raise InputError(
                f"the network in {run} was pretrained with model.{name}={theirs}, but "
                f"this configuration asks for {listed}: add "
                f"--config.model.{name}={written}, or name another run by "
                "--config.init.checkpoint"
            )


def other_data(config: ConfigDict, run: Path) -> str:
    """Says how a pretraining run's images were prepared otherwise than these.

    A network may well be meant to go on with others; it is at home on its own.

    Args:
        config: Of what is to start from it; `data` is read.
        run: The folder of the pretraining run.

    Returns:
        A sentence; empty where they were prepared alike.
    """
    theirs, ours = read_config(run)["data"], json.loads(config.data.to_json())
    other = [name for name in _PREPARATION if theirs[name] != ours[name]]
    if not other:
        return ""
    shown = ", ".join(f"data.{name}={theirs[name]}" for name in other)
    return (
        f"note: the network in {run} was pretrained with {shown}, and this run has "
        + ", ".join(str(ours[name]) for name in other)
        + ": set the same, unless another preparation is what you want"
    )
