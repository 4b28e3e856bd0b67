"""A plain folder of NIfTI scans, with or without masks, as a list of volumes."""

import logging
import os
import re
from pathlib import Path

from pix2rep_jax.data.mask import is_mask, scan_name
from pix2rep_jax.data.nifti_paths import (
    CONVERT,
    FolderListing,
    count_suffixes,
    find_subfolder,
    list_folder,
)
from pix2rep_jax.data.volume import VolumeFile
from pix2rep_jax.errors import InputError, name_some

__all__ = ["describe_root", "list_volumes"]

LAYOUT = "images/NAME.nii.gz, and labels/NAME.nii.gz for the scans that have a mask"

_NNUNET = (
    "docs/how-to/own-data.md has the commands for nnU-Net's layout, which link "
    "imagesTr/NAME_0000.nii.gz as images/NAME.nii.gz and labelsTr as labels; also add "
    "--config.data.patient_regex='.+'"
)

_LOG = logging.getLogger(__name__)


def list_volumes(
    root: str | Path, *, patient_regex: str = r"^[^_]+"
) -> list[VolumeFile]:
    """Lists the scans of `<root>/images` with their masks in `<root>/labels`.

    Both folders may be written in capitals. Masks among the scans are left out, with a
    note that counts them.

    Args:
        root: The folder that holds `images/` and, if there are masks, `labels/`.
        patient_regex: Finds the patient in a file's name: its first group, or the whole
            match. Scans of one patient stay on one side of a split.

    Returns:
        The volumes in the order of their names, without phase and group.

    Raises:
        InputError: If the folder is missing or holds no scan, if the expression is
            invalid, or if a name does not match it.
    """
    root = Path(root).expanduser()
    try:
        pattern = re.compile(patient_regex)
    except re.error as error:
        raise InputError(
            f"data.patient_regex={patient_regex!r} is not a regular expression "
            f"({error}): correct it"
        ) from error
    folder, masks = find_subfolder(root, "images"), find_subfolder(root, "labels")
    listing = list_folder(folder) if folder.is_dir() else FolderListing()
    images = _by_name(listing)
    among_scans = [
        name
        for name, path in images.items()
        if (partner := images.get(scan_name(name))) and is_mask(path, scan=partner)
    ]
    own_masks = [images.pop(name) for name in among_scans]
    if not images:
        raise InputError(
            f"there is no scan in {folder}: data.root must hold {LAYOUT} "
            f"({describe_root(root)}){_advice(root, listing)}"
        )
    for note in _notes(folder, own_masks, listing):
        _LOG.warning(note)
    if os.path.lexists(masks) and not masks.is_dir():
        raise InputError(
            f"{masks} is a file, or a link to nothing: it must be the folder of the "
            "masks"
        )
    labels = _by_name(list_folder(masks)) if masks.is_dir() else {}
    if stray := sorted(set(labels) - set(images)):
        channel = f"{stray[0]}_0000"
        named = f", where {channel} is: take the _0000 off its name"
        raise InputError(
            f"the mask {labels[stray[0]]} has no scan of the same name in {folder}"
            + (named if channel in images else ": give both the same name")
        )
    volumes = []
    for name, image_path in images.items():
        found = pattern.search(name)
        if found is None or not (patient := found[1] if pattern.groups else found[0]):
            raise InputError(
                f"data.patient_regex={patient_regex!r} does not find a patient in the "
                f"name of {image_path}: change the expression or the name"
            )
        volumes.append(
            VolumeFile(
                volume_id=name,
                patient=patient,
                subset="training",
                phase="",
                group="",
                image_path=image_path,
                label_path=labels.get(name),
            )
        )
    return volumes


def describe_root(root: str | Path) -> str:
    """Says what lies in a folder, such as "it holds images, Masks"."""
    try:
        names = sorted(each.name for each in Path(root).expanduser().iterdir())
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    shown = name_some((name for name in names if not name.startswith(".")), most=5)
    return f"it holds {shown or 'nothing'}"


def _advice(root: Path, listing: FolderListing) -> str:
    """Says what to do with a folder of another layout or format; "" if unknown."""
    if find_subfolder(root, "imagestr").is_dir():
        return f"; {_NNUNET}"
    return f"; {CONVERT}" if listing.others else ""


def _by_name(listing: FolderListing) -> dict[str, Path]:
    """Maps the names of a folder's NIfTI files to their paths.

    Raises:
        InputError: If two files have the same name.
    """
    files: dict[str, Path] = {}
    for file in listing.files:
        if file.name in files:
            raise InputError(
                f"{files[file.name]} and {file.path} have the same name: remove one of "
                "them"
            )
        files[file.name] = file.path
    return files


def _notes(folder: Path, own_masks: list[Path], listing: FolderListing) -> list[str]:
    """Says what of the folder of scans is left out."""
    notes = []
    if own_masks:
        notes.append(
            f"note: {len(own_masks)} mask(s) among the scans in {folder} are left out "
            f"({name_some(path.name for path in own_masks)}): an expert's masks belong "
            "in labels/"
        )
    passed_over = [f"the folder {path.name}" for path in listing.unsearched]
    if listing.others:
        passed_over.append(count_suffixes(listing.others))
    if passed_over:
        notes.append(f"note: {folder} also holds {name_some(passed_over)}: not read")
    return notes
