"""What a run takes over from those that were there before it."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pix2rep_jax.data.layout.dataset_json import read_facts
from pix2rep_jax.runs.data_checks import is_same_data
from pix2rep_jax.runs.dependencies import answer, settings_of_images
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runs.start import SEGMENTERS, find_folds, find_start

__all__ = [
    "TRAINING",
    "describe_taken",
    "find_source",
    "inherited_settings",
    "remembered_settings",
]

TRAINING = ("pretrain", "probe", "finetune")
"""Modes that train, each in the subfolder of its name."""

ENSEMBLES = ("predict", "evaluate")
"""Modes that use several networks together."""

_LOCAL = ("cache_dir", "cache_gb", "device_budget_mb")
"""Settings of the data that belong to a machine."""


def find_source(workdir: Path, mode: str) -> Path | None:
    """Finds the run in a workdir that a mode takes its settings from.

    A training goes on with its own run, or follows the pretraining. The other modes
    look at a segmenter first.

    Args:
        workdir: A workdir, or the folder of a mode in it.
        mode: The mode that is to run.
    """
    first = (mode, "pretrain") if mode in TRAINING else ()
    order = dict.fromkeys((*first, "finetune", "probe", "pretrain"))
    places = [workdir] if workdir.name in order else []
    places += [workdir / name for name in order]
    if mode in ENSEMBLES:  # of a cross-validation
        places += [fold / name for fold in find_folds(workdir) for name in SEGMENTERS]
    for folder in places:
        if (folder / "config.json").is_file():
            return folder
    return None


def remembered_settings(
    data: Mapping[str, Any],
    run: Path,
    mode: str,
    *,
    told: Collection[str],
    network: bool = True,
) -> dict[str, Any]:
    """Selects what a mode takes over of the data from a run in its workdir.

    On other scans that is how images are prepared, and the classes where the other
    folder does not name its own. A training that goes on takes everything over: its
    scans can only have been moved.

    Args:
        data: The `data` section of the mode's configuration.
        run: From `find_source`.
        mode: The mode that is to run.
        told: Names of settings that the user has given. They are left as they are.
        network: Whether the mode uses the run's network. Without it other scans are
            prepared as suits them.

    Returns:
        The settings of `data` that differ, by name.
    """
    before = read_config(run)["data"]
    names = [name for name in before if name in data and name not in _LOCAL]
    goes_on = mode in TRAINING and run.name == mode
    told_place = bool({"root", "name"} & {*told})
    if told_place and not goes_on and not is_same_data(data, before):
        images = settings_of_images(before) if network else ()
        names = [each.partition(".")[2] for each in images]
        if data["root"] and not _names_classes(data):
            names.append("classes")
    elif mode in TRAINING and not goes_on:
        names = [name for name in names if answer(f"data.{name}") != "downstream"]
    return _differing(data, before, names, told)


def inherited_settings(
    data: Mapping[str, Any], checkpoint: str, mode: str, *, told: Collection[str]
) -> tuple[dict[str, Any], Path]:
    """Selects what a run takes over from the one whose network it starts from.

    That is how images are prepared: spacing, normalisation and the slices' axis. It is
    never the folder or the patients. From a segmenter it is the classes too, where the
    folder does not name its own.

    Args:
        data: The `data` section of the run that is to start.
        checkpoint: The setting `init.checkpoint`, which names a run.
        mode: The mode that is to run.
        told: Names of settings that the user has given.

    Returns:
        The settings of `data` that differ, by name; and the run's folder.

    Raises:
        InputError: If there is no such run.
    """
    run = find_start(checkpoint, mode)
    before = read_config(run)["data"]
    names = [each.partition(".")[2] for each in settings_of_images(before)]
    # A box around the mask needs masks, which other scans may lack.
    names = [name for name in names if name in data and name != "crop"]
    if run.name in SEGMENTERS and not _names_classes(data):
        names.append("classes")
    return _differing(data, before, names, told), run


def describe_taken(settings: Mapping[str, Any], run: Path) -> str:
    """Says what was taken over; "" if nothing was."""
    if not settings:
        return ""
    values = ", ".join(f"data.{name}={_shown(x)}" for name, x in settings.items())
    return f"note: taken over from {run}: {values}"


def _names_classes(data: Mapping[str, Any]) -> bool:
    """Whether the folder of the scans names its classes."""
    root = data["root"]
    return bool(root) and bool(read_facts(Path(root).expanduser()).classes)


def _differing(
    data: Mapping[str, Any],
    before: Mapping[str, Any],
    names: Collection[str],
    told: Collection[str],
) -> dict[str, Any]:
    """The values of a run's settings that differ from those of `data`."""
    values = {
        name: tuple(x) if isinstance(x := before[name], list) else x
        for name in names
        if name not in told
    }
    return {name: x for name, x in values.items() if data[name] != x}


def _shown(value: Any) -> str:
    """Writes a value as on a command line."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
