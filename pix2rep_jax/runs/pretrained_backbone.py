"""A pretrained backbone for a new network: the parts that its run has trained."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data.dataset import PREPARATION
from pix2rep_jax.errors import InputError
from pix2rep_jax.models.param_parts import take_parts
from pix2rep_jax.runs.checkpoint_reader import (
    has_checkpoint,
    newest_step,
    restore_params,
)
from pix2rep_jax.runs.manifest import read_config, read_trained
from pix2rep_jax.runtime.atomic_file import read_object, write_whole

__all__ = [
    "Backbone",
    "Origin",
    "keep_origin",
    "neutral_places",
    "other_data",
    "read_backbone",
]

_FILE = "origin.json"


class Origin(NamedTuple):
    """Where a backbone comes from.

    Attributes:
        run: The folder of the pretraining run.
        step: At which it was read.
        digest: Of every bit of it.
    """

    run: str
    step: int
    digest: str


class Backbone(NamedTuple):
    """What a pretraining run has trained of the backbone.

    Attributes:
        params: By dotted name, for `put_parts`: either "backbone", or blocks of it such
            as "backbone.encode_0".
        batch_stats: BatchNorm's statistics, likewise.
        origin: Where they come from.
    """

    params: dict[str, Any]
    batch_stats: dict[str, Any]
    origin: Origin


def read_backbone(config: ConfigDict, run: Path) -> Backbone:
    """Reads what a pretraining run has trained of the backbone.

    Args:
        config: Of the network that is to start from it; `model` is read.
        run: The folder of the pretraining run.

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
    params, batch_stats = take_parts(params, names), take_parts(batch_stats, measured)
    origin = Origin(str(run), newest_step(run), digest((params, batch_stats)))
    return Backbone(params, batch_stats, origin)


def keep_origin(folder: Path, origin: Origin | None) -> Origin | None:
    """Records where a run starts from, or checks that it goes on from the same.

    Args:
        folder: Of the run.
        origin: What it would start from now; None for random weights.

    Returns:
        What it did start from; None for random weights, and where nobody knows, as the
        run is older than such records.

    Raises:
        InputError: If it has come as far as a checkpoint from another backbone (a
            pretraining may have gone on since, or have been run anew), or if the record
            of it is damaged.
    """
    path = folder / _FILE
    if origin is None:
        if theirs := read_object(path):
            raise InputError(
                f"the run in {folder} started from the network of {theirs.get('run')}: "
                "name it by --config.init.checkpoint to go on, or another --workdir to "
                "start from random weights"
            )
        return None
    if not has_checkpoint(folder):
        if jax.process_index() == 0:
            write_whole(path, json.dumps(origin._asdict(), indent=2) + "\n")
        return origin
    try:
        theirs = Origin(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} cannot be read ({error}), so it is unknown which network the run "
            f"in {folder} started from: bring it back from a copy, or delete it to go "
            "on without that check"
        ) from error
    if theirs.digest != origin.digest:
        raise InputError(
            f"the run in {folder} started from the network of {theirs.run} at step "
            f"{theirs.step}, and that of {origin.run} at step {origin.step} has other "
            "values: name another --workdir to start from it (with --config.init."
            f"checkpoint={Path(origin.run).parent}), or delete {folder}"
        )
    return theirs


def neutral_places(folder: Path) -> tuple[str, ...]:
    """Names the setting of a run that `keep_origin` checks better than a comparison.

    Where a backbone lies is nothing to a run that has a checkpoint and a record of the
    values it came from: it may have been moved, with the run or without it.

    Args:
        folder: Of a run that starts from a backbone, whether it exists or not.
    """
    known = has_checkpoint(folder) and (folder / _FILE).is_file()
    return ("init.checkpoint",) if known else ()


def digest(tree: Mapping[str, Any] | tuple) -> str:
    """Hashes the names and the bits of arrays."""
    result = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        result.update(jax.tree_util.keystr(path).encode())
        result.update(np.ascontiguousarray(leaf).tobytes())
    return result.hexdigest()[:16]


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
    other = [name for name in PREPARATION if theirs[name] != ours[name]]
    if not other:
        return ""
    shown = ", ".join(f"data.{name}={theirs[name]}" for name in other)
    return (
        f"note: the network in {run} was pretrained with {shown}, and this run has "
        + ", ".join(str(ours[name]) for name in other)
        + ": set the same, unless another preparation is what you want"
    )
