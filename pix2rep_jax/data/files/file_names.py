"""Which files of a folder belong together: a scan's channels, and its mask."""

import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pix2rep_jax.data.files.nifti_paths import NiftiPath
from pix2rep_jax.errors import InputError, plain_text

__all__ = [
    "by_name",
    "group_channels",
    "is_mask_name",
    "mask_stem",
    "mask_word",
    "match_masks",
    "partners",
    "says_mask",
]

_CERTAIN = r"(?:d?seg|segmentations?|gt|masks?|labels?)"
_WORD = rf"(?:{_CERTAIN}|manual|annotations?|roi)"
"""What masks are called. The last three may also be parts of a scan's name."""

_MASK_ENDING = re.compile(rf"[_. -]{_WORD}$", re.IGNORECASE)
_MASK_BEGINNING = re.compile(rf"^{_WORD}(?:[_. -]|(?=\d))(?=.)", re.IGNORECASE)
_SAYS_MASK = re.compile(
    rf"(?:^|[_. -]){_CERTAIN}(?:[_. -]|\d|$)|segmentation", re.IGNORECASE
)

_SCAN = r"(?:volumes?|vol|images?|img|scan)"
_SCAN_WORD = re.compile(
    rf"^{_SCAN}(?:[_. -]|(?=\d))(?=.)|(?<=.)[_. -]{_SCAN}$", re.IGNORECASE
)
"""What stands in a scan's name where a mask's name has its own word."""

_CHANNEL = re.compile(r"_(\d{4})$")

_MOST_NAMES = 2**16
"""Names whose words are remembered: a start looks at the same folder several times."""


@functools.lru_cache(_MOST_NAMES)
def mask_word(name: str) -> str:
    """Finds what says that a name is a mask's, such as "_seg" or "segmentation-".

    It stands at the end or at the beginning, in any case of letters; "" without it.
    """
    found = _MASK_ENDING.search(name) or _MASK_BEGINNING.search(name)
    return found[0] if found and found[0] != name else ""


def mask_stem(name: str) -> str:
    """Takes its word off a mask's name, such as `p1_seg`; "" if it has none."""
    word = mask_word(name)
    if not word:
        return ""
    return name.removesuffix(word) if name.endswith(word) else name.removeprefix(word)


def is_mask_name(name: str) -> bool:
    """Whether a name is that of a mask without a scan's name, such as "seg"."""
    return bool(_MASK_ENDING.fullmatch(f"_{name}"))


def says_mask(name: str) -> bool:
    """Whether any part of a name is a word that only masks have."""
    return bool(_SAYS_MASK.search(name))


def partners(masks: Iterable[str], files: Iterable[str]) -> dict[str, str]:
    """Finds the scans beside masks, by names alone.

    `p1_seg` belongs to `p1`, `p1_0000` or `p1_image`, and `segmentation-0` to `0`,
    `volume-0` or `img_0`.

    Args:
        masks: Names that may be those of masks.
        files: Names of scans; those of masks may be among them.

    Returns:
        The name of the scan for each mask that has just one.
    """
    known = {*files}
    cores: dict[str, list[str]] = defaultdict(list)
    for name in known:
        if (core := _without_scan_word(name)) != name:
            cores[core].append(name)
    found = {}
    for name in masks:
        stem = mask_stem(name)
        exact = [x for x in (stem, f"{stem}_0000") if stem and x in known]
        near = cores.get(stem, [])
        if exact or len(near) == 1:
            found[name] = (*exact, *near)[0]
    return found


@functools.lru_cache(_MOST_NAMES)
def _without_scan_word(name: str) -> str:
    return _SCAN_WORD.sub("", name, count=1)


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
    beside = partners(files, files)
    rest = {name: path for name, path in files.items() if name not in beside}
    found = {name: _CHANNEL.search(name) for name in rest}
    without = {name: name[: m.start()] if m else name for name, m in found.items()}
    labels = _scan_names(labels, files)
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
        word = mask_word(name)
        case = without.get(scan, scan)
        joined.setdefault(case + word if name.endswith(word) else name, (files[name],))
    return joined, True


def _scan_names(labels: Iterable[str], files: Iterable[str]) -> set[str]:
    """All names that the scans of masks may have."""
    labels = [*labels]
    names = {*labels, *map(mask_stem, labels)} - {""}
    for label, scan in partners(labels, files).items():
        if scan != f"{mask_stem(label)}_0000":  # the number may be a channel's
            names.add(scan)
    return names


def _is_loose(
    name: str, short: str, labels: Iterable[str], files: Iterable[str]
) -> bool:
    """Whether NAME_0000 is the one channel of a scan whose mask is called NAME."""
    is_first = name == f"{short}_0000" and f"{short}_0001" not in files
    return is_first and short in labels and name not in labels and short not in files


def match_masks(
    scans: Iterable[str], labels: Mapping[str, Path], folder: Path
) -> dict[str, Path]:
    """Gives each scan its mask, by the scan's name or by a word such as `_seg`.

    Raises:
        InputError: If a mask has no scan, or a scan two masks.
    """
    known = {plain_text(scan): scan for scan in scans}
    beside = partners(map(plain_text, labels), known)
    masks: dict[str, Path] = {}
    for name, path in labels.items():
        plain = plain_text(name)
        scan = known.get(plain, known.get(beside.get(plain, ""), ""))
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
