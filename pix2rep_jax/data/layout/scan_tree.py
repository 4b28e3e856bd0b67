"""A tree of folders with one scan in each, as BIDS has it."""

from collections.abc import Mapping
from pathlib import Path

from pix2rep_jax.data.files.file_names import group_channels, is_mask_name, mask_stem
from pix2rep_jax.data.files.nifti_paths import FolderListing, list_folder
from pix2rep_jax.data.layout.dataset_json import read_facts
from pix2rep_jax.data.layout.layout import Layout

__all__ = ["find_tree"]

_SUBSETS = ("train", "training", "test", "testing", "val", "validation")


def find_tree(root: Path) -> Layout | None:
    """Finds one folder per patient, or per visit of a patient, with one scan in each.

    Args:
        root: The folder above them.

    Returns:
        The layout; None if a folder holds several scans, or all are of one patient.
    """
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
