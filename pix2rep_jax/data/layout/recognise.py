"""How a folder of scans is laid out: which files are scans, masks and channels.

Only names are read here, and `dataset.json`. Capitals do not count in the names of
folders.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pix2rep_jax.data.files.file_names import (
    by_name,
    group_channels,
    mask_stem,
    match_masks,
    partners,
)
from pix2rep_jax.data.files.nifti_paths import (
    FolderListing,
    find_subfolder,
    list_folder,
)
from pix2rep_jax.data.files.picture_file import is_picture
from pix2rep_jax.data.files.regular_file import read_text
from pix2rep_jax.data.layout.dataset_json import read_facts
from pix2rep_jax.data.layout.known_layouts import (
    MASK_FOLDERS,
    explain_unknown,
    holds_masks,
)
from pix2rep_jax.data.layout.layout import Layout
from pix2rep_jax.data.layout.scan_tree import find_tree
from pix2rep_jax.errors import InputError, name_some
from pix2rep_jax.wording import count

__all__ = ["recognise"]

IMAGE_FOLDERS = ("images", "image")

PREDICTED = "volumes.csv"
"""A file that --mode predict leaves beside its masks."""


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
        or find_tree(root)
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
            f"the scan {scan} in {root} has {count(few, 'channel')}, and {other} has "
            f"{many}: give every scan one file per channel, NAME_0000, NAME_0001 and "
            "so on"
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
    labels = {name: files[name] for name in sorted(partners(files, files))}
    facts = read_facts(root)
    rest = {name: path for name, path in files.items() if name not in labels}
    scans, _ = group_channels(rest, labels, facts.channels)
    if not scans:
        return None
    if labels and (root / PREDICTED).is_file():
        raise InputError(
            f"{root} holds {PREDICTED}, so {name_some(labels)} beside the scans may be "
            "masks that --mode predict wrote: move its masks to another folder, or "
            f"{PREDICTED} if experts drew them"
        )
    masks = match_masks(scans, labels, root)
    return Layout("flat", root, scans, masks, facts=facts, unread={root: listing})


def _one_of(root: Path, names: Sequence[str]) -> Path | None:
    """The entry of a folder that has one of some names, whatever its capitals.

    Raises:
        InputError: If there are several.
    """
    # The folder itself may hold thousands of scans.
    entries = sorted(each for each in os.listdir(root) if each.casefold() in names)
    found = [root / each for each in entries]
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
        content = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, Mapping) else {}
