"""Which patients pretrain, which are labelled, and which are kept for the test."""

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data.dataset import Dataset
from pix2rep_jax.data.few_shot import (
    KNOWN_DUPLICATES,
    few_shot,
    split_slices,
    with_twins,
)
from pix2rep_jax.data.scan_digests import find_exchanged, list_scans, shared_patients
from pix2rep_jax.data.volume import VolumeFile
from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.atomic_file import read_object, write_whole
from pix2rep_jax.runtime.config_checks import anything, not_below_zero

__all__ = [
    "Split",
    "check_unseen",
    "is_scored_alike",
    "make_split",
    "neutral_root",
    "test_patients",
]

SETTINGS = {
    "num_labeled": anything,
    "draw": anything,
    "val_fraction": anything,
    "holdout_per_group": not_below_zero,
    "validation_patients": not_below_zero,
}
"""What this module reads of the configuration's section `data`."""


_FILE = "split.json"
_TWIN = "its scan is a held-out patient's too"


@dataclasses.dataclass(frozen=True)
class Split:
    """Which patients, slices and volumes of a data set serve what.

    Attributes:
        pretrain_patients: Their slices pretrain, with or without masks.
        labeled_patients: Those of them whose masks are used, in the order drawn.
        test_patients: To score; none of them is among the above.
        left_out: Patients that take no part, and why.
        pretrain_slices: Indices into the data set's slices, as are the next two.
        train_slices: Of labelled patients.
        val_slices: Of labelled patients, to choose a checkpoint by.
        test_volumes: Indices into the data set's volumes; each has a mask.
        source: The data set's name.
        scans: Of the patients that pretrain or are scored, from `list_scans`.
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

    def to_json(self) -> str:
        """Returns the split as indented JSON; pretrain_slices follow from the rest."""
        fields = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
            if name != "pretrain_slices"
        }
        return json.dumps(fields, indent=1)

    def write(self, folder: str | Path) -> None:
        """Records the split as `split.json` in a run's folder.

        Raises:
            InputError: If it cannot be written, or the run began with another one.
        """
        before = _read_record(folder)
        for name in ("pretrain_patients", "labeled_patients", "test_patients"):
            ours = list(getattr(self, name))
            theirs = before.get(name, ours)
            if theirs != ours:
                raise InputError(
                    f"the run in {folder} began with {len(theirs)} {name}, and now "
                    f"there are {len(ours)}, which are not the same: its scans have "
                    "changed since; name another --workdir, or bring them back"
                )
        if what := find_exchanged(before.get("scans"), self.scans):
            raise InputError(
                f"{what} is another than the run in {folder} began with: name another "
                "--workdir, or the --config.data.root that it began with"
            )
        write_whole(Path(folder) / _FILE, self.to_json())


def make_split(
    dataset: Dataset, data: ConfigDict, *, draw_labeled: bool = True, seed: int = 0
) -> Split:
    """Divides a data set as its configuration says.

    With `data.validation_patients` above 0 that many patients of each pathology are
    scored in place of the test patients, for tuning, and the test patients rest.

    Args:
        dataset: All slices.
        data: The `data` part of the configuration it was loaded by.
        draw_labeled: Whether to draw labelled patients. Pretraining and evaluating
            need none, so they work where there are none.
        seed: Of the few-shot draws, together with `data.draw`.

    Raises:
        InputError: If there are fewer patients with masks than the settings ask for.
    """
    duplicates = KNOWN_DUPLICATES if data.name == "acdc" else ()
    # What is excluded counts here: leaving a test patient out of a later run must not
    # make one that has pretrained take its place.
    listed = (*dataset.volumes, *dataset.excluded)
    scored, rest = _held_out(listed, data, duplicates)
    left_out = _left_out(listed, scored, rest, data.exclude, duplicates)
    scored = tuple(patient for patient in scored if patient not in left_out)
    groups = _groups(listed)
    pretrain = tuple(each for each in groups if each not in {*left_out, *scored})
    owners = np.array([volume.patient for volume in dataset.volumes])
    has_mask = np.array([volume.label_path is not None for volume in dataset.volumes])
    labeled, train, val = (), np.zeros(0, np.int64), np.zeros(0, np.int64)
    if draw_labeled:
        candidates = {
            each: groups[each] for each in pretrain if each in owners[has_mask]
        }
        # "All 100" means all there are, where twins of test patients are left out.
        missing = max(0, data.num_labeled - len(candidates))
        twins = sum(reason == _TWIN for reason in left_out.values())
        forgiven = missing if missing <= twins else 0
        labeled = few_shot(
            candidates,
            num_labeled=data.num_labeled - forgiven,
            draw=data.draw,
            seed=seed,
            duplicates=duplicates,
        )
        slices = _slices(dataset, np.isin(owners, labeled) & has_mask)
        train, val = split_slices(
            [_shown(dataset, index, duplicates) for index in slices],
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
            {*pretrain, *scored},
            masks=draw_labeled or data.crop == "mask_box",
        ),
    )


def test_patients(
    volumes: Sequence[VolumeFile],
    *,
    holdout_per_group: int = 4,
    duplicates: Collection[tuple[str, str]] = KNOWN_DUPLICATES,
) -> tuple[str, ...]:
    """Names the patients that are kept for the test.

    Args:
        volumes: All volumes of a data set.
        holdout_per_group: Patients with masks to hold out of each pathology, where
            the data set has no testing subset with masks.
        duplicates: Pairs of patients with the same scan.

    Returns:
        The patients of the testing subset that have masks; without one, the last of
        each pathology by name, and the duplicates of these; sorted.
    """
    labeled = [volume for volume in volumes if volume.label_path is not None]
    testing = {volume.patient for volume in labeled if volume.subset == "testing"}
    if testing:
        return tuple(sorted(testing))
    groups = _groups(labeled)
    last = with_twins(_last_of_each_group(groups, holdout_per_group), duplicates)
    return tuple(patient for patient in groups if patient in last)


# pytest collects whatever is called test_*; this is no test.
test_patients.__test__ = False


def check_unseen(split: Split, pretrain_folder: str | Path) -> None:
    """Checks that no test patient, nor one with the same scan, has pretrained.

    Args:
        split: Of the run that starts from it.
        pretrain_folder: The pretraining run's folder, with its split.json; one
            without, or on other data, passes.

    Raises:
        InputError: If one did; names it and the settings that make the splits agree.
    """
    record = _read_record(pretrain_folder)
    try:
        same_data = record["source"] == split.source
        duplicates = KNOWN_DUPLICATES if split.source == "acdc" else ()
        unseen = with_twins(split.test_patients, duplicates)
        seen = set(record["pretrain_patients"]) & unseen
        if not same_data:  # it may have been moved, and may have grown
            seen &= shared_patients(record.get("scans"), split.scans)
    except (KeyError, TypeError):
        return
    if seen:
        raise InputError(
            f"{min(seen)}, which is a test patient or has the same scan as one, took "
            f"part in the pretraining in {pretrain_folder}, so scores would flatter: "
            "use the same data.holdout_per_group, data.validation_patients and "
            "testing/ in both; if its mask was added since, pretrain anew, or train on "
            "all and score none by data.holdout_per_group=0"
        )


def is_scored_alike(split: Split, folder: str | Path) -> bool:
    """Tells whether a run has a record that its test scans were these."""
    record = _read_record(folder)
    return (
        bool(record.get("scans"))
        and record.get("test_patients") == list(split.test_patients)
        and not find_exchanged(record["scans"], split.scans)
    )


def neutral_root(folder: str | Path) -> tuple[str, ...]:
    """Names the setting of a run that `Split.write` checks better than a comparison.

    Where its scans lie is nothing to a run with a record of what they hold.

    Args:
        folder: Of a run, whether it exists or not.
    """
    return ("data.root",) if _read_record(folder).get("scans") else ()


def _read_record(folder: str | Path) -> dict[str, Any]:
    """What `Split.write` left in a folder; nothing where that is damaged or missing."""
    return read_object(Path(folder) / _FILE)


def _held_out(
    volumes: Sequence[VolumeFile],
    data: ConfigDict,
    duplicates: Collection[tuple[str, str]],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The patients to score, and the test patients that rest while tuning."""
    test = test_patients(
        volumes, holdout_per_group=data.holdout_per_group, duplicates=duplicates
    )
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
            f"data.validation_patients={data.validation_patients}, and no patient with "
            "masks is left beside the test patients: lower data.holdout_per_group"
        )
    return validation, test


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
            left_out[patient] = "of the testing subset, without a mask"
    return left_out


def _source(data: ConfigDict) -> str:
    """Names a data set; names of patients mean something within one alone."""
    if data.name != "nifti":
        return data.name
    return f"nifti {Path(data.root).expanduser().resolve()}"


def _groups(volumes: Iterable[VolumeFile]) -> dict[str, str]:
    """The pathology of each patient, in the order of the patients' names."""
    return dict(sorted({(volume.patient, volume.group) for volume in volumes}))


def _last_of_each_group(groups: Mapping[str, str], number: int) -> tuple[str, ...]:
    """The last patients of each pathology by name, sorted."""
    last = []
    for name in set(groups.values()):
        members = sorted(patient for patient in groups if groups[patient] == name)
        last += members[max(0, len(members) - number) :]
    return tuple(sorted(last))


def _slices(dataset: Dataset, wanted: np.ndarray) -> np.ndarray:
    """The slices of the wanted ones among the volumes."""
    return np.flatnonzero(wanted[dataset.volume_index])


def _shown(
    dataset: Dataset, index: int, duplicates: Collection[tuple[str, str]]
) -> tuple[str, str, int]:
    """What a slice shows; the same for slices of duplicate scans."""
    volume = dataset.volumes[dataset.volume_index[index]]
    patient = min(with_twins([volume.patient], duplicates))
    name = volume.volume_id.removeprefix(volume.patient)
    return patient, name, int(dataset.slice_index[index])
