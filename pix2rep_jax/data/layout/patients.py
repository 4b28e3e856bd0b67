"""Whose a scan is, by its name."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.errors import InputError, name_some
from pix2rep_jax.wording import count

__all__ = ["AUTO", "patients_by_name", "patients_note"]

AUTO = "auto"
"""The value of `data.patient_regex` that stands for the rule of this module."""

_EXAMPLES = 3

_PARTS = {"^[^_]+": "first", "^(.+)_": "last"}
"""Expressions for the part of a name before its first and its last `_`."""


def patients_by_name(scans: Mapping[str, Path], regex: str = AUTO) -> dict[str, str]:
    """Finds the patient of each scan in its name.

    By the rule "auto" the patient is the part before the first `_`, if the names have
    several such parts and each holds a digit. Else each scan is a patient of its own.
    So `010_HC` and `010_2HC` are one patient, and `liver_001` and `liver_002` are two.

    Args:
        scans: The file of each scan by its name.
        regex: "auto", or an expression that finds the patient in a name: its first
            group, or the whole match.

    Returns:
        Patients by names of scans.

    Raises:
        InputError: If the expression is invalid, or does not match a name.
    """
    if regex == AUTO:
        prefixes = {name: name.partition("_")[0] for name in scans}
        parts = {*prefixes.values()}
        if len(parts) > 1 and all(re.search(r"\d", part) for part in parts):
            return prefixes
        return {name: name for name in scans}
    try:
        pattern = re.compile(regex)
    except re.error as error:
        raise InputError(
            f"data.patient_regex={regex!r} is not a regular expression ({error}): "
            "correct it"
        ) from error
    patients = {}
    for name, path in scans.items():
        found = pattern.search(name)
        if found is None or not (patient := found[1] if pattern.groups else found[0]):
            raise InputError(
                f"data.patient_regex={regex!r} does not find a patient in the name of "
                f"{path}: change the expression or the name"
            )
        patients[name] = patient
    return patients


def patients_note(volumes: Sequence[VolumeFile]) -> str:
    """Shows which patients were found in the names of scans.

    Args:
        volumes: The volumes of a folder of scans.

    Returns:
        A note with three examples and the flag; "" if scans are patients of their own
        and no part of their names tells some of them together.
    """
    scans: dict[str, list[str]] = {}
    for volume in volumes:
        scans.setdefault(volume.patient, []).append(volume.volume_id)
    # A patient with several scans tells most.
    most = sorted(scans.items(), key=lambda item: -len(item[1]))[:_EXAMPLES]
    several = len(scans) < len(volumes)
    shown = [f"{name_some(names, most=2)} of {patient!r}" for patient, names in most]
    examples = f" ({'; '.join(shown)})" if several else ""
    other, meaning = ".+", "makes each scan one"
    if not several:
        other = _telling_part([volume.volume_id for volume in volumes])
        if not other:
            return ""
        meaning = f"makes the part before the {_PARTS[other]} _ one"
    return (
        f"note: {len(volumes)} scans count as "
        f"{count(len(scans), 'patient')}{examples}: "
        f"--config.data.patient_regex='{other}' {meaning}"
    )


def _telling_part(names: Sequence[str]) -> str:
    """Finds the expression that tells some scans together, but not all; or ""."""
    if not all("_" in name for name in names):
        return ""
    scans = dict.fromkeys(names, Path())
    for regex in _PARTS:
        if 1 < len({*patients_by_name(scans, regex).values()}) < len(names):
            return regex
    return ""
