"""Which patients are kept for the test: a testing subset, the last ones, or a fold."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from ml_collections import ConfigDict

from pix2rep_jax.data.few_shot import KNOWN_DUPLICATES, with_twins
from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.errors import InputError
from pix2rep_jax.wording import count

__all__ = [
    "USUAL_HOLDOUT",
    "fold_of_patients",
    "group_patients",
    "held_out",
    "holdout_numbers",
    "test_patients",
    "ways_to_test",
]

FEW_PATIENTS = 10
"""With fewer patients with masks, none is held out unless asked for."""

USUAL_HOLDOUT = 4
"""Test patients of each pathology at least."""

USUAL_SHARE = 5
"""One of so many patients with masks is a test patient; scores of few say little."""

_FOLDS = 5
"""Folds to suggest; fewer if there are fewer patients with masks."""


def held_out(
    volumes: Sequence[VolumeFile],
    data: ConfigDict,
    duplicates: Collection[tuple[str, str]],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Decides which patients are scored, and which rest.

    Args:
        volumes: All volumes of a data set.
        data: Its section of the configuration; a fold comes before everything else.
        duplicates: Pairs of patients with the same scan.

    Returns:
        The patients to score, sorted; and the test patients that rest while tuning.

    Raises:
        InputError: As `fold_of_patients`, and if no patient is left to tune on.
    """
    if data.folds:
        fold = fold_of_patients(
            volumes, folds=data.folds, fold=data.fold, duplicates=duplicates
        )
        return tuple(sorted(fold)), ()
    numbers = holdout_numbers(data.holdout_per_group, volumes)
    test = test_patients(volumes, holdout_per_group=numbers, duplicates=duplicates)
    if not data.validation_patients:
        return test, ()
    taken = with_twins(test, duplicates)
    free = (
        volume
        for volume in volumes
        if volume.label_path is not None
        and volume.subset == "training"
        and volume.patient not in taken
    )
    validation = _last_of_each_group(group_patients(free), data.validation_patients)
    if not validation:
        raise InputError(
            f"data.validation_patients is {data.validation_patients}, but all patients "
            "with masks are test patients: lower --config.data.holdout_per_group"
        )
    return validation, test


def test_patients(
    volumes: Sequence[VolumeFile],
    *,
    holdout_per_group: int | Mapping[str, int] = 4,
    duplicates: Collection[tuple[str, str]] = KNOWN_DUPLICATES,
) -> tuple[str, ...]:
    """Names the patients that are kept for the test.

    Args:
        volumes: All volumes of a data set.
        holdout_per_group: How many patients with masks to hold out of each pathology
            if the data set has no testing subset with masks: one number for all, or
            one by the name of each.
        duplicates: Pairs of patients with the same scan.

    Returns:
        The patients of the testing subset that have masks, sorted. Without such a
        subset: the last patients of each pathology by name, and their duplicates.
    """
    labeled = [volume for volume in volumes if volume.label_path is not None]
    testing = {volume.patient for volume in labeled if volume.subset == "testing"}
    if testing:
        return tuple(sorted(testing))
    groups = group_patients(labeled)
    last = with_twins(_last_of_each_group(groups, holdout_per_group), duplicates)
    return tuple(patient for patient in groups if patient in last)


def holdout_numbers(
    holdout_per_group: int | str, volumes: Sequence[VolumeFile]
) -> dict[str, int]:
    """Decides how many patients of each pathology are held out for the test.

    Args:
        holdout_per_group: The setting: a number, or "auto".
        volumes: All volumes of a data set.

    Returns:
        A number by the name of each pathology that has masks. For "auto" it is a fifth
        of the patients with masks, rounded, and at least 4; or 0 with fewer than ten
        patients with masks in all.
    """
    groups = group_patients(
        volume for volume in volumes if volume.label_path is not None
    )
    sizes = Counter(groups.values())
    if holdout_per_group != "auto":
        return dict.fromkeys(sizes, int(holdout_per_group))
    if len(groups) < FEW_PATIENTS:
        return dict.fromkeys(sizes, 0)
    return {
        name: max(USUAL_HOLDOUT, round(size / USUAL_SHARE))
        for name, size in sizes.items()
    }


def fold_of_patients(
    volumes: Sequence[VolumeFile],
    *,
    folds: int,
    fold: int,
    duplicates: Collection[tuple[str, str]] = KNOWN_DUPLICATES,
) -> set[str]:
    """Names the patients of one fold of a cross-validation.

    The patients with masks of the training subset are dealt to the folds by turns, in
    the order of their pathologies and names. So every patient is in one fold, and the
    sizes of folds differ by at most one. Patients with the same scan share a fold.

    Args:
        volumes: All volumes of a data set.
        folds: Number of folds.
        fold: Number of the fold, from 0.
        duplicates: Pairs of patients with the same scan.

    Raises:
        InputError: If there is no such fold, or if it would be empty.
    """
    groups = _with_masks(volumes)
    order = sorted(groups, key=lambda patient: (groups[patient], patient))
    seconds = [
        patient
        for patient in order
        if min(with_twins([patient], duplicates) & {*order}) != patient
    ]
    firsts = [patient for patient in order if patient not in seconds]
    if not (2 <= folds <= len(firsts) and 0 <= fold < folds):
        raise InputError(
            f"data.folds={folds} and data.fold={fold} cannot divide "
            f"{count(len(firsts), 'patient')} with masks: set --config.data.folds "
            "to 2 or more, at most one per patient, and --config.data.fold to a number "
            "from 0 to data.folds - 1"
        )
    chosen = with_twins(firsts[fold::folds], duplicates)
    return chosen & {*order}


# pytest collects whatever is called test_*, and this is not a test.
test_patients.__test__ = False  # type: ignore[attr-defined]


def ways_to_test(volumes: Iterable[VolumeFile]) -> str:
    """Says how patients with masks can be tested where none of them is held out.

    Args:
        volumes: All volumes of a data set, without excluded patients.

    Returns:
        The end of a sentence, which names only flags that work for so many patients.
    """
    groups = _with_masks(volumes)
    if len(groups) < 2:
        return "add masks of other patients, because a patient cannot train and test"
    folds = (
        f"--mode folds --config.data.folds={min(_FOLDS, len(groups))} scores every "
        "patient"
    )
    if len({*groups.values()}) == len(groups):  # one of each pathology is everyone
        return f"in another --workdir, {folds}"
    some = "one" if len({*groups.values()}) == 1 else "one of each pathology"
    return (
        f"in another --workdir, --config.data.holdout_per_group=1 holds {some} out, "
        f"and {folds}"
    )


def group_patients(volumes: Iterable[VolumeFile]) -> dict[str, str]:
    """Lists the pathology of each patient, in the order of the patients' names."""
    return dict(sorted({(volume.patient, volume.group) for volume in volumes}))


def _with_masks(volumes: Iterable[VolumeFile]) -> dict[str, str]:
    """Lists the pathology of each patient whose masks may train."""
    return group_patients(
        volume
        for volume in volumes
        if volume.label_path is not None and volume.subset == "training"
    )


def _last_of_each_group(
    groups: Mapping[str, str], numbers: int | Mapping[str, int]
) -> tuple[str, ...]:
    """The last patients of each pathology by name, sorted."""
    last = []
    for name in set(groups.values()):
        number = numbers if isinstance(numbers, int) else numbers[name]
        members = sorted(patient for patient in groups if groups[patient] == name)
        last += members[max(0, len(members) - number) :]
    return tuple(sorted(last))
