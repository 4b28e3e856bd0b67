"""What a run's numbers depend on: one table for all settings.

Resuming a run, starting from another run, scoring a network, comparing several hosts
and finding a study's finished runs all ask this table.
"""

import functools
import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pix2rep_jax.runtime.config_checks import effective, plain, walk

__all__ = [
    "EARLIER",
    "TABLE",
    "add_missing",
    "answer",
    "changed_settings",
    "missing_settings",
    "relevant_settings",
    "settings_of_all_hosts",
    "settings_of_images",
    "settings_of_labels",
]

IMAGES = "images"
"""How a scan becomes the network's slices: counts wherever the network is used."""
DATA = "data"
"""Which scans there are, and who is in which part of the split: counts in every run."""
LABELS = "labels"
"""What the experts' masks mean: counts where masks are used."""
PRETRAINING = "pretraining"
DOWNSTREAM = "downstream"
BOTH = "pretraining and downstream"
PLACE = "place"
"""Where something lies on one machine. What lies there is compared in its place."""
NOTHING = "nothing"

TABLE: Mapping[str, str] = {
    "seed": BOTH,
    "variant": NOTHING,  # a name; the settings that it stands for are compared
    "data": DATA,
    "data.crop": IMAGES,
    "data.spacing_mm": IMAGES,
    "data.crop_px": IMAGES,
    "data.size": IMAGES,
    "data.interpolation": IMAGES,
    "data.percentiles": IMAGES,
    "data.normalization": IMAGES,
    "data.window": IMAGES,
    "data.slice_axis": IMAGES,
    "data.orientation": IMAGES,
    "data.classes": LABELS,
    "data.label_values": LABELS,
    "data.ignore": LABELS,
    "data.empty_slices": LABELS,
    "data.num_labeled": DOWNSTREAM,  # pretraining uses no labels, so the next three:
    "data.labeled": DOWNSTREAM,
    "data.draw": DOWNSTREAM,
    "data.val_fraction": DOWNSTREAM,
    "data.root": PLACE,  # run.json has the digest of every scan
    "data.cache_dir": PLACE,
    "data.cache_gb": NOTHING,
    "data.device_budget_mb": NOTHING,  # the batches are the same from host and device
    "model": BOTH,
    "model.sparse_last_block": PRETRAINING,
    "projection": PRETRAINING,
    "spatial": PRETRAINING,
    "intensity": PRETRAINING,
    "pretrain": PRETRAINING,
    "augment": DOWNSTREAM,
    "segmentation": DOWNSTREAM,
    "segmentation.keep": NOTHING,  # training leaves both checkpoints
    "probe": DOWNSTREAM,
    "finetune": DOWNSTREAM,
    "finetune.compare_scratch": NOTHING,  # another run, in a folder of its own
    "context": DOWNSTREAM,
    "init.checkpoint": PLACE,  # run.json has the digest of the network that is there
    "init.recalibrate": DOWNSTREAM,
    "predict": NOTHING,  # how a network is used, not how it came about
    "log": NOTHING,  # when something is written
    "log.validate_every": DOWNSTREAM,  # chooses among which checkpoints is the best
    "study": NOTHING,  # each of its runs has a configuration of its own
}
"""Setting or section -> what depends on it. The longest name that fits counts.

A section that is not listed belongs to the pretraining method of its name.
"""

EARLIER: Mapping[str, Any] = {
    "data.slice_axis": 2,
    "data.orientation": "file",
    "data.fourth_axis": "auto",
    "data.normalization": "percentiles",
    "data.window": [],
    "data.ignore": [],
    "data.empty_slices": "background",
    "data.folds": 0,
    "data.fold": 0,
    "data.split": "auto",
    "data.labeled": [],
    "data.num_unlabeled": 0,
    "model.sparse_last_block": False,
    "segmentation.keep": "best",
    "spatial.upright": False,
    "augment.spatial.upright": False,
    "intensity.convolution_probability": 0.0,
    "augment.intensity.convolution_probability": 0.0,
}
"""Settings that came later, with what the program did before they were there."""

_OF_PRETRAINING: Mapping[str, Any] = {"segmentation.keep": "last"}
"""What is otherwise in a pretraining."""

_NO_SECTIONS = ("seed", "variant")
"""Settings that stand outside of all sections."""

_NEW_SECTIONS = ("context",)
"""Sections that came later. Who reads one has its defaults."""

_MODES = ("probe", "finetune", "context")


def answer(name: str) -> str:
    """Looks up what depends on a setting.

    Args:
        name: Dotted, such as "data.crop".
    """
    while name not in TABLE and "." in name:
        name = name.rpartition(".")[0]
    return TABLE.get(name, PRETRAINING)


def relevant_settings(config: Mapping[str, Any], mode: str) -> dict[str, Any]:
    """Selects the settings that the numbers of a run depend on.

    Args:
        config: The whole configuration.
        mode: "pretrain", "probe" or "finetune".

    Returns:
        Values by dotted name, as JSON would hold them.
    """
    return {
        name: value for name, value in _plain(config) if _counts(name, mode, config)
    }


def settings_of_images(data: Mapping[str, Any]) -> dict[str, Any]:
    """Selects the settings of how a scan becomes the network's slices.

    Args:
        data: The `data` section.
    """
    settings = _plain({"data": data})
    return {name: value for name, value in settings if answer(name) == IMAGES}


def settings_of_labels(data: Mapping[str, Any]) -> dict[str, Any]:
    """Selects the settings of what the experts' masks mean.

    Args:
        data: The `data` section.
    """
    settings = _plain({"data": data})
    return {name: value for name, value in settings if answer(name) == LABELS}


def settings_of_all_hosts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Selects the settings that all hosts of one run must have alike.

    Settings that change no number are among them: all hosts must save and log at the
    same step.
    """
    settings = _plain(config)
    return {name: value for name, value in settings if answer(name) != PLACE}


def changed_settings(
    before: Mapping[str, Any], now: Mapping[str, Any], mode: str
) -> list[str]:
    """Lists the settings by which a run would no longer be the same run.

    Args:
        before: The whole configuration that the run began with.
        now: The one that it would go on with.
        mode: "pretrain", "probe" or "finetune".

    Returns:
        "name: old -> new" of each, sorted; "missing" stands for a setting that only
        one of the two has.
    """
    old, new = dict(_plain(before)), dict(_plain(now))
    # A value without an effect is not compared, and a user has still given it.
    shown = [dict(_lists(walk(one))) for one in (before, now)]
    pairs = {
        name: [str(each.get(name, "missing")) for each in shown]
        for name in sorted({*old, *new})
        if _counts(name, mode, now)
        and (name not in old or name not in new or old[name] != new[name])
    }
    # Another method reads other settings: to name the method is enough.
    telling = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    return [f"{name}: {a} -> {b}" for name, (a, b) in (telling or pairs).items()]


def missing_settings(config: Any) -> list[str]:
    """Lists what a configuration lacks of the table's sections and settings.

    A section that holds something else than settings counts as missing.

    Args:
        config: What a file held that should hold a whole configuration.
    """
    needed = (
        name
        for name, found in TABLE.items()
        if found != NOTHING and name not in (*EARLIER, *_NEW_SECTIONS)
    )
    lacks = [name for name in needed if not _has(config, name)]
    if not lacks:
        method = config["pretrain"].get("method", "pix2rep")
        sections = _sections().union([str(method)]).difference(_NO_SECTIONS)
        found = {name: config[name] for name in sections if name in config}
        lacks += [name for name, x in found.items() if not isinstance(x, Mapping)]
    return lacks


def add_missing(config: dict[str, Any], *, mode: str = "") -> None:
    """Gives a run's configuration the settings that came after the run began.

    Args:
        config: The whole configuration, as JSON holds it. It is changed.
        mode: The run's mode. A pretraining has always kept its last step, and a new
            fine-tuning of it is not an earlier run.
    """
    earlier = {**EARLIER, **(_OF_PRETRAINING if mode == "pretrain" else {})}
    for name, value in earlier.items():
        *sections, leaf = name.split(".")
        place = functools.reduce(operator.getitem, sections, config)
        place.setdefault(leaf, value)


def _has(config: Any, name: str) -> bool:
    """Whether a configuration has a setting, or a section that is one."""
    for part in name.split("."):
        if not isinstance(config, Mapping) or part not in config:
            return False
        config = config[part]
    if "." not in name and name not in _NO_SECTIONS:
        return isinstance(config, Mapping) and len(config) > 0
    return not isinstance(config, Mapping) or len(config) > 0


def _counts(name: str, mode: str, config: Mapping[str, Any]) -> bool:
    """Whether a run of a mode depends on a setting."""
    section, found = name.partition(".")[0], answer(name)
    if section not in _sections():
        return mode == "pretrain" and section == config["pretrain"]["method"]
    if found == LABELS:  # a crop around the masks shows what they are to pretraining
        return mode != "pretrain" or config["data"]["crop"] == "mask_box"
    if mode == "pretrain":
        return found in (IMAGES, DATA, BOTH, PRETRAINING)
    if section in _MODES and section != mode:
        return False
    return found in (IMAGES, DATA, BOTH, DOWNSTREAM)


def _sections() -> set[str]:
    """The sections that the table knows."""
    return {name.partition(".")[0] for name in TABLE}


def _plain(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields the settings that have an effect, with lists in place of tuples."""
    return _lists(effective(config).items())


def _lists(settings: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yields settings as JSON holds them."""
    for name, value in settings:
        yield name, plain(value)
