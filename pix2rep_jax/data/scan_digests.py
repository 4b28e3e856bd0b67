"""Which scans these are, wherever they lie: a digest of each one's voxels."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pix2rep_jax.data.slices.volume import VolumeRecord

__all__ = ["find_exchanged", "list_scans", "shared_patients"]


def list_scans(
    volumes: Sequence[VolumeRecord], patients: Collection[str], *, masks: bool
) -> dict[str, dict[str, str]]:
    """Lists the digests of the scans of some patients.

    Args:
        volumes: All volumes of a data set.
        patients: The patients that take part.
        masks: Whether their masks take part too.

    Returns:
        Digests by patient and volume: of the voxels, then a blank and the digest of
        the mask where there is one.
    """
    scans: dict[str, dict[str, str]] = {}
    for each in volumes:
        if each.patient in patients:
            label = each.label_digest if masks else ""
            own = scans.setdefault(each.patient, {})
            own[each.volume_id] = f"{each.image_digest} {label}".strip()
    return scans


def find_exchanged(theirs: Any, ours: Mapping[str, Mapping[str, str]]) -> str:
    """Finds a scan of a patient that has changed.

    Args:
        theirs: What `list_scans` returned earlier. A patient that is missing there is
            passed over, and so is a mask that has come since.
        ours: What `list_scans` returns now.

    Returns:
        What came, went or changed, such as "the mask of patient001_ED"; "" if nothing
        did.
    """
    for patient, volumes in ours.items():
        known = theirs.get(patient) if isinstance(theirs, Mapping) else None
        if not isinstance(known, Mapping):
            continue
        for name in sorted({*volumes, *known}):
            old_image, old_label = _find(theirs, patient, name)
            image, label = _find(ours, patient, name)
            if old_image != image:
                return f"the scan {name}"
            if old_label and label and old_label != label:
                return f"the mask of {name}"
    return ""


def shared_patients(theirs: Any, ours: Mapping[str, Mapping[str, str]]) -> set[str]:
    """Lists the patients that have the same name and a scan in common.

    Args:
        theirs: What `list_scans` returned for one data set.
        ours: What it returned for another, or for a copy of the same.
    """
    return {
        patient
        for patient, volumes in ours.items()
        if any(
            _find(theirs, patient, name)[0] == _find(ours, patient, name)[0] != ""
            for name in volumes
        )
    }


def _find(scans: Any, patient: str, name: str) -> tuple[str, str]:
    """The two digests of a volume; "" for each that a damaged record lacks."""
    try:
        image, _, label = scans[patient][name].partition(" ")
        return image, label
    except (AttributeError, KeyError, TypeError):
        return "", ""
