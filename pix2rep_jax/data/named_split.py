"""Splits that are fixed by the patients' names, and lists of labelled patients."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.errors import InputError, check_choice
from pix2rep_jax.runtime.config_checks import choice, words

__all__ = [
    "NAMES",
    "NamedSplit",
    "check_labeled",
    "first_labeled",
    "named_split",
    "pick_labeled",
    "sides_of",
]

AUTO = "auto"
"""The value of `data.split` that leaves the sides to the other settings."""


class Sides(NamedTuple):
    """The patients that a split names; all others of the training folder train.

    Attributes:
        test: Patients to score.
        validation: Patients that validate, and do nothing else.
        labeled: The first labelled patients, in order.
    """

    test: tuple[str, ...]
    validation: tuple[str, ...]
    labeled: tuple[str, ...]


class NamedSplit(NamedTuple):
    """A split of the patients that a data set has.

    Attributes:
        sides: As the split names them.
        left_out: Why a patient takes no part, by name.
    """

    sides: Sides
    left_out: Mapping[str, str]


def _patients(*numbers: int) -> tuple[str, ...]:
    return tuple(f"patient{number:03d}" for number in numbers)


_ACDC_TRAINING = _patients(*range(1, 101))

_SSL4MIS = Sides(
    test=_patients(
        *(1, 7, 8, 11, 13, 22, 24, 33, 52, 59, 64, 65, 66, 68, 75, 80, 81, 83, 84, 93)
    ),
    validation=_patients(2, 19, 28, 30, 39, 45, 78, 82, 85, 87),
    labeled=_patients(99, 38, 50, 100, 58, 21, 49),
)
"""70, 10 and 20 of ACDC's 100 training patients, as SSL4MIS divides them.

Reference: Luo, "SSL4MIS", github.com/HiLab-git/SSL4MIS, 2020.
"""

_SPLITS = {"ssl4mis": _SSL4MIS}

NAMES = (AUTO, *_SPLITS)

SETTINGS = {"split": choice(*NAMES), "labeled": words}
"""What this module reads of the configuration's section `data`."""


def sides_of(data: ConfigDict) -> Sides | None:
    """Returns the sides that `data.split` names; None for "auto".

    Raises:
        InputError: If there is no such split, or if other settings contradict it.
    """
    if data.split == AUTO:
        return None
    check_choice("data.split", data.split, NAMES)
    if data.name != "acdc":
        raise InputError(
            f"data.split={data.split} names patients of ACDC, but data.name is "
            f"{data.name!r}: set --config.data.split=auto"
        )
    if data.folds or data.validation_patients:
        raise InputError(
            f"data.split={data.split} names the test and the validation patients: set "
            "--config.data.folds and --config.data.validation_patients to 0, or "
            "--config.data.split to auto"
        )
    return _SPLITS[data.split]


def named_split(
    volumes: Iterable[VolumeFile], data: ConfigDict, *, exclude: Collection[str] = ()
) -> NamedSplit | None:
    """Divides a data set by the names of its patients.

    Args:
        volumes: All volumes of the data set, excluded ones among them.
        data: The `data` section of the configuration.
        exclude: Patients that were not read.

    Returns:
        The split; None if `data.split` is "auto".

    Raises:
        InputError: If a patient of the split is missing or excluded, or as `sides_of`.
    """
    sides = sides_of(data)
    if sides is None:
        return None
    masked = {x.patient for x in volumes if x.label_path is not None}
    there = {x.patient: x.subset for x in volumes}
    missing = [name for name in _ACDC_TRAINING if name not in masked or name in exclude]
    if missing:
        raise InputError(
            f"data.split={data.split} needs the masks of ACDC's 100 training patients, "
            f"and {len(missing)} are missing or in data.exclude, such as {missing[0]}: "
            "download them, shorten --config.data.exclude, or set "
            "--config.data.split=auto"
        )
    others = sorted(there.keys() - {*_ACDC_TRAINING})
    return NamedSplit(sides, dict.fromkeys(others, f"not a part of {data.split}"))


def first_labeled(
    data: ConfigDict, sides: Sides, candidates: Collection[str]
) -> tuple[str, ...]:
    """Returns the first `data.num_labeled` labelled patients of a named split.

    The named order is that of the published figures, and it ends with the seventh.
    Further numbers are refused, because another order would give figures that look
    comparable and are not. All training patients need no order.

    Args:
        data: The `data` section of the configuration.
        sides: From `sides_of`.
        candidates: All patients that train.

    Raises:
        InputError: If the split does not name so many patients.
    """
    check_labeled(data.split, data.num_labeled)
    if data.num_labeled > len(sides.labeled):
        return tuple(sorted(candidates))
    return sides.labeled[: data.num_labeled]


def check_labeled(split: str, num_labeled: int) -> None:
    """Checks that a named split says who the labelled patients are.

    Args:
        split: The setting `data.split`, not "auto".
        num_labeled: The setting `data.num_labeled`.

    Raises:
        InputError: If it does not.
    """
    sides = _SPLITS[split]
    most = len(sides.labeled)
    everyone = len(_ACDC_TRAINING) - len(sides.test) - len(sides.validation)
    if not (1 <= num_labeled <= most or num_labeled == everyone):
        raise InputError(
            f"data.num_labeled={num_labeled}, but data.split={split} names 1 to {most} "
            f"labelled patients, or all {everyone}: choose one of these, or name the "
            "patients by --config.data.labeled"
        )


def pick_labeled(
    data: ConfigDict,
    candidates: Collection[str],
    *,
    volumes: Sequence[VolumeFile],
    tested: Collection[str],
    left_out: Mapping[str, str],
) -> tuple[str, ...]:
    """Returns the labelled patients that `data.labeled` names.

    Args:
        data: The `data` section of the configuration.
        candidates: Patients that pretrain and have masks.
        volumes: All volumes of the data set.
        tested: Patients that are scored.
        left_out: Why a patient takes no part, by name.

    Raises:
        InputError: If a name is unknown or occurs twice, or if that patient must not
            train.
    """
    names = tuple(data.labeled)
    known = {volume.patient for volume in volumes}
    masked = {volume.patient for volume in volumes if volume.label_path is not None}
    for name in names:
        if name in candidates and names.count(name) == 1:
            continue
        if names.count(name) > 1:
            why = "twice"
        elif name not in known:
            why = f"and there is no such patient in {data.root or 'the phantom'}"
        elif name in tested:
            why = "which is a test patient"
        elif name in left_out:
            why = f"which takes no part ({left_out[name]})"
        elif name not in masked:
            why = "which has no mask"
        else:
            why = "which is a validation patient"
        raise InputError(
            f"data.labeled names {name}, {why}: name training patients with masks, "
            "each once"
        )
    return names
