"""Which files of a folder belong together: a scan's channels, and its mask."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pix2rep_jax.data.files.nifti_paths import NiftiPath
from pix2rep_jax.errors import InputError

__all__ = ["by_name", "group_channels", "is_mask_name", "mask_stem", "match_masks"]

_MASK_ENDING = re.compile(r"_(d?seg|gt|masks?|labels?)$", re.IGNORECASE)
_CHANNEL = re.compile(r"_(\d{4})$")


def mask_stem(name: str) -> str:
    """Takes the end off a mask's name, such as that of `p1_seg`; "" if it has none."""
    found = _MASK_ENDING.search(name)
    return name[: found.start()] if found else ""


def is_mask_name(name: str) -> bool:
    """Whether a name is that of a mask without a scan's name, such as "seg"."""
    return bool(_MASK_ENDING.fullmatch(f"_{name}"))


def group_channels(
    files: Mapping[str, Path], labels: Iterable[str], named: Sequence[str]
) -> tuple[dict[str, tuple[Path, ...]], bool]:
    """Joins the files NAME_0000, NAME_0001 ... of each scan.

    A number of four digits may also be a scan's own. It is that of a channel if
    `dataset.json` names channels in nnU-Net's way, if masks are named without it, or if
    there is a second channel.

    Args:
        files: Paths by names.
        labels: The names of masks.
        named: The channels that `dataset.json` names.

    Returns:
        The files of each scan in the order of their numbers, by the scan's name; and
        whether numbers were taken for channels.
    """
    split = {name: _CHANNEL.search(name) for name in files}
    without = {name: name[: m.start()] if m else name for name, m in split.items()}
    labels = {each for label in labels for each in (label, mask_stem(label)) if each}
    numbered = bool(files) and all(split.values())
    first = {without[name] for name, m in split.items() if m and m[1] == "0000"}
    numbered = numbered and first == {*without.values()}
    if not numbered or labels & {*files}:
        return {name: (path,) for name, path in files.items()}, False
    if not (named or labels & first or len(files) > len(first) or len(files) == 1):
        return {name: (path,) for name, path in files.items()}, False
    scans: dict[str, tuple[Path, ...]] = {}
    for name in sorted(files):
        scans[without[name]] = (*scans.get(without[name], ()), files[name])
    return scans, True


def match_masks(
    scans: Iterable[str], labels: Mapping[str, Path], folder: Path
) -> dict[str, Path]:
    """Gives each scan its mask, by the scan's name or with an ending such as `_seg`.

    Raises:
        InputError: If a mask has no scan, or a scan two masks.
    """
    known = {*scans}
    masks: dict[str, Path] = {}
    for name, path in labels.items():
        scan = name if name in known else mask_stem(name)
        if scan not in known:
            raise InputError(
                f"the mask {path} has no scan of the same name in {folder}: give both "
                "the same name"
            )
        if scan in masks:
            raise InputError(
                f"{masks[scan]} and {path} are both masks of {scan}: remove one of them"
            )
        masks[scan] = path
    return dict(sorted(masks.items()))


def by_name(files: Iterable[NiftiPath]) -> dict[str, Path]:
    """Maps the names of files to their paths.

    Raises:
        InputError: If two files have the same name.
    """
    paths: dict[str, Path] = {}
    for file in files:
        if file.name in paths:
            raise InputError(
                f"{paths[file.name]} and {file.path} have the same name: remove one of "
                "them"
            )
        paths[file.name] = file.path
    return paths
