"""Patients' names as hashes: what a network says of its scans once it leaves home."""

import dataclasses
import hashlib
from collections.abc import Iterable

import numpy as np

from pix2rep_jax.data.split_record import Split

__all__ = ["hide_names", "reveal_names"]

_MARK = "sha256:"


def hide_names(split: Split) -> Split:
    """Keeps of a pretraining's split who pretrained, with a hash for each name.

    Folders are often named by patients. With hashes it can still be told whether a
    patient who is to be tested has pretrained. A hash of a short name can be guessed.

    Args:
        split: That of a pretraining.

    Returns:
        The split with the patients of the pretraining alone, and the digests of their
        scans. Masks have pretrained nothing, and are left out.
    """
    nothing = np.zeros(0, int)
    pretrained = split.pretrain_patients
    return Split(
        pretrain_patients=tuple(map(_hide, pretrained)),
        labeled_patients=(),
        test_patients=(),
        left_out={},
        pretrain_slices=nothing,
        train_slices=nothing,
        val_slices=nothing,
        test_volumes=(),
        source=split.source,
        scans={
            _hide(patient): {
                _hide(name): digests.partition(" ")[0]
                for name, digests in split.scans[patient].items()
            }
            for patient in pretrained
            if patient in split.scans
        },
    )


def reveal_names(split: Split, names: Iterable[str]) -> Split:
    """Puts names in the place of their hashes, where they are among known ones.

    Args:
        split: From `hide_names`. In another split nothing is hidden.
        names: Names of patients and of volumes.
    """
    known = {_hide(name): name for name in names}
    return dataclasses.replace(
        split,
        pretrain_patients=tuple(known.get(x, x) for x in split.pretrain_patients),
        scans={
            known.get(patient, patient): {known.get(x, x): y for x, y in own.items()}
            for patient, own in split.scans.items()
        },
    )


def _hide(name: str) -> str:
    if name.startswith(_MARK):  # weights that are exported a second time
        return name
    return f"{_MARK}{hashlib.sha256(name.encode()).hexdigest()[:32]}"
