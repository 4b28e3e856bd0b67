"""What a data set is like, measured once from all scans and masks, and cached."""

import functools
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data.fault import Fault, make_fault
from pix2rep_jax.data.files.axes import SliceRule
from pix2rep_jax.data.files.regular_file import is_there
from pix2rep_jax.data.fit.likeness import Likeness, compare, read_thumbnail
from pix2rep_jax.data.fit.scan_facts import ScanFacts, measure_file
from pix2rep_jax.data.layout.class_values import with_doubt
from pix2rep_jax.data.slices import slice_cache
from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.data.slices.volume_files import read_files
from pix2rep_jax.data.volume_list import list_included
from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.atomic_file import read_sealed, write_sealed
from pix2rep_jax.wording import count

__all__ = ["Fingerprint", "describe_fingerprint", "take_fingerprint"]

VERSION = 4
"""Raise it when the same scans give other facts."""

_LOG = logging.getLogger(__name__)


class Fingerprint(NamedTuple):
    """What a data set is like.

    Attributes:
        scans: The facts of each volume.
        likeness: How alike the patients' middle slices are; None for one patient.
        num_channels: Channels of each scan.
        faults: One for each file that cannot be used.
    """

    scans: tuple[ScanFacts, ...]
    likeness: Likeness | None = None
    num_channels: int = 1
    faults: tuple[Fault, ...] = ()


def take_fingerprint(data: ConfigDict, *, progress: bool = True) -> Fingerprint:
    """Measures all scans and masks that a configuration names.

    The facts are kept under `data.cache_dir`, unless a file is at fault.

    Args:
        data: The `data` section of a configuration.
        progress: Whether to show a bar on standard error if it takes more than 5 s.

    Raises:
        InputError: If the scans cannot be listed.
    """
    data = with_doubt(data)
    volumes, _ = list_included(data)
    rule = SliceRule(data.slice_axis, data.orientation)
    missing = _missing(volumes)
    if missing:
        volumes = [each for each in volumes if not {*_paths(each)} & {*missing}]
    lost = [
        make_fault(f"{each} cannot be found, or is a link to nothing or a pipe", [each])
        for each in missing
    ]
    settings = {"fingerprint": VERSION, "axes": rule, "classes": len(data.classes)}
    path = slice_cache.find_path(
        Path(data.cache_dir).expanduser(),
        settings,
        volumes,
        kind="fingerprint-{}.json",
    )
    found = None if missing else _load(path)
    if found is None:
        scans, faults = _measure(
            volumes, rule, num_classes=len(data.classes), progress=progress
        )
        first = {each.patient: each for each in reversed(scans)}
        pictures = [read_thumbnail(each.thumbnail) for each in first.values()]
        found = Fingerprint(
            scans=tuple(each._replace(thumbnail="") for each in scans),
            likeness=compare(pictures),
            num_channels=scans[0].channels if scans else 1,
            faults=(*lost, *faults, *_other_channels(scans)),
        )
        if not found.faults:
            _save(path, found)
    return found


def describe_fingerprint(found: Fingerprint) -> list[str]:
    """Says in seven lines what a data set is like."""
    scans = found.scans
    if not scans:
        return ["no scan can be read"]
    shape = np.array([each.shape for each in scans])
    spacing = np.array([each.spacing_mm for each in scans])
    in_mm = (shape * spacing)[:, :2]
    levels = np.median([each.levels for each in scans], axis=0)
    masked = [each for each in scans if each.has_mask]
    kinds = Counter(each.dtype for each in scans)
    patients = len({each.patient for each in scans})
    annotated = sum(each.annotated for each in masked)
    return [
        f"{count(patients, 'patient')}, {count(len(scans), 'scan')} of "
        f"{count(found.num_channels, 'channel')}, {count(shape[:, 2].sum(), 'slice')}; "
        f"{count(len(masked), 'mask')}, {count(annotated, 'annotated slice')}",
        f"pixels of {_range(spacing[:, :2])} mm; {_slices(shape, spacing)}",
        f"sides of {_range(shape[:, 0])} x {_range(shape[:, 1])} px, "
        f"{_range(in_mm[:, 0])} x {_range(in_mm[:, 1])} mm",
        "stored as "
        + ", ".join(f"{name} in {count(n, 'scan')}" for name, n in kinds.most_common()),
        f"intensities: half of a scan's voxels are below {levels[2]:.4g}, and 98 % are "
        f"between {levels[1]:.4g} and {levels[3]:.4g}; "
        f"{np.mean([each.padding for each in scans]):.1%} of the voxels are padding",
        _masks_line(masked),
    ]


def _masks_line(masked: Sequence[ScanFacts]) -> str:
    """Says how large the structures are, and how far from the centre they reach."""
    boxes = np.array([each.box_mm for each in masked if each.box_mm])
    if not len(boxes):
        return "masks: none shows a structure"
    reach = np.array([each.reach_mm for each in masked if each.box_mm])
    rows, columns = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    return (
        f"the structures of a mask measure {_range(rows)} x {_range(columns)} mm; 95 % "
        f"of it lies within {_range(reach)} mm of the scan's centre"
    )


def _slices(shape: np.ndarray, spacing: np.ndarray) -> str:
    """Says how far apart slices are, and how many each scan has."""
    if shape[:, 2].max() == 1:
        return "each scan is one slice"
    return f"slices {_range(spacing[:, 2])} mm apart, {_range(shape[:, 2])} per scan"


def _range(values: np.ndarray) -> str:
    """Writes a median with the smallest and the largest value, if they differ."""
    low, middle, high = (f"{x:.3g}" for x in np.percentile(values, (0, 50, 100)))
    return middle if low == high else f"{middle} ({low} to {high})"


def _paths(volume: VolumeFile) -> list[Path]:
    return [path for path in (*volume.image_paths, volume.label_path) if path]


def _missing(volumes: Sequence[VolumeFile]) -> list[Path]:
    """Lists the files that are not there."""
    paths = dict.fromkeys(path for each in volumes for path in _paths(each))
    return [path for path in paths if not is_there(path)]


def _measure(
    volumes: Sequence[VolumeFile],
    rule: SliceRule,
    *,
    num_classes: int,
    progress: bool,
) -> tuple[list[ScanFacts], list[Fault]]:
    """Reads all files, several at the same time; a fault stops none of the others."""
    scans: list[ScanFacts] = []
    faults: list[Fault] = []
    read = functools.partial(measure_file, rule=rule, num_classes=num_classes)
    for file, result in read_files(
        read, volumes, title="look at scans", progress=progress, processes=True
    ):
        if isinstance(result, InputError):
            paths = [path for each in file for path in _paths(each)]
            faults.append(make_fault(str(result), paths))
        else:
            scans += result
    return scans, faults


def _other_channels(scans: Sequence[ScanFacts]) -> list[Fault]:
    """Says which scans have another number of channels than most."""
    if not scans:
        return []
    usual = Counter(each.channels for each in scans).most_common(1)[0][0]
    others = [each for each in scans if each.channels != usual]
    kinds = [
        f"has {count(each.channels, 'channel')}, and most have {usual}: give all the "
        "same channels, or convert all pictures to grey or RGB"
        for each in others
    ]
    return [
        Fault(each.volume_id, f"the scan {each.volume_id} {kind}", kind)
        for each, kind in zip(others, kinds, strict=True)
    ]


def _save(path: Path, found: Fingerprint) -> None:
    """Keeps a fingerprint; a full disk gives a warning and no error."""
    content = {
        "scans": [list(each) for each in found.scans],
        "likeness": found.likeness and list(found.likeness),
        "num_channels": found.num_channels,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sealed(path, content)
    except (OSError, InputError) as error:
        _LOG.warning("the facts of the scans could not be kept in %s: %s", path, error)


def _load(path: Path) -> Fingerprint | None:
    """Reads what `_save` has written; None if it is missing or damaged."""
    content: dict[str, Any] = read_sealed(path)
    try:
        likeness = content["likeness"]
        scans = [
            ScanFacts._make(tuple(x) if isinstance(x, list) else x for x in each)
            for each in content["scans"]
        ]
        return Fingerprint(
            scans=tuple(scans),
            likeness=None if likeness is None else Likeness(*likeness),
            num_channels=int(content["num_channels"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
