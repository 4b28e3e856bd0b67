"""Splits by name: who is on which side, in which order, and what is refused."""

import itertools
import json

import numpy as np
import pytest

from pix2rep_jax.data.fit.plan import plan_data
from pix2rep_jax.data.layout import acdc
from pix2rep_jax.data.split_record import Split
from pix2rep_jax.data.splits import make_split
from tests.support.patients import (
    make_data,
    make_dataset,
    make_volumes,
    number_scans,
    patient,
    refuse,
)

# Written out once more, from the published lists.
TEST = "1 7 8 11 13 22 24 33 52 59 64 65 66 68 75 80 81 83 84 93"
VALIDATION = "2 19 28 30 39 45 78 82 85 87"


def names(numbers: str) -> tuple[str, ...]:
    return tuple(patient(int(number)) for number in numbers.split())


def slices_of(dataset, *patients):
    """The slices with masks of some patients, by a plain loop."""
    return [
        index
        for index, volume in enumerate(dataset.volume_index)
        if dataset.volumes[volume].patient in patients
        and dataset.volumes[volume].label_path is not None
    ]


@pytest.fixture(scope="module")
def dataset():
    return number_scans(make_dataset(make_volumes(range(1, 101), frames=1)))


def split_of(dataset, **changes):
    return make_split(dataset, make_data(split="ssl4mis", **changes))


@pytest.mark.parametrize(
    ("number", "labeled"),
    [
        (1, "99"),
        (3, "99 38 50"),
        (5, "99 38 50 100 58"),
        (7, "99 38 50 100 58 21 49"),
    ],
)
def test_the_sides_are_those_published(dataset, number, labeled):
    """70 train, 10 validate, 20 are tested; the order is the named one,
    and all slices of the labelled patients train."""
    split = split_of(dataset, num_labeled=number)
    assert split.test_patients == names(TEST)
    assert split.val_patients == names(VALIDATION)
    assert len(split.pretrain_patients) == 70 and not split.left_out
    sides = [set(x) for x in (split.pretrain_patients, names(TEST), names(VALIDATION))]
    assert not any(one & other for one, other in itertools.combinations(sides, 2))
    assert split.labeled_patients == names(labeled)
    np.testing.assert_array_equal(
        split.train_slices, slices_of(dataset, *names(labeled))
    )
    np.testing.assert_array_equal(
        split.val_slices, slices_of(dataset, *names(VALIDATION))
    )
    owners = {dataset.volumes[x].patient for x in split.test_volumes}
    assert owners == {*names(TEST)} and len(split.test_volumes) == 40
    pretrained = {
        dataset.volumes[dataset.volume_index[x]].patient for x in split.pretrain_slices
    }
    assert pretrained == sides[0]
    assert set(split.scans) == set.union(*sides)


def test_neither_draw_nor_fraction_nor_holdout_count(dataset):
    """The names decide."""
    before = split_of(dataset, num_labeled=3).to_dict()
    for changes in ({"draw": 4}, {"val_fraction": 0.5}, {"holdout_per_group": 9}):
        assert split_of(dataset, num_labeled=3, **changes).to_dict() == before


def test_all_seventy_may_be_labelled_and_other_numbers_are_refused(dataset):
    """The named order ends with the seventh."""
    split = split_of(dataset, num_labeled=70)
    assert split.labeled_patients == split.pretrain_patients
    for number in (0, 8, 14, 69, 71):
        refuse(
            r"data\.num_labeled.*data\.labeled",
            lambda number=number: split_of(dataset, num_labeled=number),
        )


def test_pretraining_takes_the_seventy(dataset):
    """Without labels the sides are the same."""
    data = make_data(split="ssl4mis", num_labeled=3)
    bare = make_split(dataset, data, draw_labeled=False)
    assert bare.pretrain_patients == make_split(dataset, data).pretrain_patients
    assert not bare.labeled_patients and not len(bare.val_slices)


def test_patients_of_the_testing_folder_take_no_part():
    """The split is of the training folder."""
    volumes = make_volumes(range(1, 101))
    volumes += make_volumes((101, 118), subset="testing")
    split = split_of(make_dataset(volumes), num_labeled=1)
    assert split.test_patients == names(TEST)
    assert set(split.left_out) == {"patient101", "patient118"}
    assert len(split.pretrain_patients) == 70


@pytest.mark.parametrize(
    "changes",
    [
        {"split": "other"},
        {"name": "phantom"},
        {"folds": 5},
        {"validation_patients": 2},
        {"exclude": ("patient003",)},
    ],
)
def test_what_contradicts_the_split_is_refused(changes):
    """Each by the name of the setting."""
    dataset = make_dataset(
        make_volumes(range(1, 101)), exclude=changes.get("exclude", ())
    )
    data = make_data(**{"split": "ssl4mis", "num_labeled": 1, **changes})
    refuse(r"data\.split", lambda: make_split(dataset, data))


def test_a_missing_patient_is_named():
    """A part of ACDC is not this split; nor are scans without masks."""
    volumes = make_volumes([*range(1, 50), *range(51, 101)])
    refuse("patient050", lambda: split_of(make_dataset(volumes), num_labeled=1))
    volumes += make_volumes([50], masks=False)
    refuse("patient050", lambda: split_of(make_dataset(volumes), num_labeled=1))


def test_labelled_patients_by_name(dataset):
    """In the order given, whatever number and draw say; validation slices are theirs
    without a split, and the validation patients' with it."""
    own = ("patient012", "patient003")
    for changes in ({}, {"draw": 3}, {"num_labeled": 50}):
        split = make_split(dataset, make_data(labeled=own, **changes))
        assert split.labeled_patients == own and not split.val_patients
        both = np.sort(np.r_[split.train_slices, split.val_slices])
        np.testing.assert_array_equal(both, slices_of(dataset, *own))
        assert len(split.val_slices) == round(len(both) / 10)
    split = split_of(dataset, labeled=own, num_labeled=8)
    assert split.labeled_patients == own
    np.testing.assert_array_equal(split.train_slices, slices_of(dataset, *own))
    np.testing.assert_array_equal(
        split.val_slices, slices_of(dataset, *names(VALIDATION))
    )


def test_labelled_patients_who_must_not_train_are_refused():
    """Unknown, named twice, tested, left out, without masks, or validating."""
    volumes = make_volumes(range(1, 41)) + make_volumes([50], masks=False)
    small = make_dataset(volumes, exclude=("patient004",))
    tested = make_split(small, make_data()).test_patients[0]
    excluded = {"exclude": ("patient004",)}
    for names_ in (
        ("patient099",),
        ("patient001", "patient001"),
        (tested,),
        ("patient004",),
        ("patient050",),
    ):
        data = make_data(labeled=names_, **excluded)
        refuse(
            rf"data\.labeled.*{names_[0]}", lambda data=data: make_split(small, data)
        )
    whole = make_dataset(make_volumes(range(1, 101)))
    for name in ("patient001", "patient002"):  # tested; validating
        refuse(
            rf"data\.labeled.*{name}",
            lambda name=name: split_of(whole, labeled=(name,)),
        )


def test_a_named_split_comes_back_from_json(dataset):
    """An earlier run's file, which has no validation patients, is read too."""
    split = split_of(dataset, num_labeled=1)
    fields = json.loads(json.dumps(split.to_dict()))
    assert Split.from_dict(fields).val_patients == names(VALIDATION)
    del fields["val_patients"]
    assert Split.from_dict(fields).val_patients == ()


@pytest.mark.acdc
def test_the_real_split_has_the_published_number_of_slices(acdc_root):
    """32, 68 and 136 labelled slices, and 1,312 that train."""
    import nibabel as nib

    volumes = [x for x in acdc.list_volumes(acdc_root) if x.subset == "training"]
    counts = [nib.load(each.label_path).shape[2] for each in volumes]
    real = make_dataset(volumes, counts=counts)
    found = {n: split_of(real, num_labeled=n) for n in (1, 3, 7)}
    assert {n: len(x.train_slices) for n, x in found.items()} == {1: 32, 3: 68, 7: 136}
    assert len(found[1].pretrain_slices) == 1312
    assert len(found[1].test_volumes) == 40


@pytest.mark.acdc
def test_no_plan_looks_at_the_splits_test_masks(acdc_root, monkeypatch):
    """Spacing and window come from the other 80 patients."""
    from pix2rep_jax.data.fit import plan

    seen = []
    plan_field = plan.plan_field
    monkeypatch.setattr(
        plan,
        "plan_field",
        lambda scans, masked, data: (
            seen.extend(masked) or plan_field(scans, masked, data)
        ),
    )
    plan_data(make_data(root=str(acdc_root), split="ssl4mis", spacing_mm="auto"))
    assert {x.patient for x in seen}.isdisjoint(names(TEST))
    assert len({x.patient for x in seen}) == 80
