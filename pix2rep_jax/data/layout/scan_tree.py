"""A tree of folders with one scan in each, as BIDS has it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pix2rep_jax.data.files.file_names import (
    group_channels,
    is_mask_name,
    mask_stem,
    says_mask,
)
from pix2rep_jax.data.files.nifti_paths import FolderListing, NiftiPath, list_folder
from pix2rep_jax.data.layout.dataset_json import read_facts
from pix2rep_jax.data.layout.layout import Layout
from pix2rep_jax.errors import name_some

__all__ = ["explain_folder", "find_tree"]

_SUBSETS = ("train", "training", "test", "testing", "val", "validation")


def find_tree(root: Path) -> Layout | None:
    """Finds one folder per patient, or per visit of a patient, with one scan in each.

    Args:
        root: The folder above them.

    Returns:
        The layout; None if a folder holds several scans, or all are of one patient.
    """
    listing = list_folder(root, deep=True)
    folders, derived = _by_folder(listing.files)
    if "" in folders:
        return None
    facts = read_facts(root)
    scans, masks, patients = {}, {}, {}
    for folder, files in sorted(folders.items()):
        cases, labels = _split(files, facts.channels)
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


def explain_folder(files: Iterable[NiftiPath]) -> str:
    """Says why folders with these files are not a tree of one scan in each.

    Args:
        files: All files below the root, by their paths below it.

    Returns:
        A sentence about the first folder that holds several scans or masks, or a mask
        alone; "" if none does, or if files lie in the root itself.
    """
    folders, _ = _by_folder(files)
    for folder, members in () if "" in folders else sorted(folders.items()):
        cases, labels = _split(members, ())
        if len(cases) > 1:
            return (
                f"{folder} holds {len(cases)} scans ({name_some(cases, most=5)}): keep "
                "one, or name them as channels NAME_0000, NAME_0001, ... in every "
                "folder"
            )
        if len(labels) > 1:
            return f"{folder} holds {len(labels)} masks ({name_some(labels)}): keep one"
        if not cases:
            return (
                f"{folder} holds the mask {name_some(labels)}, by its name, and no scan"
            )
    return ""


def _by_folder(
    files: Iterable[NiftiPath],
) -> tuple[dict[str, dict[str, Path]], dict[str, Path]]:
    """The files of each folder by their names, and those below `derivatives/`."""
    folders: dict[str, dict[str, Path]] = {}
    derived: dict[str, Path] = {}
    for file in files:
        folder, _, stem = file.name.rpartition("/")
        if folder.split("/")[0].casefold() == "derivatives":
            derived[file.name] = file.path
        else:
            folders.setdefault(folder, {})[stem] = file.path
    return folders, derived


def _split(
    files: Mapping[str, Path], channels: Sequence[str]
) -> tuple[dict[str, tuple[Path, ...]], dict[str, Path]]:
    """Tells the scans of a folder, each with its channels, from its masks."""
    labels = {n: p for n, p in files.items() if mask_stem(n) or is_mask_name(n)}
    if len(labels) == len(files):  # "roi" and "manual" may also be parts of a scan's
        labels = {name: path for name, path in labels.items() if says_mask(name)}
    rest = {name: path for name, path in files.items() if name not in labels}
    cases, _ = group_channels(rest, {}, channels)
    return cases, labels


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
