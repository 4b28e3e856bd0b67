"""Which patients pretrain, which are labelled, and which are kept for the test."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data.checks import check_masks, patients_hint
from pix2rep_jax.data.dataset import Dataset
from pix2rep_jax.data.few_shot import (
    KNOWN_DUPLICATES,
    few_shot,
    split_slices,
    with_twins,
)
from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.data.named_split import first_labeled, named_split, pick_labeled
from pix2rep_jax.data.scan_digests import list_scans
from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.config_checks import (
    all_of,
    anything,
    auto_or,
    not_below_zero,
    seed,
    whole_numbers,
)

__all__ = [
    "Split",
    "fold_of_patients",
    "holdout_numbers",
    "make_split",
    "take_pretraining_slices",
    "test_patients",
]

SETTINGS = {
    "num_labeled": anything,
    "draw": seed,
    "val_fraction": anything,
    "holdout_per_group": auto_or(not_below_zero),
    "folds": all_of(whole_numbers, not_below_zero),
    "fold": all_of(whole_numbers, not_below_zero),
    "validation_patients": not_below_zero,
}
"""What this module reads of the configuration's section `data`."""

FEW_PATIENTS = 10
"""With fewer patients with masks, none is held out unless asked for."""

USUAL_HOLDOUT = 4
"""Test patients of each pathology at least."""

USUAL_SHARE = 5
"""One of so many patients with masks is a test patient; scores of few say little."""

_TWIN = "its scan is a held-out patient's too"


@dataclasses.dataclass(frozen=True)
class Split:
    """Which patients, slices and volumes of a data set pretrain, train and test.

    Attributes:
        pretrain_patients: Patients whose slices pretrain, with or without masks.
        labeled_patients: Patients among them whose masks are used, in the order drawn.
        test_patients: Patients to score; none of them is among the above.
        left_out: Why a patient takes no part, by name.
        pretrain_slices: Indices into the data set's slices, like the next two.
        train_slices: Annotated slices of labelled patients that train.
        val_slices: Annotated slices by which a checkpoint is chosen.
        test_volumes: Indices into the data set's volumes; each volume has a mask.
        source: The data set's name. Patients' names mean something within it alone.
        scans: Digests of the scans that take part, as `list_scans` returns them.
        val_patients: Patients who do nothing but choose a checkpoint. Without any,
            slices of labelled patients do.
    """

    pretrain_patients: tuple[str, ...]
    labeled_patients: tuple[str, ...]
    test_patients: tuple[str, ...]
    left_out: Mapping[str, str]
    pretrain_slices: np.ndarray
    train_slices: np.ndarray
    val_slices: np.ndarray
    test_volumes: tuple[int, ...]
    source: str = ""
    scans: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    val_patients: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the split as JSON would hold it."""
        fields = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in fields.items()
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Split":
        """Makes the split that `to_dict` has written down.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: If the fields are not
                those of a split.
        """
        scans = {
            patient: {name: str(digests) for name, digests in volumes.items()}
            for patient, volumes in fields["scans"].items()
        }
        return cls(
            pretrain_patients=tuple(_listed(fields, "pretrain_patients", str)),
            labeled_patients=tuple(_listed(fields, "labeled_patients", str)),
            test_patients=tuple(_listed(fields, "test_patients", str)),
            left_out={name: str(why) for name, why in fields["left_out"].items()},
            pretrain_slices=np.array(_listed(fields, "pretrain_slices", int), int),
            train_slices=np.array(_listed(fields, "train_slices", int), int),
            val_slices=np.array(_listed(fields, "val_slices", int), int),
            test_volumes=tuple(_listed(fields, "test_volumes", int)),
            source=str(fields["source"]),
            scans=scans,
            # Earlier runs lack it.
            val_patients=tuple(
                _listed({"val_patients": [], **fields}, "val_patients", str)
            ),
        )


def make_split(
    dataset: Dataset, data: ConfigDict, *, draw_labeled: bool = True, seed: int = 0
) -> Split:
    """Divides a data set as its configuration says.

    If `data.validation_patients` is above 0, that many patients of each pathology are
    scored in place of the test patients. That is for tuning: the test patients stay
    unseen. `data.split` may name all sides, and `data.labeled` the labelled patients.

    Args:
        dataset: All slices.
        data: The `data` section that the data set was loaded by.
        draw_labeled: Whether to draw labelled patients. Pretraining and evaluating
            work without any.
        seed: Seed of the few-shot draws, together with `data.draw`.

    Raises:
        InputError: If there are fewer patients with masks than the settings ask for,
            or if `data.split` or `data.labeled` does not fit the data set.
    """
    duplicates = KNOWN_DUPLICATES if data.name == "acdc" else ()
    if draw_labeled:
        check_masks((*dataset.volumes, *dataset.excluded), data)
    # What is excluded counts here: leaving a test patient out of a later run must not
    # make one that has pretrained take its place.
    listed = (*dataset.volumes, *dataset.excluded)
    named = named_split(listed, data, exclude=data.exclude)
    if named is None:
        validating: tuple[str, ...] = ()
        scored, rest = _held_out(listed, data, duplicates)
        left_out = _left_out(listed, scored, rest, data.exclude, duplicates)
        scored = tuple(patient for patient in scored if patient not in left_out)
    else:
        (scored, validating, _), left_out = named.sides, dict(named.left_out)
    groups = _groups(listed)
    others = {*left_out, *scored, *validating}
    pretrain = tuple(each for each in groups if each not in others)
    owners = np.array([volume.patient for volume in dataset.volumes])
    shown = np.bincount(
        dataset.volume_index[_annotated(dataset)], minlength=len(dataset.volumes)
    )
    # A box around an empty mask leaves no slice, and scoring says so.
    left = np.bincount(dataset.volume_index, minlength=len(dataset.volumes))
    has_mask = np.array([volume.label_path is not None for volume in dataset.volumes])
    has_mask &= (shown > 0) | (left == 0)
    labeled: tuple[str, ...] = ()
    train, val = np.zeros(0, np.int64), np.zeros(0, np.int64)
    if draw_labeled:
        candidates = {
            each: groups[each] for each in pretrain if each in owners[has_mask]
        }
        if data.labeled:
            labeled = pick_labeled(
                data, candidates, volumes=listed, tested=scored, left_out=left_out
            )
        elif named is not None:
            labeled = first_labeled(data, named.sides, candidates)
        else:
            labeled = _draw(
                dataset, data, candidates, left_out, duplicates=duplicates, seed=seed
            )
        annotated = _annotated(dataset)
        train, val = (
            slices[annotated[slices]]
            for slices in (
                _slices(dataset, np.isin(owners, side) & has_mask)
                for side in (labeled, validating)
            )
        )
        if named is None:
            slices = train
            train, val = split_slices(
                [_shown(dataset, int(index), duplicates) for index in slices],
                val_fraction=data.val_fraction,
                seed=(seed, data.draw),
            )
            train, val = slices[train], slices[val]
    return Split(
        pretrain_patients=pretrain,
        labeled_patients=labeled,
        test_patients=scored,
        left_out=left_out,
        pretrain_slices=_slices(dataset, np.isin(owners, pretrain)),
        train_slices=train,
        val_slices=val,
        test_volumes=tuple(np.flatnonzero(np.isin(owners, scored) & has_mask).tolist()),
        source=_source(data),
        scans=list_scans(
            dataset.volumes,
            {*pretrain, *scored, *validating},
            masks=draw_labeled or data.crop == "mask_box",
        ),
        val_patients=validating,
    )


def take_pretraining_slices(dataset: Dataset, split: Split) -> dict[str, np.ndarray]:
    """Takes the slices to pretrain on.

    Args:
        dataset: All slices.
        split: Made of it.

    Returns:
        "image" `[slices, height, width, c]`, "box" `[slices, 4]` as in `Dataset.boxes`,
        "volume" `[slices]` and "slice" `[slices]`, the index in the scan.

    Raises:
        InputError: If there is none.
    """
    chosen = split.pretrain_slices
    if not len(chosen):
        raise InputError(
            "no patient is left to pretrain on: lower data.holdout_per_group or "
            "data.validation_patients, or shorten data.exclude"
            + patients_hint(dataset.volumes, split.source.partition(" ")[0])
        )
    return {
        "image": dataset.images[chosen],
        "box": dataset.boxes[chosen],
        "volume": dataset.volume_index[chosen],
        "slice": dataset.slice_index[chosen],
    }


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
    groups = _groups(labeled)
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
    groups = _groups(volume for volume in volumes if volume.label_path is not None)
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
    groups = _groups(
        volume
        for volume in volumes
        if volume.label_path is not None and volume.subset == "training"
    )
    order = sorted(groups, key=lambda patient: (groups[patient], patient))
    seconds = [
        patient
        for patient in order
        if min(with_twins([patient], duplicates) & {*order}) != patient
    ]
    firsts = [patient for patient in order if patient not in seconds]
    if not (2 <= folds <= len(firsts) and 0 <= fold < folds):
        raise InputError(
            f"data.folds={folds} and data.fold={fold} cannot divide {len(firsts)} "
            "patients with masks: set data.folds to 2 or more, at most one per "
            "patient, and data.fold to a number from 0 to data.folds - 1"
        )
    chosen = with_twins(firsts[fold::folds], duplicates)
    return chosen & {*order}


# pytest collects whatever is called test_*, and this is not a test.
test_patients.__test__ = False  # type: ignore[attr-defined]


def _listed(fields: Mapping[str, Any], name: str, kind: type) -> list[Any]:
    """A list of one type of entries; raises ValueError where it is another thing."""
    entries = fields[name]
    if not isinstance(entries, list) or not all(type(x) is kind for x in entries):
        raise ValueError(f"{name} is not a list of {kind.__name__}")
    return entries


def _held_out(
    volumes: Sequence[VolumeFile],
    data: ConfigDict,
    duplicates: Collection[tuple[str, str]],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The patients to score, and the test patients that rest while tuning."""
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
    validation = _last_of_each_group(_groups(free), data.validation_patients)
    if not validation:
        raise InputError(
            f"data.validation_patients is {data.validation_patients}, but all patients "
            "with masks are test patients: lower data.holdout_per_group"
        )
    return validation, test


def _draw(
    dataset: Dataset,
    data: ConfigDict,
    candidates: Mapping[str, str],
    left_out: Mapping[str, str],
    *,
    duplicates: Collection[tuple[str, str]],
    seed: int,
) -> tuple[str, ...]:
    """Draws the labelled patients among those that may train."""
    # "All 100" means all there are, where twins of test patients are left out.
    missing = max(0, data.num_labeled - len(candidates))
    twins = sum(reason == _TWIN for reason in left_out.values())
    forgiven = missing if missing <= twins else 0
    return few_shot(
        candidates,
        num_labeled=data.num_labeled - forgiven,
        draw=data.draw,
        seed=seed,
        duplicates=duplicates,
        hint=patients_hint(dataset.volumes, data.name),
    )


def _left_out(
    volumes: Sequence[VolumeFile],
    scored: Collection[str],
    rest: Collection[str],
    exclude: Collection[str],
    duplicates: Collection[tuple[str, str]],
) -> dict[str, str]:
    """The patients that take no part, and why."""
    held_out = {*scored, *rest}
    twins = with_twins(held_out, duplicates) - held_out
    left_out = {}
    for patient, subset in sorted({(each.patient, each.subset) for each in volumes}):
        if patient in exclude:
            left_out[patient] = "data.exclude"
        elif patient in rest:
            left_out[patient] = "a test patient, unseen while tuning"
        elif patient in twins:
            left_out[patient] = _TWIN
        elif subset == "testing" and patient not in scored:
            left_out[patient] = "in the testing subset, without a mask"
    return left_out


def _source(data: ConfigDict) -> str:
    """Names a data set; a plain folder is known by its place."""
    if data.name != "nifti":
        return data.name
    return f"nifti {Path(data.root).expanduser().resolve()}"


def _groups(volumes: Iterable[VolumeFile]) -> dict[str, str]:
    """The pathology of each patient, in the order of the patients' names."""
    return dict(sorted({(volume.patient, volume.group) for volume in volumes}))


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


def _slices(dataset: Dataset, wanted: np.ndarray) -> np.ndarray:
    """The slices of the volumes for which `wanted` is true."""
    return np.flatnonzero(wanted[dataset.volume_index])


def _annotated(dataset: Dataset) -> np.ndarray:
    """Tells of each slice whether any pixel of it has a label."""
    return (dataset.labels != UNLABELLED).any((1, 2))


def _shown(
    dataset: Dataset, index: int, duplicates: Collection[tuple[str, str]]
) -> tuple[str, str, int]:
    """Names what a slice shows: slices of duplicate scans have the same name."""
    volume = dataset.volumes[dataset.volume_index[index]]
    patient = min(with_twins([volume.patient], duplicates))
    name = volume.volume_id.removeprefix(volume.patient)
    return patient, name, int(dataset.slice_index[index])
