"""A trained network for a new one to start from: the parts that its run has trained."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError
from pix2rep_jax.methods.downstream.teacher import networks_of_state
from pix2rep_jax.models.param_parts import take_parts
from pix2rep_jax.runs.checkpoint_reader import restore_model, restore_params
from pix2rep_jax.runs.checkpoint_steps import newest_step, result_step
from pix2rep_jax.runs.dependencies import settings_of_images
from pix2rep_jax.runs.find_weights import hub_name
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runs.run_record import Origin, read_run
from pix2rep_jax.runs.weights_file import is_weights

__all__ = [
    "TrainedBackbone",
    "describe_backbone",
    "digest",
    "list_trained",
    "other_images_note",
    "read_backbone",
]


class TrainedBackbone(NamedTuple):
    """What a pretraining run has trained of the backbone, or a fine-tuning of it all.

    Attributes:
        params: By dotted name, as `put_parts` takes them: either "backbone", or blocks
            of it such as "backbone.encode_0". Of a fine-tuning "head" too.
        batch_stats: BatchNorm's statistics, by the same names.
        origin: The run and the step that they come from.
    """

    params: dict[str, Any]
    batch_stats: dict[str, Any]
    origin: Origin


def read_backbone(
    model: ConfigDict, run: Path, *, named: str = "", classes: Sequence[str] = ()
) -> TrainedBackbone:
    """Reads what a run has trained, for a network that is to start from it.

    Args:
        model: The `model` section of the network that is to start from it.
        run: The folder of a pretraining run, or its file of weights; or the folder of a
            fine-tuning, whose head is read too.
        named: The setting `init.checkpoint`, for the record of where weights came from.
        classes: Names of the new network's classes; needed for a fine-tuning.

    Raises:
        InputError: If that run's network has another shape or other classes, or if no
            checkpoint can be read.
    """
    config = read_config(run)
    check_same_network(model, config, run)
    if run.name == "finetune":
        check_same_classes(classes, config["data"]["classes"], run)
        return _read_segmenter(ConfigDict(config), run)
    names = [name for name in read_run(run).trained if name.startswith("backbone")]
    params, batch_stats = restore_params(run)
    # Upsampling has no statistics.
    measured = [
        name
        for name in names
        if name == "backbone"
        or name.removeprefix("backbone.") in batch_stats["backbone"]
    ]
    params, batch_stats = take_parts(params, names), take_parts(batch_stats, measured)
    weights = hub_name(named) or str(run) if is_weights(run) else ""
    hashed = digest((params, batch_stats))
    origin = Origin(str(run), newest_step(run), hashed, weights)
    return TrainedBackbone(params, batch_stats, origin)


def _read_segmenter(config: ConfigDict, run: Path) -> TrainedBackbone:
    """Reads the network that is the result of a fine-tuning."""
    keep = config.segmentation.keep
    networks = networks_of_state(config, *restore_model(run, keep=keep))
    found = next(iter(networks.values()))
    parts = dict(found["params"]), dict(found["batch_stats"])
    step = result_step(run, keep=keep)
    return TrainedBackbone(*parts, Origin(str(run), step, digest(parts)))


def check_same_classes(ours: Sequence[str], theirs: Sequence[str], run: Path) -> None:
    """Raises InputError if a segmenter cannot go on with masks of these classes."""
    if list(ours) != list(theirs):
        raise InputError(
            f"the network in {run} segments {','.join(theirs)}, and these masks have "
            f"{','.join(ours)}: name the same classes in this order by "
            "--config.data.classes, or start from its pretraining by --config.init."
            f"checkpoint={run.parent}"
        )


def describe_backbone(backbone: TrainedBackbone | None) -> str:
    """Names the run of a backbone, and its trained parts if they are not all."""
    if backbone is None:
        return "random weights"
    source = backbone.origin.weights or backbone.origin.run
    if "backbone" in backbone.params:
        return source
    blocks = ", ".join(name.removeprefix("backbone.") for name in backbone.params)
    return f"{source} ({blocks}; the rest of the backbone is random)"


def list_trained(own: Sequence[str], backbone: TrainedBackbone | None) -> list[str]:
    """Lists the parts that are trained at the end of a pretraining.

    Args:
        own: Dotted names of the parts that it trains itself.
        backbone: What it starts from, which has trained parts of its own.
    """
    names = {*own, *(backbone.params if backbone else ())}
    # A part of a part that is listed says nothing more.
    return sorted(x for x in names if "." not in x or x.split(".")[0] not in names)


def digest(tree: Mapping[str, Any] | tuple) -> str:
    """Hashes the names and the bits of arrays."""
    result = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        result.update(jax.tree_util.keystr(path).encode())
        result.update(np.ascontiguousarray(leaf).tobytes())
    return result.hexdigest()[:16]


def check_same_network(model: ConfigDict, pretrained: Any, run: Path) -> None:
    """Checks that a run has the backbone that a new network expects.

    Raises:
        InputError: If it has another one; names the first difference.
    """
    for name in ("channels", "num_features", "last_hidden"):
        theirs, ours = pretrained["model"][name], model[name]
        if name == "num_features" and run.name == "finetune":
            is_scratch = read_run(run).origin is None
            theirs = (
                pretrained["model"]["scratch_num_features"] if is_scratch else theirs
            )
        listed = list(ours) if isinstance(ours, tuple) else ours
        if theirs != listed:
            written = ",".join(map(str, theirs)) if name == "channels" else theirs
            raise InputError(
                f"the network in {run} was pretrained with model.{name}={theirs}, but "
                f"this configuration asks for {listed}: add "
                f"--config.model.{name}={written}, or name another run by "
                "--config.init.checkpoint"
            )


def other_images_note(data: ConfigDict, run: Path) -> str:
    """Says which settings prepared a pretraining run's images in another way.

    That may be wanted, but a network works best on images like its own.

    Args:
        data: The `data` section of the run that is to start from it.
        run: The folder of the pretraining run.

    Returns:
        A sentence; "" if the images were prepared alike.
    """
    before = settings_of_images(read_config(run)["data"])
    now = settings_of_images(data)
    other = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if not other:
        return ""
    return (
        f"note: the network in {run} was pretrained with "
        + ", ".join(f"{name}={before.get(name)}" for name in other)
        + ", and this run has "
        + ", ".join(str(now.get(name)) for name in other)
        + ": use the same values, unless you want another preparation"
    )
