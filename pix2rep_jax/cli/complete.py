"""Completes a configuration: by the runs before it, and by the data themselves."""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pix2rep_jax.cli.config_file import config_argument, flag_argument
from pix2rep_jax.cli.decided import check_decided
from pix2rep_jax.cli.run_config import config_of_size
from pix2rep_jax.data.fit.settle import settle_data
from pix2rep_jax.data.held_out import USUAL_HOLDOUT
from pix2rep_jax.errors import check_choice
from pix2rep_jax.runs.checkpoint_steps import BEST, LAST
from pix2rep_jax.runs.data_checks import check_same_root, is_same_data
from pix2rep_jax.runs.dependencies import settings_of_images
from pix2rep_jax.runs.kept_checkpoint import kept_checkpoint
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runs.remembered import (
    TRAINING,
    describe_taken,
    find_source,
    inherited_settings,
    remembered_settings,
)
from pix2rep_jax.runs.run_record import read_run
from pix2rep_jax.runs.start import find_folds
from pix2rep_jax.wording import for_caller

__all__ = ["complete", "told_names", "told_settings"]


_OPEN: Mapping[str, Any] = {
    "name": "auto",
    "classes": (),
    "label_values": (),
    "ignore": (),
    "empty_slices": "auto",
    "exclude": (),
    "patient_regex": "auto",
    "fourth_axis": "auto",
    "split": "auto",
    "labeled": (),
    "num_unlabeled": 0,
    "holdout_per_group": "auto",
    "validation_patients": 0,
    "folds": 0,
    "fold": 0,
}
"""The settings of scans that nobody has told anything of."""


def complete(
    config: ConfigDict, workdir: Path, mode: str, *, command: Sequence[str]
) -> None:
    """Fills in what the command line leaves open, and says what it was.

    Args:
        config: The whole configuration, which is changed.
        workdir: The run's folder.
        mode: The mode that is to run.
        command: The words of the command line.

    Raises:
        InputError: If a run or the folder of the scans cannot be used.
    """
    data, told = config.data, told_settings(command, "data")
    source = None if mode == "study" else find_source(workdir, mode)
    support = bool(flag_argument(command, "support"))
    check_decided(config, source, mode, told=told_names(command), support=support)
    said = [settle_keep(config, workdir, mode, command=command)]
    if data.root:
        _put(data, {"root": str(Path(data.root).expanduser().resolve())})
    if source is not None and not config_argument(command):
        own = source.name == mode or mode not in TRAINING
        if not own and source.name == "pretrain" and not _told_start(command):
            config.init.checkpoint = ""  # the pretraining's own start
        moved = "root" in told and not is_same_data(data, read_config(source)["data"])
        if moved and not (mode in TRAINING and source.name == mode):
            _put(data, {name: x for name, x in _OPEN.items() if name not in told})
            if mode in (*TRAINING, "folds"):
                network = _uses_network(source, mode, config.init.checkpoint)
                _open_again(config, command, network=network)
    elif data.name == "phantom" and data.root and not {"name"} & told:
        _put(data, {"name": "auto"})
        if "classes" not in told:
            _put(data, {"classes": ()})
    if source is not None:
        network = _uses_network(source, mode, config.init.checkpoint)
        taken = remembered_settings(data, source, mode, told=told, network=network)
        _put(data, taken)
        said.append(describe_taken(taken, source))
    if (
        mode in (*TRAINING, "context", "folds")
        and config.init.checkpoint not in ("", "none")
        and (source is None or source.name != mode)
    ):
        taken, run = inherited_settings(data, config.init.checkpoint, mode, told=told)
        _put(data, taken)
        said.append(describe_taken(taken, run))
    needs_no_scans = mode in ("predict", "embed", "explore", "export", "report") or (
        mode == "study" and config.study.tables_only  # the records alone
    )
    if needs_no_scans:
        _say(*said)
        return
    settled = settle_data(
        data,
        told=told if source is None else {*told, *data},
        # Where these scans have trained nothing, a few of them can be scored too.
        least_held_out=USUAL_HOLDOUT if mode in ("evaluate", "figures") else 0,
    )
    if source is not None and source.name == mode and settled.lines:
        before, split = read_config(source)["data"], read_run(source).split
        check_same_root(data, before, split, patients=settled.patients, folder=source)
    _put(data, settled.settings)
    _say(*said)
    for line in settled.lines:
        print(line)
    _say(*settled.notes)


def _uses_network(source: Path, mode: str, checkpoint: str) -> bool:
    """Whether a mode uses the network of the run that it takes its settings from."""
    if mode == "folds":  # each fold has networks of its own
        return False
    return mode not in TRAINING or source.name == mode or checkpoint != "none"


def _open_again(config: ConfigDict, command: Sequence[str], *, network: bool) -> None:
    """Forgets what a plan decided for other scans than those that are to train.

    Args:
        config: The configuration of the run that used the plan. It is changed.
        command: The words of the command line. What it gives stays.
        network: Whether the training starts from the run's network. Then images stay
            prepared as that network knows them.
    """
    size, told = config_of_size(config.variant), told_names(command)
    for section in ("spatial", "augment.spatial"):
        if size[section].upright == "auto" and f"{section}.upright" not in told:
            _put(config[section], {"upright": "auto"})
    if not network:
        names = [name.partition(".")[2] for name in settings_of_images(config.data)]
        _put(config.data, {x: size.data[x] for x in names if f"data.{x}" not in told})


def settle_keep(
    config: ConfigDict, workdir: Path, mode: str, *, command: Sequence[str]
) -> str:
    """Leaves it to the runs which checkpoint they keep, unless the user says it.

    Args:
        config: The whole configuration, whose `segmentation.keep` is changed.
        workdir: The run's folder.
        mode: The mode that is to run.
        command: The words of the command line.

    Returns:
        What was taken over from a run that goes on; "" if nothing was.

    Raises:
        InputError: If the user says neither "last" nor "best".
    """
    segmentation = config.segmentation
    if mode == "study" or "segmentation.keep" in told_names(command):
        check_choice("segmentation.keep", segmentation.keep, (LAST, BEST))
        return ""
    if mode in ("evaluate", "predict", "figures", "export", "embed", "explore"):
        segmentation.keep = ""
    places = {"probe": [workdir], "finetune": [workdir], "folds": find_folds(workdir)}
    own = "finetune" if mode == "folds" else mode
    for folder in (place / own for place in places.get(mode, [])):
        if (folder / "config.json").is_file():
            before, now = kept_checkpoint(folder), segmentation.keep
            segmentation.keep = before
            note = f"note: as before in {folder}: segmentation.keep={before}"
            return "" if before == now else note
    return ""


def told_settings(command: Sequence[str], section: str) -> set[str]:
    """Lists the settings of a section that a command line gives.

    Args:
        command: The words of the command line.
        section: Such as "data".
    """
    names = (name.split(".") for name in told_names(command))
    return {parts[1] for parts in names if parts[0] == section and len(parts) > 1}


def told_names(command: Sequence[str]) -> set[str]:
    """Lists the dotted names of all settings that a command line gives."""
    pattern = re.compile(r"--?config\.([\w.]+)")
    return {found[1] for word in command if (found := pattern.match(word))}


def _told_start(command: Sequence[str]) -> bool:
    return "checkpoint" in told_settings(command, "init")


def _put(data: ConfigDict, settings: Mapping[str, Any]) -> None:
    with data.ignore_type():
        for name, value in settings.items():
            data[name] = value


def _say(*notes: str) -> None:
    for note in filter(None, notes):
        print(for_caller(note), file=sys.stderr)
