"""What the network sees of a slice: its middle or all of it, and how large a pixel.

The middle is coarse where structures lie far from the centre. Whole slices are then
seen in finer pixels.
"""

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data.files.axes import SliceRule
from pix2rep_jax.data.fit.mask_detail import (
    MaskPart,
    detail_kept,
    partly_labelled,
    read_mask_parts,
)
from pix2rep_jax.data.fit.scan_facts import ScanFacts
from pix2rep_jax.data.preparation import field_of_view_mm
from pix2rep_jax.data.slices import slice_cache
from pix2rep_jax.data.slices.grid import (
    PATCHED,
    Grid,
    middle_side,
    scan_grid,
    whole_grid,
)
from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.data.volume_list import list_included
from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.atomic_file import read_sealed, write_sealed

__all__ = ["CENTRE", "DETAIL", "Field", "describe_given", "plan_field"]

DETAIL = 0.95
"""Dice that the masks must keep on their way to the network's grid and back."""

CENTRE = 0.9
"""The same in the middle, which may lose some more before whole slices are seen.

With few labels, showing where structures lie is worth more than such detail
(docs/results/notes.md).
"""

VERSION = 3
"""Raise it when the same masks keep another share."""

_VOLUMES = 0.9
"""Share of the annotated volumes whose masks a patch must hold."""

_HALF = 0.5
"""Share of the scan's longer side that a patch must hold where masks are unknown."""

_COARSER = 2.0
"""How much coarser than the scans' pixels may be where masks tell nothing of it.

Strokes, whose surroundings are unlabelled, are kept in pixels of any size.
"""

_STEPS = 8
"""Pixel sizes to choose from, for each doubling."""

_DOUBLINGS = 3
"""How many times the scans' pixels may be doubled."""

_LOG = logging.getLogger(__name__)


class Field(NamedTuple):
    """What the network sees of a slice.

    Attributes:
        crop: "center", "middle", "whole" or "mask_box".
        spacing_mm: Side of the network's pixels, mm.
        reason: Why, in one sentence.
    """

    crop: str
    spacing_mm: float
    reason: str


class _Kept(NamedTuple):
    """What the masks keep: around the slices' centre, and in whole slices."""

    centre: float
    whole: float
    spacing_mm: float
    partly: bool = False


def plan_field(
    scans: Sequence[ScanFacts], masked: Sequence[ScanFacts], data: ConfigDict
) -> Field:
    """Decides between the middle and whole slices, and the side of a pixel.

    The middle holds a quarter more than a patch. If no slice is wider than a patch,
    that is a centred crop.

    Args:
        scans: All scans.
        masked: Those whose masks may be looked at, and show a structure.
        data: The `data` section. What is not "auto" there is kept.

    Raises:
        InputError: If a mask cannot be used.
    """
    own = float(f"{np.median([each.spacing_mm[:2] for each in scans]):.6g}")
    spacing_mm, why = _centred(scans, masked, data, own=own)
    if data.spacing_mm != "auto":
        spacing_mm, why = float(data.spacing_mm), "as data.spacing_mm says"
    crop = data.crop
    if crop == "auto":
        crop = _around(scans, data, spacing_mm=spacing_mm)
    pixels = data.crop_px or data.size
    seen = _around_centre(crop, spacing_mm, pixels=pixels, size=data.size)
    centred = f"{seen}: {why}"
    open_crop = data.crop == "auto" and masked and not data.crop_px
    if not open_crop and data.crop != "whole":
        given = (
            ""
            if data.spacing_mm == "auto"
            else describe_given(_files(masked, data), data)
        )
        return Field(crop, spacing_mm, given or centred)
    if not masked:
        finest = own if data.spacing_mm == "auto" else spacing_mm
        return Field("whole", finest, f"{_seen(finest, data)}, as data.crop says")
    kept = _measure(
        _files(masked, data), data, crop=crop, own=own, centre_mm=spacing_mm
    )
    is_coarse = data.spacing_mm == "auto" and spacing_mm > _COARSER * own
    if open_crop and kept.centre >= CENTRE and not (kept.partly and is_coarse):
        reason = f"{centred}; there the masks keep a Dice of {kept.centre:.3f}"
        return Field(crop, spacing_mm, reason)
    reason = (
        f"{_seen(kept.spacing_mm, data)}: there the masks keep a Dice of "
        f"{kept.whole:.3f}, and around the centre, where pixels would measure "
        f"{spacing_mm:.3g} mm, {kept.centre:.3f}"
    )
    return Field("whole", kept.spacing_mm, reason)


def describe_given(volumes: Sequence[VolumeFile], data: ConfigDict) -> str:
    """Says what the masks keep in pixels that were given.

    Args:
        volumes: Those whose masks may be looked at.
        data: The `data` section, with a number as `spacing_mm`.

    Returns:
        A sentence; "" where masks cannot tell.

    Raises:
        InputError: If a mask cannot be used.
    """
    if data.crop not in ("center", *PATCHED) or data.ignore or not volumes:
        return ""
    seen_mm, spacing_mm = field_of_view_mm(data), float(data.spacing_mm)
    is_whole = data.crop == "whole"
    pixel_mm = spacing_mm if is_whole else seen_mm / data.size
    found = _measure(volumes, data, crop=data.crop, own=spacing_mm, centre_mm=pixel_mm)
    kept = found.whole if is_whole else found.centre
    if np.isnan(kept):
        return ""
    reason = f"{_seen(spacing_mm, data)}, as data.crop says"
    if not is_whole:
        size = data.size
        seen = _around_centre(data.crop, pixel_mm, pixels=size, size=size)
        reason = f"{seen}: as data.spacing_mm says"
    reason += f"; there the masks keep a Dice of {kept:.3f}"
    if kept < DETAIL:
        reason += (
            f", less than {DETAIL:g}: --config.data.spacing_mm=auto suits the pixels "
            "to the masks"
        )
    return reason


def _around(scans: Sequence[ScanFacts], data: ConfigDict, *, spacing_mm: float) -> str:
    """Decides what is seen around the centre: no more than a patch if that is all."""
    widest = max(max(np.multiply(x.shape, x.spacing_mm)[:2]) for x in scans)
    return "center" if data.crop_px or widest <= spacing_mm * data.size else "middle"


def _around_centre(crop: str, pixel_mm: float, *, pixels: int, size: int) -> str:
    """Says how slices are seen around their centre."""
    seen_mm = pixel_mm * pixels
    seen = f"pixels of {pixel_mm:.3g} mm"
    if crop != "middle":
        return f"{seen}, {pixels} of them see {seen_mm:.4g} mm"
    middle_mm = seen_mm * middle_side(size) / size
    return f"{seen}, patches see {seen_mm:.4g} mm of the middle {middle_mm:.4g} mm"


def _seen(spacing_mm: float, data: ConfigDict) -> str:
    """Says how whole slices are seen."""
    return (
        f"whole slices in pixels of {spacing_mm:.3g} mm, patches of {data.size} px in "
        "training"
    )


def _centred(
    scans: Sequence[ScanFacts],
    masked: Sequence[ScanFacts],
    data: ConfigDict,
    *,
    own: float,
) -> tuple[float, str]:
    """Decides the side of a pixel around the centre, mm; and says why."""
    if masked:
        reach = [each.reach_mm for each in masked]
        # The higher of two neighbours: few volumes say little of the others.
        side = 2 * float(np.quantile(reach, _VOLUMES, method="higher"))
        which = f"{_VOLUMES:.0%} of {len(reach)} volumes"
        if side >= 2 * max(reach):
            which = f"all {len(reach)} volumes" if len(reach) > 1 else "the only volume"
        holds = f"95 % of the mask in {which}"
    else:
        longer = [max(np.multiply(x.shape, x.spacing_mm)[:2]) for x in scans]
        side = _HALF * float(np.median(longer))
        holds = f"the middle {_HALF:.0%} of the scans' longer side"
    needed = float(f"{side / (data.crop_px or data.size):.2g}")
    if needed <= own:
        return own, f"the scans' median, and they hold {holds}"
    return needed, f"coarser than the scans' median of {own:.3g} mm, to hold {holds}"


def _files(masked: Sequence[ScanFacts], data: ConfigDict) -> list[VolumeFile]:
    """Lists the files of volumes with masks."""
    known = {each.volume_id for each in masked}
    return [
        each
        for each in list_included(data)[0]
        if each.volume_id in known and each.label_path is not None
    ]


def _measure(
    volumes: Sequence[VolumeFile],
    data: ConfigDict,
    *,
    crop: str,
    own: float,
    centre_mm: float,
) -> _Kept:
    """Measures what masks keep, or reads what was measured before."""
    settings = {
        "detail": VERSION,
        "axes": SliceRule(data.slice_axis, data.orientation),
        "classes": len(data.classes),
        "spacing_mm": [str(data.spacing_mm), own, centre_mm],
        "size": data.size,
        "crop": [data.crop, crop],
    }
    path = slice_cache.find_path(
        Path(data.cache_dir).expanduser(), settings, volumes, kind="detail-{}.json"
    )
    try:
        return _Kept(**read_sealed(path))
    except TypeError:  # there is none, or it is damaged
        kept = _look(volumes, data, crop=crop, own=own, centre_mm=centre_mm)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sealed(path, kept._asdict())
    except (OSError, InputError) as error:
        _LOG.warning("what the masks keep could not be kept in %s: %s", path, error)
    return kept


def _look(
    volumes: Sequence[VolumeFile],
    data: ConfigDict,
    *,
    crop: str,
    own: float,
    centre_mm: float,
) -> _Kept:
    """Takes the masks to the grids in question and back."""
    rule = SliceRule(data.slice_axis, data.orientation)
    parts = read_mask_parts(volumes, rule, num_classes=len(data.classes))
    if not parts:  # no mask shows a structure
        return _Kept(np.nan, np.nan, own)
    around = "middle" if crop == "middle" else "center"
    options = {"crop": around, "fov_mm": centre_mm * data.size, "size": data.size}
    centre = detail_kept(parts, functools.partial(scan_grid, **options))
    partly = partly_labelled(parts)
    if centre >= CENTRE and data.crop == "auto" and not partly:
        return _Kept(centre, 1.0, own)
    if data.spacing_mm != "auto":
        return _Kept(centre, _in_whole(parts, centre_mm), centre_mm, partly)
    if partly:
        return _Kept(centre, _in_whole(parts, own), own, partly)
    return _Kept(centre, *_coarsest(parts, own))


def _coarsest(parts: Sequence[MaskPart], own: float) -> tuple[float, float]:
    """Finds the largest pixels, mm, in which masks keep enough; and what they keep."""
    sides = [own]
    sides += [
        float(f"{own * 2 ** (step / _STEPS):.3g}")
        for step in range(1, _STEPS * _DOUBLINGS + 1)
    ]
    found, above = 0, len(sides)
    kept = _in_whole(parts, own)
    while above - found > 1:
        middle = (found + above) // 2
        share = _in_whole(parts, sides[middle])
        if share >= DETAIL:
            found, kept = middle, share
        else:
            above = middle
    return kept, sides[found]


def _in_whole(parts: Sequence[MaskPart], pixel_mm: float) -> float:
    """Measures what masks keep in whole slices."""

    def make_grid(shape: Sequence[int], spacing_mm: Sequence[float]) -> Grid:
        return whole_grid(shape, spacing_mm, pixel_mm=pixel_mm, least=1)

    return detail_kept(parts, make_grid)
