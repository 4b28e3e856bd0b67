"""Which patients pretrain, which are labelled, and which are kept for the test."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

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
from pix2rep_jax.data.held_out import group_patients, held_out
from pix2rep_jax.data.named_split import first_labeled, named_split, pick_labeled
from pix2rep_jax.data.scan_digests import list_scans
from pix2rep_jax.data.slices.stored_slices import select
from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.data.split_record import Split
from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.config_checks import (
    all_of,
    anything,
    auto_or,
    not_below_zero,
    seed,
    whole_numbers,
)
from pix2rep_jax.wording import count

__all__ = ["make_split", "take_pretraining_slices"]

SETTINGS = {
    "num_labeled": anything,
    "num_unlabeled": all_of(whole_numbers, not_below_zero),
    "draw": seed,
    "val_fraction": anything,
    "holdout_per_group": auto_or(not_below_zero),
    "folds": all_of(whole_numbers, not_below_zero),
    "fold": all_of(whole_numbers, not_below_zero),
    "validation_patients": not_below_zero,
}
"""What this module reads of the configuration's section `data`."""

_TWIN = "its scan is a held-out patient's too"


def make_split(
    dataset: Dataset, data: ConfigDict, *, draw_labeled: bool = True, seed: int = 0
) -> Split:
    """Divides a data set as its configuration says.

    If `data.validation_patients` is above 0, that many patients of each pathology are
    scored in place of the test patients. That is for tuning: the test patients stay
    unseen. `data.split` may name all sides, and `data.labeled` the labelled patients.
    If `data.num_unlabeled` is above 0, so many patients pretrain. They are drawn as the
    labelled ones are, by themselves, and do not change with `data.draw`.

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
        scored, rest = held_out(listed, data, duplicates)
        left_out = _left_out(listed, scored, rest, data.exclude, duplicates)
        scored = tuple(patient for patient in scored if patient not in left_out)
    else:
        (scored, validating, _), left_out = named.sides, dict(named.left_out)
    groups = group_patients(listed)
    others = {*left_out, *scored, *validating}
    training = {each: group for each, group in groups.items() if each not in others}
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
            each: group for each, group in training.items() if each in owners[has_mask]
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
    pretrain = _take_unlabeled(data, training, duplicates, seed=seed)
    unused = sorted({*training} - {*pretrain, *labeled})
    left_out |= dict.fromkeys(unused, "data.num_unlabeled")
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
            {*pretrain, *labeled, *scored, *validating},
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
            "no patient is left to pretrain on: lower --config.data.holdout_per_group "
            "or --config.data.validation_patients, or shorten --config.data.exclude"
            + patients_hint(dataset.volumes, split.source.partition(" ")[0])
        )
    return {
        "image": select(dataset.images, chosen),
        "box": dataset.boxes[chosen],
        "volume": dataset.volume_index[chosen],
        "slice": dataset.slice_index[chosen],
    }


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


def _take_unlabeled(
    data: ConfigDict,
    training: Mapping[str, str],
    duplicates: Collection[tuple[str, str]],
    *,
    seed: int,
) -> tuple[str, ...]:
    """Takes the patients that pretrain, in the order given."""
    number = data.num_unlabeled
    if number > len(training):
        raise InputError(
            f"data.num_unlabeled is {number}, and holding out leaves "
            f"{count(len(training), 'patient')}: lower "
            "--config.data.num_unlabeled, or set it to 0 for all"
        )
    if not number:
        return tuple(training)
    chosen = few_shot(
        training, num_labeled=number, draw=0, seed=seed, duplicates=duplicates
    )
    return tuple(each for each in training if each in chosen)


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


def _slices(dataset: Dataset, wanted: np.ndarray) -> np.ndarray:
    """The slices of the volumes for which `wanted` is true."""
    return np.flatnonzero(wanted[dataset.volume_index])


def _annotated(dataset: Dataset) -> np.ndarray:
    """Tells of each slice whether any pixel of it has a label."""
    return dataset.is_annotated()


def _shown(
    dataset: Dataset, index: int, duplicates: Collection[tuple[str, str]]
) -> tuple[str, str, int]:
    """Names what a slice shows: slices of duplicate scans have the same name."""
    volume = dataset.volumes[dataset.volume_index[index]]
    patient = min(with_twins([volume.patient], duplicates))
    name = volume.volume_id.removeprefix(volume.patient)
    return patient, name, int(dataset.slice_index[index])
