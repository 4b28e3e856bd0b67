"""How a folder of scans is laid out: which files are scans, masks and channels.

Only names are read here, and `dataset.json`. Capitals do not count in the names of
folders.
"""

import dataclasses
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pix2rep_jax.data.files.file_names import (
    by_name,
    group_channels,
    is_mask_name,
    mask_stem,
    match_masks,
)
from pix2rep_jax.data.files.nifti_paths import (
    FolderListing,
    find_subfolder,
    list_folder,
)
from pix2rep_jax.data.files.picture_file import is_picture
from pix2rep_jax.data.layout.dataset_json import DatasetFacts, read_facts
from pix2rep_jax.data.layout.known_layouts import (
    MASK_FOLDERS,
    explain_unknown,
    holds_masks,
)
from pix2rep_jax.errors import InputError, name_some

__all__ = ["Layout", "recognise"]

IMAGE_FOLDERS = ("images", "image")

_SUBSETS = ("train", "training", "test", "testing", "val", "validation")


@dataclasses.dataclass(frozen=True)
class Layout:
    """The files of a data set, by what they are.

    Attributes:
        name: One of `known_layouts.LAYOUTS`.
        root: The folder.
        scans: For each scan its files, one per channel in their order. The scans of a
            testing subset are not among them.
        masks: The file of the mask of each scan that has one, also of testing ones.
        test_scans: Like `scans`, for the testing subset.
        patients: The patient of each scan, where the folders say it; else empty.
        facts: What `dataset.json` or `labels.json` say.
        unread: The folders whose other files were not read, as they were listed.
    """

    name: str
    root: Path
    scans: Mapping[str, tuple[Path, ...]]
    masks: Mapping[str, Path]
    test_scans: Mapping[str, tuple[Path, ...]] = dataclasses.field(default_factory=dict)
    patients: Mapping[str, str] = dataclasses.field(default_factory=dict)
    facts: DatasetFacts = dataclasses.field(default_factory=DatasetFacts)
    unread: Mapping[Path, FolderListing] = dataclasses.field(default_factory=dict)

    @property
    def num_channels(self) -> int:
        """The number of files per scan."""
        return len(next(iter({**self.scans, **self.test_scans}.values())))


def recognise(root: str | Path) -> Layout:
    """Recognises the layout of a folder.

    Args:
        root: The folder.

    Returns:
        The layout with at least one scan.

    Raises:
        InputError: If the folder has no layout that is known, or if names in it
            contradict each other.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise InputError(f"there is no folder {root}: correct --config.data.root")
    found = (
        _acdc(root)
        or _by_json(root)
        or _nnunet(root)
        or _images_and_labels(root)
        or _flat(root)
        or _tree(root)
    )
    if found is None:
        raise InputError(explain_unknown(root))
    if found.name == "flat" and holds_masks(root):
        raise InputError(
            f"{root} holds masks, by its name: give the folder above it, which must "
            "hold the scans too, as --config.data.root"
        )
    counts = {len(files): name for name, files in found.scans.items()}
    if len(counts) > 1:
        (few, scan), (many, other), *_ = sorted(counts.items())
        raise InputError(
            f"the scan {scan} in {root} has {few} channel(s), and {other} has {many}: "
            "give every scan one file per channel, NAME_0000, NAME_0001 and so on"
        )
    return found


def _acdc(root: Path) -> Layout | None:
    """The challenge's own folders; Info.cfg tells them from others."""
    subsets = {name: find_subfolder(root, name) for name in ("training", "testing")}
    if not any(subsets["training"].glob("[pP]atient*/Info.cfg")):
        return None
    scans: dict[str, dict[str, tuple[Path, ...]]] = {"training": {}, "testing": {}}
    masks, patients = {}, {}
    for subset, place in subsets.items():
        for folder in sorted(place.glob("[pP]atient*")) if place.is_dir() else ():
            files = list_folder(folder).files if folder.is_dir() else ()
            for file in files:
                if stem := mask_stem(file.name):
                    masks[stem] = file.path
                elif "_frame" in file.name:
                    scans[subset][file.name] = (file.path,)
                    patients[file.name] = folder.name
    if not scans["training"]:
        return None
    return Layout(
        "acdc", root, scans["training"], masks, scans["testing"], patients=patients
    )


def _by_json(root: Path) -> Layout | None:
    """The Decathlon's lists in dataset.json, if the files that they name are there."""
    content = _read_json(root / "dataset.json")
    entries = content.get("training")
    if not (isinstance(entries, list) and entries):
        return None
    scans, masks = {}, {}
    for entry in entries:
        if not (isinstance(entry, Mapping) and isinstance(entry.get("image"), str)):
            return None
        image = root / entry["image"]
        if not os.path.lexists(image):
            return None  # nnU-Net's lists leave the number of the channel out
        name = _stem(image)
        scans[name] = (image,)
        if isinstance(entry.get("label"), str):
            masks[name] = root / entry["label"]
    listed = content.get("test")
    tests = [root / each for each in listed or () if isinstance(each, str)]
    return Layout(
        "decathlon",
        root,
        dict(sorted(scans.items())),
        masks,
        {_stem(each): (each,) for each in sorted(tests) if os.path.lexists(each)},
        facts=read_facts(root),
    )


def _nnunet(root: Path) -> Layout | None:
    """imagesTr, labelsTr and perhaps imagesTs and labelsTs."""
    folders = {
        name: find_subfolder(root, name.casefold())
        for name in ("imagesTr", "labelsTr", "imagesTs", "labelsTs")
    }
    if not folders["imagesTr"].is_dir():
        return None
    listings = {name: _list_if_there(folder) for name, folder in folders.items()}
    facts = read_facts(root)
    cases: dict[str, dict[str, tuple[Path, ...]]] = {}
    masks: dict[str, Path] = {}
    channels = False
    for kind in ("Tr", "Ts"):
        files = by_name(listings[f"images{kind}"].files)
        labels = by_name(listings[f"labels{kind}"].files)
        cases[kind], numbered = group_channels(files, labels, facts.channels)
        channels |= numbered
        masks |= match_masks(cases[kind], labels, folders[f"images{kind}"])
    if not cases["Tr"]:
        return None
    twice = sorted({*cases["Tr"]} & {*cases["Ts"]})
    if twice:
        raise InputError(
            f"{twice[0]} lies in imagesTr and in imagesTs of {root}: rename one of them"
        )
    return Layout(
        "nnunet" if channels else "decathlon",
        root,
        cases["Tr"],
        masks,
        cases["Ts"],
        facts=facts,
        unread={folders[name]: each for name, each in listings.items()},
    )


def _images_and_labels(root: Path) -> Layout | None:
    """One folder of scans and one of masks."""
    folder = _one_of(root, IMAGE_FOLDERS)
    if folder is None or not folder.is_dir():
        return None
    labels_folder = _one_of(root, MASK_FOLDERS)
    if labels_folder is not None and not labels_folder.is_dir():
        raise InputError(
            f"{labels_folder} is a file, or a link to nothing: it must be the folder "
            "of the masks"
        )
    listing = list_folder(folder)
    labels = by_name(_list_if_there(labels_folder).files)
    facts = read_facts(root, labels_folder)
    files = by_name(listing.files)
    scans, _ = group_channels(files, labels, facts.channels)
    if not scans:
        return None
    masks = match_masks(scans, labels, folder)
    unread = {folder: listing}
    return Layout("images", root, scans, masks, facts=facts, unread=unread)


def _flat(root: Path) -> Layout | None:
    """Scans in the folder itself, and masks beside them."""
    listing = list_folder(root)
    if any(is_picture(file.path) for file in listing.files):
        below = list_folder(
            root, deep=True
        )  # a picture may lie beside folders of scans
        if not any(is_picture(file.path) for file in below.files):
            return None
    files = by_name(listing.files)
    labels = {name: path for name, path in files.items() if _partner(name, files)}
    facts = read_facts(root)
    rest = {name: path for name, path in files.items() if name not in labels}
    stems = {mask_stem(name): path for name, path in labels.items()}
    scans, _ = group_channels(rest, stems, facts.channels)
    if not scans:
        return None
    masks = match_masks(scans, labels, root)
    return Layout("flat", root, scans, masks, facts=facts, unread={root: listing})


def _tree(root: Path) -> Layout | None:
    """One folder per patient, or per visit of a patient, with one scan in each."""
    listing = list_folder(root, deep=True)
    folders: dict[str, dict[str, Path]] = {}
    derived: dict[str, Path] = {}
    for file in listing.files:
        folder, _, stem = file.name.rpartition("/")
        if not folder:
            return None
        if folder.split("/")[0].casefold() == "derivatives":
            derived[file.name] = file.path
        else:
            folders.setdefault(folder, {})[stem] = file.path
    facts = read_facts(root)
    scans, masks, patients = {}, {}, {}
    for folder, files in sorted(folders.items()):
        labels = {n: p for n, p in files.items() if mask_stem(n) or is_mask_name(n)}
        rest = {name: path for name, path in files.items() if name not in labels}
        cases, _ = group_channels(rest, {}, facts.channels)
        if len(cases) != 1 or len(labels) > 1:
            return None
        ((stem, paths),) = cases.items()
        scans[folder] = paths
        patients[folder] = _patient_of(folder)
        labels |= _derived_masks(derived, folder, stem) if not labels else {}
        if labels:
            masks[folder] = next(iter(labels.values()))
    if len({*patients.values()}) < 2:
        return None
    names = {folder: folder.replace("/", "_") for folder in scans}
    if len({*names.values()}) < len(names):
        return None
    unread = FolderListing(others=listing.others, unsearched=listing.unsearched)
    return Layout(
        "tree",
        root,
        {names[folder]: paths for folder, paths in scans.items()},
        {names[folder]: path for folder, path in masks.items()},
        patients={names[folder]: patient for folder, patient in patients.items()},
        facts=facts,
        unread={root: unread},
    )


def _partner(name: str, files: Mapping[str, Path]) -> str:
    """The scan beside a mask; "" if it is not named like one or has no scan."""
    stem = mask_stem(name)
    return next((each for each in (stem, f"{stem}_0000") if each in files), "")


def _derived_masks(
    derived: Mapping[str, Path], folder: str, stem: str
) -> dict[str, Path]:
    """The masks of a scan that lie below `derivatives/` in the scan's own folders."""
    ending = f"/{folder}"
    subject = stem.rpartition("_")[0] or stem
    found = {
        name: path
        for name, path in derived.items()
        if name.rpartition("/")[0].endswith(ending)
        and name.rpartition("/")[2].startswith(subject)
        and mask_stem(name.rpartition("/")[2])
    }
    return found if len(found) == 1 else {}


def _patient_of(folder: str) -> str:
    """The folder that stands for the patient, which may lie below train/ or test/."""
    parts = folder.split("/")
    if len(parts) > 1 and parts[0].casefold() in _SUBSETS:
        return parts[1]
    return parts[0]


def _one_of(root: Path, names: Sequence[str]) -> Path | None:
    """The entry of a folder that has one of some names, whatever its capitals.

    Raises:
        InputError: If there are several.
    """
    entries = sorted(root.iterdir())
    found = [each for each in entries if each.name.casefold() in names]
    found = [each for each in found if not each.is_file()] or found
    if len(found) > 1:
        raise InputError(
            f"{root} holds {name_some(each.name for each in found)}: put all files "
            f"into {names[0]}"
        )
    return found[0] if found else None


def _list_if_there(folder: Path | None) -> FolderListing:
    return list_folder(folder) if folder and folder.is_dir() else FolderListing()


def _stem(path: Path) -> str:
    """The name of a file without everything that stands behind a point."""
    return re.sub(r"\.(nii|hdr|img|png|tiff?|jpe?g)(\.gz)?$", "", path.name, flags=re.I)


def _read_json(path: Path) -> Mapping[str, Any]:
    """The content of a JSON file; empty if it is missing, damaged or not an object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, Mapping) else {}
