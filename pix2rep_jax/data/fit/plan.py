"""What the program does with a data set: spacing, intensities and views, and why."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data.fault import Fault
from pix2rep_jax.data.few_shot import KNOWN_DUPLICATES
from pix2rep_jax.data.fit.field_of_view import describe_given, plan_field
from pix2rep_jax.data.fit.fingerprint import Fingerprint, take_fingerprint
from pix2rep_jax.data.fit.likeness import Likeness
from pix2rep_jax.data.fit.scan_facts import AIR, LEVELS, ScanFacts
from pix2rep_jax.data.held_out import holdout_numbers, test_patients
from pix2rep_jax.data.layout.class_values import with_doubt
from pix2rep_jax.data.layout.dataset_json import read_channel_names
from pix2rep_jax.data.named_split import sides_of
from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.data.volume_list import list_included
from pix2rep_jax.errors import InputError
from pix2rep_jax.wording import count

__all__ = [
    "PLANNED",
    "Plan",
    "apply_plan",
    "describe_plan",
    "describe_settled",
    "is_settled",
    "lie_alike",
    "make_plan",
    "plan_data",
]

PLANNED = ("crop", "spacing_mm", "normalization", "window")
"""The settings of `data` that a plan gives a value."""

_ALIKE = 0.25
"""How much better slices must correlate upright than moved, to count as lying alike.

Hippocampus has .37, FetalHead .11 and ACDC .04. Upright views gain 4 points with one
labelled patient on the first, and views at all angles 5 to 8 on the last.
"""

_TAILS = (0.5, 99.5)
"""Percentiles of the tissue's intensities at which a CT's window ends."""


class Plan(NamedTuple):
    """What is done with a data set.

    Attributes:
        spacing_mm: Side of the network's pixels, mm.
        normalization: "percentiles" or "window".
        window: The intensities that become 0 and 1; () for percentiles.
        reasons: Why, one sentence for each setting that was decided or given.
        crop: "center", "middle", "whole" or "mask_box".
        upright: Whether the patients' scans lie alike, so that no view is mirrored or
            turned by more than 20°.
    """

    spacing_mm: float
    normalization: str
    window: tuple[float, ...]
    reasons: tuple[str, ...] = ()
    crop: str = "center"
    upright: bool = False


def is_settled(data: Mapping[str, Any]) -> bool:
    """Whether a `data` section leaves nothing to a plan."""
    return "auto" not in (data["crop"], data["spacing_mm"], data.get("normalization"))


def plan_data(data: ConfigDict) -> ConfigDict:
    """Replaces "auto" in a `data` section by what the scans suggest.

    Raises:
        InputError: If a scan or a mask cannot be used.
    """
    if is_settled(data):
        return data
    found = take_fingerprint(data)
    if found.faults:
        raise InputError(explain_faults(found.faults, data))
    return apply_plan(data, make_plan(found, data)._asdict())


def explain_faults(
    faults: Sequence[Fault], data: Mapping[str, Any], *, size: str = "small"
) -> str:
    """Makes one sentence of all faults: the first, and the command that lists all.

    Args:
        faults: At least one.
        data: The `data` section by which the scans were listed.
        size: The configuration's size.
    """
    others = len(faults) - 1
    root = data["root"]
    where = f" --config.data.root={shlex.quote(str(root))}" if root else ""
    more = (
        f"; {count(others, 'more file')} cannot be used, and this lists all: --mode "
        f"check --config=configs/pix2rep.py:{size}{where}"
    )
    return faults[0].sentence + (more if others else "")


def apply_plan(data: ConfigDict, plan: Mapping[str, Any]) -> ConfigDict:
    """Writes a plan's values where a `data` section says "auto".

    Args:
        data: The section; it is copied.
        plan: At least the settings in `PLANNED`.
    """
    settled = data.copy_and_resolve_references()
    with settled.ignore_type():  # a number in place of a word
        if data.crop == "auto":
            settled.crop = plan["crop"]
        if data.spacing_mm == "auto":
            settled.spacing_mm = plan["spacing_mm"]
        if data.normalization == "auto":
            settled.normalization = plan["normalization"]
            settled.window = tuple(plan["window"])
    return settled


def make_plan(found: Fingerprint, data: ConfigDict) -> Plan:
    """Decides what is done with a data set.

    Masks of test patients take no part in it. Where `data.crop` leaves the field of
    view open, the other masks are read once more.

    Args:
        found: The data set's fingerprint, of at least one scan.
        data: The `data` section. What is not "auto" there is kept.

    Raises:
        InputError: If there is no scan, or a window was given that makes no sense.
    """
    if not found.scans:
        raise InputError("no scan can be read, so there is nothing to plan")
    data = with_doubt(data)
    tested = _tested([_as_file(each) for each in found.scans], data)
    known = [each for each in found.scans if each.patient not in tested]
    masked = [each for each in known if each.box_mm]
    field = plan_field(found.scans, masked, data)
    normalization, window, because = _plan_intensities(
        found.scans, masked, data, channels=found.num_channels
    )
    upright, lying = lie_alike(found.likeness)
    return Plan(
        spacing_mm=field.spacing_mm,
        normalization=normalization,
        window=window,
        reasons=(field.reason, because, lying),
        crop=field.crop,
        upright=upright,
    )


def lie_alike(likeness: Likeness | None) -> tuple[bool, str]:
    """Decides whether views stay upright; and says why.

    Args:
        likeness: How alike the patients' middle slices are; None for one patient.
    """
    if likeness is None:
        return False, "views at all angles, because one patient tells nothing of others"
    upright = likeness.upright - likeness.moved > _ALIKE
    views = "turned by 20° at most and never mirrored"
    views = views if upright else "turned and mirrored too"
    return upright, (
        f"views {views}: middle slices of two patients correlate by "
        f"{likeness.upright:.2f} as they are, and by {likeness.moved:.2f} if one is "
        f"{likeness.move}"
    )


def describe_settled(data: ConfigDict) -> str:
    """Says what masks keep where the settings leave nothing to a plan.

    Args:
        data: The `data` section.

    Returns:
        A line; "" where masks cannot tell, or cannot be used.
    """
    data = with_doubt(data)
    try:
        volumes, _ = list_included(data)
        tested = _tested(volumes, data)
        masked = [
            each
            for each in volumes
            if each.label_path is not None and each.patient not in tested
        ]
        said = describe_given(masked, data)
    except InputError:  # whoever loads the scans says what is wrong with all of them
        return ""
    return said and f"plan: {said}"


def describe_plan(plan: Plan) -> list[str]:
    """Says in three lines what is done, and why."""
    return [f"plan: {reason}" for reason in plan.reasons]


def _plan_intensities(
    scans: tuple[ScanFacts, ...],
    masked: list[ScanFacts],
    data: ConfigDict,
    *,
    channels: int,
) -> tuple[str, tuple[float, ...], str]:
    """Decides how intensities become 0 to 1; and says why."""
    lower, upper = (f"{x:g}" for x in data.percentiles)
    percentiles = f"intensities: percentiles {lower} and {upper} of each scan"
    if data.normalization == "percentiles":
        return "percentiles", (), f"{percentiles}, as data.normalization says"
    if len(data.window):
        window = tuple(map(float, data.window))
        shown = ",".join(f"{x:g}" for x in window)
        return "window", window, f"intensities: {shown}, as data.window says"
    low = np.array([each.levels[LEVELS.index(0.5)] for each in scans]) < AIR
    why = f"{low.sum()} of {len(scans)} scans hold values below {AIR:g}"
    path = Path(data.root).expanduser() / "dataset.json"
    is_named = [name.strip().upper() for name in read_channel_names(path)] == ["CT"]
    if is_named:
        why = "dataset.json names the channel CT"
    # One window does not fit several channels.
    looks_like_ct = (is_named or low.mean() > 0.5) and channels == 1
    is_ct = looks_like_ct or data.normalization == "window"
    sources = (
        [x.tissue for x in masked if x.tissue]
        or [x.tissue for x in scans if x.tissue and not x.has_mask]
        or [x.tissue for x in scans if x.tissue]
    )
    if not is_ct or not sources:
        reason = _no_ct(channels) if not is_ct else "no value is as low as a CT's air"
        return "percentiles", (), f"{percentiles} become 0 and 1 ({reason})"
    ends = np.percentile(np.concatenate(sources), _TAILS).tolist()
    window = tuple(float(f"{x:.4g}") for x in ends)
    where = "the structures" if any(x.tissue for x in masked) else "the body"
    return (
        "window",
        window,
        f"intensities: {window[0]:g} to {window[1]:g} become 0 to 1 in all scans, the "
        f"range of {where}, because {why}",
    )


def _tested(volumes: Sequence[VolumeFile], data: ConfigDict) -> set[str]:
    """Names the patients whose masks score, so that no plan may look at them."""
    if (sides := sides_of(data)) is not None:
        return {*sides.test}
    tested = test_patients(
        volumes,
        holdout_per_group=holdout_numbers(data.holdout_per_group, volumes),
        duplicates=KNOWN_DUPLICATES if data.name == "acdc" else (),
    )
    return {*tested}


def _as_file(facts: ScanFacts) -> VolumeFile:
    """Makes a volume of its facts; where it lies does not matter."""
    there = Path()
    return VolumeFile(
        volume_id=facts.volume_id,
        patient=facts.patient,
        subset=facts.subset,
        phase="",
        group=facts.group,
        image_path=there,
        label_path=there if facts.has_mask else None,
    )


def _no_ct(channels: int) -> str:
    return "none is a CT" if channels == 1 else "of each channel by itself"
