"""What probing and fine-tuning share: where they start, how they are scored."""

from collections.abc import Sequence

import numpy as np

from pix2rep_jax.data.volume import VolumeFile, VolumeRecord
from pix2rep_jax.errors import InputError

__all__ = ["shared_patients_note"]

_LITTLE = 0.05  # of a mask, which may lie outside the field of view unsaid


def unseen_classes(classes: Sequence[str], labels: np.ndarray) -> str:
    """Says which classes a network cannot learn, as no training slice shows them.

    Args:
        classes: Their names, background first.
        labels: `[slices, height, width]` of the training slices.

    Returns:
        A sentence; empty where every class is there.

    Raises:
        InputError: If no slice shows anything but background.
    """
    shown = np.unique(labels)
    unseen = [name for i, name in enumerate(classes) if i and i not in shown]
    if len(unseen) == len(classes) - 1:
        raise InputError(
            f"the masks of all {len(labels)} training slices are empty: there is "
            "nothing to learn from them; look at the masks of the labelled patients, "
            "or draw others by data.draw"
        )
    if not unseen:
        return ""
    return (
        f"note: no training slice shows {', '.join(unseen)}, so the network cannot "
        "learn it; more labelled patients (data.num_labeled) may show it, or, if the "
        "masks have other labels, data.classes names theirs by value, background first"
    )


def cut_masks(volumes: Sequence[VolumeRecord]) -> str:
    """Says whose masks reach beyond the field of view, where nothing is segmented.

    Args:
        volumes: All of the patients whose masks train or score.

    Returns:
        A sentence; empty where none of them loses more than a little.
    """
    masked = [volume for volume in volumes if volume.label_path is not None]
    cut = [volume for volume in masked if volume.label_share < 1 - _LITTLE]
    if not cut:
        return ""
    most = min(cut, key=lambda volume: volume.label_share)
    return (
        f"note: more than {_LITTLE:.0%} of the mask of {len(cut)} of {len(masked)} "
        f"labelled and test scans lies outside the field of view "
        f"({1 - most.label_share:.0%} in {most.volume_id}), where nothing is "
        "segmented: raise data.crop_px and data.size together to see more"
    )


def shared_patients_note(volumes: Sequence[VolumeFile]) -> str:
    """Says which scans count as one patient's, since names of any kind have some part.

    Args:
        volumes: From `list_volumes`.

    Returns:
        A sentence; empty where each scan is a patient of its own.
    """
    names: dict[str, list[str]] = {}
    for volume in volumes:
        names.setdefault(volume.patient, []).append(volume.volume_id)
    if len(names) == len(volumes):
        return ""
    patient, scans = max(names.items(), key=lambda item: len(item[1]))
    return (
        f"note: {len(volumes)} scans count as {len(names)} patient(s), as "
        f"data.patient_regex takes {scans[0]} and {scans[1]} for scans of {patient!r}: "
        "--config.data.patient_regex='.+' makes each scan a patient of its own"
    )
