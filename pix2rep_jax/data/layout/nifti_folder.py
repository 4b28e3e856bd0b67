"""A folder of NIfTI scans, with or without masks, as a list of volumes."""

import functools
import logging
from pathlib import Path

from pix2rep_jax.data.files.file_names import partners
from pix2rep_jax.data.files.mask import is_mask
from pix2rep_jax.data.files.nifti_paths import FolderListing, count_suffixes
from pix2rep_jax.data.layout.layout import Layout
from pix2rep_jax.data.layout.patients import AUTO, patients_by_name
from pix2rep_jax.data.layout.recognise import recognise
from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.errors import InputError, name_some
from pix2rep_jax.wording import count

__all__ = ["list_volumes"]

_LOG = logging.getLogger(__name__)


def list_volumes(
    root: str | Path,
    *,
    patient_regex: str = AUTO,
    quiet: bool = False,
    layout: Layout | None = None,
) -> list[VolumeFile]:
    """Lists the scans of a folder in any layout, with their masks.

    Masks among the scans are left out, with a note that counts them. The scans of a
    testing subset are listed if they have masks.

    Args:
        root: The folder.
        patient_regex: As for `patients_by_name`. It comes before what folders say.
        quiet: Whether to say nothing of what is left out.
        layout: What `recognise` found in the folder; None looks there.

    Returns:
        The volumes in the order of their names, without phase and group.

    Raises:
        InputError: If the folder has no layout that is known, if the expression is
            invalid, or if a name does not match it.
    """
    layout = layout or recognise(root)
    scans = dict(layout.scans)
    own_masks = [scans.pop(name)[0] for name in _masks_among(scans)]
    for folder, listing in layout.unread.items():
        for note in _notes(folder, own_masks, listing):
            if not quiet:
                _say_once(note)
        own_masks = []
    if stray := sorted({*layout.masks} - {*scans, *layout.test_scans}):
        raise InputError(
            f"the mask {layout.masks[stray[0]]} has no scan of the same name: give "
            "both the same name"
        )
    scored = {name: x for name, x in layout.test_scans.items() if name in layout.masks}
    patients = _patients(layout, scans | scored, patient_regex)
    return [
        VolumeFile(
            volume_id=name,
            patient=patients[name],
            subset=subset,
            phase="",
            group="",
            image_path=files[0],
            label_path=layout.masks.get(name),
            more_channels=files[1:],
        )
        for subset, cases in (("training", scans), ("testing", scored))
        for name, files in sorted(cases.items())
    ]


def _patients(
    layout: Layout, scans: dict[str, tuple[Path, ...]], regex: str
) -> dict[str, str]:
    """The patient of each scan, by the folders or by the names."""
    if regex == AUTO and layout.patients:
        return dict(layout.patients)
    return patients_by_name({name: files[0] for name, files in scans.items()}, regex)


def _masks_among(scans: dict[str, tuple[Path, ...]]) -> list[str]:
    """The names of files that lie among the scans and hold the mask of one of them."""
    return [
        name
        for name, scan in partners(scans, scans).items()
        if is_mask(scans[name][0], scan=scans[scan][0])
    ]


@functools.cache
def _say_once(note: str) -> None:
    """Logs a note; a process that lists the same folder again does not repeat it."""
    _LOG.warning(note)


def _notes(folder: Path, own_masks: list[Path], listing: FolderListing) -> list[str]:
    """Says what of the folder of scans is left out."""
    notes = []
    if own_masks:
        notes.append(
            f"note: this leaves out {count(len(own_masks), 'mask')} among the scans in "
            f"{folder} ({name_some(path.name for path in own_masks)}): an expert's "
            "masks belong in labels/"
        )
    passed_over = [f"the folder {path.name}" for path in listing.unsearched]
    if listing.others:
        passed_over.append(count_suffixes(listing.others))
    if passed_over:
        notes.append(f"note: {folder} also holds {name_some(passed_over)}: not read")
    return notes
