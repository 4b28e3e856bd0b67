"""Which files of a folder belong together: a scan's channels, and its mask."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pix2rep_jax.data.files.nifti_paths import NiftiPath
from pix2rep_jax.errors import InputError, plain_text

__all__ = [
    "by_name",
    "group_channels",
    "is_mask_name",
    "mask_stem",
    "match_masks",
    "partner",
]

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
    there is a second channel. A file `NAME_0000_seg` among them is named after its
    scan, and so is a loose file `NAME_0000` if the mask is called `NAME`.

    Args:
        files: Paths by names.
        labels: The names of masks.
        named: The channels that `dataset.json` names.

    Returns:
        The files of each scan in the order of their numbers, by the scan's name; and
        whether numbers were taken for channels.
    """
    beside = {name: scan for name in files if (scan := partner(name, files))}
    rest = {name: path for name, path in files.items() if name not in beside}
    found = {name: _CHANNEL.search(name) for name in rest}
    without = {name: name[: m.start()] if m else name for name, m in found.items()}
    labels = {each for label in labels for each in (label, mask_stem(label)) if each}
    first = {without[name] for name, m in found.items() if m and m[1] == "0000"}
    numbered = bool(rest) and all(found.values()) and first == {*without.values()}
    numbered = numbered and not labels & {*rest}
    several = len(rest) > len(first) or len(rest) == 1
    if not (numbered and (named or labels & first or several)):
        return {
            without[name]
            if name in rest and _is_loose(name, without[name], labels, files)
            else name: (path,)
            for name, path in files.items()
        }, False
    joined: dict[str, tuple[Path, ...]] = {}
    for name in sorted(rest):
        joined[without[name]] = (*joined.get(without[name], ()), rest[name])
    for name, scan in beside.items():
        ending = name.removeprefix(mask_stem(name))
        joined.setdefault(without.get(scan, scan) + ending, (files[name],))
    return joined, True


def _is_loose(
    name: str, short: str, labels: Iterable[str], files: Iterable[str]
) -> bool:
    """Whether NAME_0000 is the one channel of a scan whose mask is called NAME."""
    is_first = name == f"{short}_0000" and f"{short}_0001" not in files
    return is_first and short in labels and name not in labels and short not in files


def partner(name: str, files: Iterable[str]) -> str:
    """Finds the scan beside a mask; "" if it is not named like one or has no scan."""
    stem = mask_stem(name)
    return next((each for each in (stem, f"{stem}_0000") if stem and each in files), "")


def match_masks(
    scans: Iterable[str], labels: Mapping[str, Path], folder: Path
) -> dict[str, Path]:
    """Gives each scan its mask, by the scan's name or with an ending such as `_seg`.

    Raises:
        InputError: If a mask has no scan, or a scan two masks.
    """
    known = {plain_text(scan): scan for scan in scans}
    masks: dict[str, Path] = {}
    for name, path in labels.items():
        plain = plain_text(name)
        scan = known.get(plain, known.get(mask_stem(plain), ""))
        if not scan:
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
