"""plan.json in a workdir: what the first mode decided, and later modes take over."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from pix2rep_jax.data.fit.doubts import doubt_notes
from pix2rep_jax.data.fit.fingerprint import (
    Fingerprint,
    describe_fingerprint,
    take_fingerprint,
)
from pix2rep_jax.data.fit.plan import (
    PLANNED,
    Plan,
    apply_plan,
    describe_plan,
    describe_settled,
    explain_faults,
    is_settled,
    lie_alike,
    make_plan,
)
from pix2rep_jax.data.slices import slice_cache
from pix2rep_jax.data.volume_list import list_included
from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.manifest import check_place, make_folder, read_config
from pix2rep_jax.runs.start import decide_start
from pix2rep_jax.runtime.atomic_file import write_whole

__all__ = [
    "PLAN_FILE",
    "describe",
    "read_plan",
    "settle",
    "take_recorded",
    "write_plan",
]

PLAN_FILE = "plan.json"

VERSION = 2

_VIEWS = ("spatial", "augment.spatial")
"""Sections whose `upright` a plan gives a value."""

_MADE_FOR = (
    "size",
    "crop_px",
    "crop",
    "spacing_mm",
    "slice_axis",
    "orientation",
    "normalization",
    "window",
    "split",
    "holdout_per_group",
)
"""Settings of `data` with which another plan would be made."""


def settle(config: ConfigDict, workdir: Path, mode: str) -> ConfigDict:
    """Replaces "auto" in the `data` section and of the views, before a training.

    What the same run has recorded comes first, then the workdir's plan if it was made
    from the same scans, then the run whose network the training starts from. Without
    these the scans are measured, the result is printed, and the workdir gets a plan.
    Whether views stay upright follows from a run's own scans, even if it starts from
    another's network.

    Args:
        config: The whole configuration.
        workdir: The run's folder.
        mode: "pretrain", "probe" or "finetune".

    Returns:
        The configuration to train with; the same one if it leaves nothing to a plan.

    Raises:
        InputError: If the workdir cannot be written, or a scan cannot be used.
    """
    data = config.data
    if is_settled(data) and not _open_views(config):
        begun = (Path(workdir) / each / "config.json" for each in ("pretrain", mode))
        first = not any(each.is_file() for each in begun)
        if first and data.name != "phantom" and (line := describe_settled(data)):
            print(line)
        return config
    check_place(workdir)
    settled = config.copy_and_resolve_references()
    folder = Path(workdir) / mode
    if (folder / "config.json").is_file():
        return take_recorded(config, read_config(folder))
    if (planned := read_plan(workdir, data)) is not None:
        path = Path(workdir) / PLAN_FILE
        print(f"note: the plan in {path} is used", file=sys.stderr)
        settled.data = apply_plan(data, planned)
        return _with_upright(settled, planned["upright"])
    start = decide_start(config.init.checkpoint, workdir, mode)
    if start is not None and not is_settled(data):
        settled.data = take_recorded(config, read_config(start)).data
        if (data.crop, settled.data.crop) == ("auto", "mask_box"):
            settled.data.crop = "center"  # a box around the mask has to be asked for
        print(
            f"plan: {settled.data.spacing_mm:g} mm per pixel and the intensities as in "
            f"{start}, whose network this run starts from"
        )
    if is_settled(settled.data) and not _open_views(settled):
        return settled
    found = take_fingerprint(data)
    if found.faults:
        size = config.get("variant", "small")
        raise InputError(explain_faults(found.faults, data, size=size))
    for note in doubt_notes(found.scans, data.classes):
        print(note, file=sys.stderr)
    if is_settled(settled.data):
        upright, reason = lie_alike(found.likeness)
        print(f"plan: {reason}")
        return _with_upright(settled, upright)
    plan = make_plan(found, data)
    print(*describe(found, plan, data), sep="\n")
    write_plan(workdir, plan, found, data)
    settled.data = apply_plan(data, plan._asdict())
    return _with_upright(settled, plan.upright)


def take_recorded(config: ConfigDict, recorded: Mapping[str, Any]) -> ConfigDict:
    """Replaces "auto" in a configuration by what a run has recorded.

    Args:
        config: The whole configuration; it is copied.
        recorded: The whole configuration of the run.
    """
    settled, before = config.copy_and_resolve_references(), ConfigDict(recorded)
    if not is_settled(config.data):
        settled.data = apply_plan(config.data, recorded["data"])
    for section in _open_views(settled):
        _set_upright(settled, section, before[section].upright)
    return settled


def describe(found: Fingerprint, plan: Plan, data: ConfigDict) -> list[str]:
    """Says in ten lines what the scans are like, and what is done with them."""
    layout = {"acdc": ", in ACDC's layout", "phantom": ", drawn"}.get(data.name, "")
    title = f"data: {data.root or 'the phantom'}{layout}"
    return [title, *describe_fingerprint(found), *describe_plan(plan)]


def read_plan(workdir: Path, data: ConfigDict) -> dict[str, Any] | None:
    """Reads the values that a workdir's plan gives.

    Args:
        workdir: The run's folder.
        data: The `data` section; a plan for other settings or scans does not count.

    Returns:
        Values by the names in `PLANNED`, and "upright"; None if there is no such plan.

    Raises:
        InputError: If the file is damaged.
    """
    path = Path(workdir) / PLAN_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        made_for = content["made_for"]
        if "scans" not in made_for:  # an earlier plan, for nobody knows which scans
            return None
        values = {name: content["data"][name] for name in PLANNED}
        values["upright"] = content["upright"] is True
        float(values["spacing_mm"]), tuple(values["window"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): delete it, and it is made again"
        ) from error
    return values if made_for == _made_for(data) else None


def write_plan(workdir: Path, plan: Plan, found: Fingerprint, data: ConfigDict) -> None:
    """Writes plan.json; the first of several processes does.

    Raises:
        InputError: If it cannot be written.
    """
    if jax.process_index():
        return
    content = {
        "version": VERSION,
        "data": {name: getattr(plan, name) for name in PLANNED},
        "upright": plan.upright,
        "made_for": _made_for(data),
        "reasons": plan.reasons,
        "fingerprint": describe_fingerprint(found),
    }
    make_folder(Path(workdir))
    write_whole(Path(workdir) / PLAN_FILE, json.dumps(content, indent=2) + "\n")


def _open_views(config: ConfigDict) -> list[str]:
    """Lists the sections that leave it open whether views stay upright."""
    return [name for name in _VIEWS if config[name].get("upright") == "auto"]


def _with_upright(config: ConfigDict, upright: bool) -> ConfigDict:
    """Writes a decision where the views are left open; returns the same object."""
    for section in _open_views(config):
        _set_upright(config, section, upright)
    return config


def _set_upright(config: ConfigDict, section: str, upright: bool) -> None:
    with config.ignore_type():  # a decision in place of a word
        config[section].upright = upright


def _made_for(data: ConfigDict) -> dict[str, Any]:
    """What a plan depends on, as JSON holds it; "scans" changes with any file."""
    settings = {name: data[name] for name in _MADE_FOR}
    try:
        volumes, _ = list_included(data)
        scans = slice_cache.find_path(Path(), {}, volumes, kind="{}").name
    except InputError:  # who measures the scans says what is wrong with them
        scans = ""
    return json.loads(json.dumps({**settings, "scans": scans}))
