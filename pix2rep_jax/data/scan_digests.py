"""Which scans these are, wherever they lie: a digest of each one's voxels."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pix2rep_jax.data.volume import VolumeRecord

__all__ = ["find_exchanged", "list_scans", "shared_patients"]


def list_scans(
    volumes: Sequence[VolumeRecord], patients: Collection[str], *, masks: bool
) -> dict[str, dict[str, str]]:
    """Lists what the scans of some patients hold.

    Args:
        volumes: Of a data set.
        patients: Those that take part.
        masks: Whether their masks do.

    Returns:
        By patient and volume the digest of its voxels and, behind a blank and where
        there is one, of its mask.
    """
    scans: dict[str, dict[str, str]] = {}
    for each in volumes:
        if each.patient in patients:
            label = each.label_digest if masks else ""
            own = scans.setdefault(each.patient, {})
            own[each.volume_id] = f"{each.image_digest} {label}".strip()
    return scans


def find_exchanged(theirs: Any, ours: Mapping[str, Mapping[str, str]]) -> str:
    """Finds a scan of a patient that is not what it was.

    Args:
        theirs: What `list_scans` returned once; nothing is known of patients that are
            not there. A mask may have come since.
        ours: What it returns now.

    Returns:
        What came, went or changed, such as "the mask of patient001_ED"; empty where
        nothing did.
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
    """Lists the patients of one name of whom a scan is the same.

    Args:
        theirs: What `list_scans` returned for a data set.
        ours: What it returned for another, or for the same one elsewhere.
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
    """The two digests of a volume in what may be a damaged record; empty ones."""
    try:
        image, _, label = scans[patient][name].partition(" ")
        return image, label
    except (AttributeError, KeyError, TypeError):
        return "", ""
