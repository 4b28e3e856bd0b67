"""Who pretrains, who is labelled and who is tested: nobody is on two sides."""

import collections
import itertools

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data.dataset import Dataset
from pix2rep_jax.data.few_shot import KNOWN_DUPLICATES, few_shot
from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.data.held_out import holdout_numbers, test_patients
from pix2rep_jax.data.layout import acdc
from pix2rep_jax.data.splits import make_split, take_pretraining_slices
from pix2rep_jax.errors import InputError
from tests.support.patients import (
    GROUPS,
    make_data,
    make_dataset,
    make_volumes,
    patient,
    refuse,
)

TWIN = "its scan is a held-out patient's too"


def owners(dataset: Dataset, slices) -> list[str]:
    return [dataset.volumes[dataset.volume_index[index]].patient for index in slices]


def check_sides(split, dataset: Dataset, volumes) -> None:
    """What holds of every split, whatever was asked for."""
    used = {*split.pretrain_patients, *split.labeled_patients}
    sides = [used, set(split.test_patients), {*split.left_out}]
    assert not any(one & other for one, other in itertools.combinations(sides, 2))
    assert set.union(*sides) == {each.patient for each in volumes}
    if "data.num_unlabeled" not in split.left_out.values():
        assert set(split.labeled_patients) <= set(split.pretrain_patients)
    assert len(set(split.labeled_patients)) == len(split.labeled_patients)
    mine = np.array(owners(dataset, range(len(dataset.images))))
    np.testing.assert_array_equal(
        split.pretrain_slices, np.flatnonzero(np.isin(mine, [*split.pretrain_patients]))
    )
    has_mask = [each.label_path is not None for each in dataset.volumes]
    labeled = np.isin(mine, [*split.labeled_patients])
    labeled &= np.array(has_mask)[dataset.volume_index]
    both = np.concatenate([split.train_slices, split.val_slices])
    np.testing.assert_array_equal(np.sort(both), np.flatnonzero(labeled))
    assert list(split.test_volumes) == [
        index
        for index, each in enumerate(dataset.volumes)
        if each.patient in sides[1] and has_mask[index]
    ]


# The whole split.


def test_last_of_each_group_are_held_out():
    """Without a testing subset four of each pathology are, by name; the rest pretrain,
    with or without masks, in any order of the volumes."""
    volumes = make_volumes(range(1, 41))
    data = make_data()
    dataset = make_dataset(volumes)
    split = make_split(dataset, data)
    assert split.test_patients == tuple(patient(k) for k in range(21, 41))
    assert split.pretrain_patients == tuple(patient(k) for k in range(1, 21))
    assert len(split.test_volumes) == 40 and not split.left_out
    assert split.source == "acdc"
    check_sides(split, dataset, volumes)
    assert test_patients(volumes[::-1]) == split.test_patients
    fewer = test_patients(volumes, holdout_per_group=1)
    assert fewer == tuple(patient(k) for k in range(36, 41))
    assert test_patients(volumes, holdout_per_group=0) == ()


@pytest.mark.parametrize(
    ("masks", "held_out"),
    [(9, 0), (10, 4), (22, 4), (23, 5), (60, 12), (99, 20)],
)
def test_a_fifth_is_held_out_where_it_is_left_to_the_program(masks, held_out):
    """At least four, and none with few masks; patients without masks do not count."""
    volumes = make_volumes(range(100, 100 + masks), groups=("",))
    volumes += make_volumes(range(300, 340), groups=("",), masks=False)
    dataset = make_dataset(volumes)
    data = make_data(name="nifti", root="scans", holdout_per_group="auto")
    split = make_split(dataset, data)
    last = range(100 + masks - held_out, 100 + masks)
    assert split.test_patients == tuple(map(patient, last))
    check_sides(split, dataset, volumes)


def test_each_pathology_has_a_fifth_of_its_own():
    """Of 50, 20 and 10 patients; ACDC's 100 are held out as always, 4 of each."""
    volumes = make_volumes(range(100, 150), groups=("NOR",))
    volumes += make_volumes(range(200, 220), groups=("RV",))
    volumes += make_volumes(range(300, 310), groups=("DCM",))
    split = make_split(make_dataset(volumes), make_data(holdout_per_group="auto"))
    names = [*range(140, 150), *range(216, 220), *range(306, 310)]
    assert split.test_patients == tuple(map(patient, names))
    assert holdout_numbers("auto", make_volumes(range(1, 101))) == dict.fromkeys(
        GROUPS, 4
    )
    assert holdout_numbers(3, volumes) == {"NOR": 3, "RV": 3, "DCM": 3}


def test_held_out_patients_have_masks():
    """Those without cannot be scored, so they pretrain."""
    volumes = make_volumes(range(1, 21)) + make_volumes(range(21, 31), masks=False)
    dataset = make_dataset(volumes)
    split = make_split(dataset, make_data(holdout_per_group=1, num_labeled=15))
    assert split.test_patients == tuple(patient(k) for k in range(16, 21))
    assert set(split.labeled_patients) == {patient(k) for k in range(1, 16)}
    assert {patient(k) for k in range(21, 31)} < set(split.pretrain_patients)
    check_sides(split, dataset, volumes)


def test_testing_subset_is_the_test_where_it_has_masks():
    """Then nobody of the training subset is held out."""
    training = make_volumes(range(1, 21))
    testing = make_volumes(range(101, 106), subset="testing")
    dataset = make_dataset(training + testing)
    split = make_split(dataset, make_data())
    assert split.test_patients == tuple(patient(k) for k in range(101, 106))
    assert split.pretrain_patients == tuple(patient(k) for k in range(1, 21))
    check_sides(split, dataset, training + testing)


def test_testing_patients_without_masks_never_pretrain():
    """Whether all or some lack theirs: they are the publisher's test."""
    training = make_volumes(range(1, 41))
    blind = make_volumes(range(101, 106), subset="testing", masks=False)
    why = dict.fromkeys(
        map(patient, range(101, 106)), "in the testing subset, without a mask"
    )
    split = make_split(dataset := make_dataset(training + blind), make_data())
    assert split.left_out == why
    assert split.test_patients == tuple(patient(k) for k in range(21, 41))
    check_sides(split, dataset, training + blind)
    volumes = training + blind + make_volumes(range(106, 108), subset="testing")
    split = make_split(dataset := make_dataset(volumes), make_data())
    assert split.left_out == why
    assert split.test_patients == ("patient106", "patient107")
    check_sides(split, dataset, volumes)


@pytest.mark.parametrize("holdout", range(1, 9))
def test_equal_scans_are_on_one_side(holdout):
    """Wherever the hold-out begins, patient074 and patient076 are tested together or
    pretrain together."""
    volumes = make_volumes(range(60, 80), groups=("NOR",))
    dataset = make_dataset(volumes)
    split = make_split(dataset, make_data(holdout_per_group=holdout))
    own = {"patient074", "patient076"} & set(split.test_patients)
    assert len(own) == (0 if holdout < 4 else 2)
    assert len(split.test_patients) == holdout + (holdout in (4, 5))
    check_sides(split, dataset, volumes)


def test_scan_of_a_test_patient_does_not_train():
    """patient055 is patient118 of the testing subset: it is left out, and said why.
    "All labelled patients" are then one fewer, and no more than that is forgiven."""
    training = make_volumes(range(51, 61))
    testing = make_volumes(range(116, 119), subset="testing")
    volumes = training + testing
    dataset = make_dataset(volumes)
    split = make_split(dataset, make_data(num_labeled=10))
    assert split.left_out == {"patient055": TWIN}
    assert len(split.labeled_patients) == 9
    check_sides(split, dataset, volumes)
    refuse(
        r"data\.num_labeled",
        lambda: make_split(dataset, make_data(num_labeled=11)),
    )
    # Without its twin it is a patient like any other.
    split = make_split(make_dataset(training), make_data(holdout_per_group=1))
    assert not split.left_out


@pytest.mark.parametrize("name", ["phantom", "nifti"])
def test_names_mean_acdcs_patients_in_acdc_alone(name):
    """Another data set's patient076 is nobody's twin."""
    dataset = make_dataset(make_volumes(range(70, 80), groups=("",)))
    data = make_data(name=name, root="scans", holdout_per_group=4)
    split = make_split(dataset, data)
    assert split.test_patients == tuple(patient(k) for k in range(76, 80))
    assert "patient074" in split.pretrain_patients


def test_who_lacks_patients_is_told_how_they_are_found():
    """An expression may make one patient of all scans, who is tested alone."""
    dataset = make_dataset(make_volumes([7], groups=("",)))
    own = {"name": "nifti", "root": "scans", "holdout_per_group": 4}
    wanted = r"data\.patient_regex"
    refuse(wanted, lambda: make_split(dataset, make_data(**own)))
    split = make_split(dataset, make_data(**own), draw_labeled=False)
    refuse(wanted, lambda: take_pretraining_slices(dataset, split))


@pytest.mark.parametrize("draw", range(4))
def test_equal_scans_slices_train_or_validate_together(draw):
    """The same slice of both patients is on one side, phase by phase."""
    volumes = make_volumes((74, 76), groups=("NOR",))
    dataset = make_dataset(volumes, counts=[9, 9, 9, 9])
    data = make_data(num_labeled=2, holdout_per_group=0, draw=draw, val_fraction=0.3)
    split = make_split(dataset, data)
    sides = {0: set(), 1: set()}
    for side, slices in enumerate((split.train_slices, split.val_slices)):
        for index in slices:
            volume = dataset.volumes[dataset.volume_index[index]]
            sides[side].add((volume.phase, dataset.slice_index[index]))
    assert not sides[0] & sides[1] and len(sides[1]) == round(0.3 * 18)
    assert len(split.val_slices) == 2 * len(sides[1])


@pytest.mark.parametrize("testing", [True, False])
def test_tuning_never_sees_a_test_patient(testing):
    """The test patients are the same, rest, and the next ones are scored instead."""
    volumes = make_volumes(range(1, 41))
    if testing:
        volumes += make_volumes(range(101, 111), subset="testing")
    dataset = make_dataset(volumes)
    final = make_split(dataset, make_data(num_labeled=10))
    split = make_split(dataset, make_data(num_labeled=10, validation_patients=2))
    resting = "a test patient, unseen while tuning"
    assert split.left_out == dict.fromkeys(final.test_patients, resting)
    last = 40 if testing else 20
    assert split.test_patients == tuple(patient(k) for k in range(last - 9, last + 1))
    assert set(split.pretrain_patients) | set(split.test_patients) == set(
        final.pretrain_patients
    )
    check_sides(split, dataset, volumes)


@pytest.mark.parametrize("draw", [0, 3])
def test_fewer_patients_pretrain_than_there_are(draw):
    """They are balanced and nested, and change neither who is labelled nor the test."""
    volumes = make_volumes(range(1, 41)) + make_volumes(range(41, 46), masks=False)
    dataset = make_dataset(volumes)
    options = {"num_labeled": 5, "draw": draw}
    everyone = make_split(dataset, make_data(**options))
    before: set[str] = set()
    for number in (5, 10, 20):
        split = make_split(dataset, make_data(num_unlabeled=number, **options))
        chosen = set(split.pretrain_patients)
        assert before < chosen < set(everyone.pretrain_patients)
        assert len(chosen) == number
        groups = collections.Counter(
            each.group for each in volumes if each.patient in chosen
        )
        assert set(groups.values()) == {2 * number // 5}
        assert split.labeled_patients == everyone.labeled_patients
        assert split.test_patients == everyone.test_patients
        owners = {
            dataset.volumes[x].patient
            for x in dataset.volume_index[split.pretrain_slices]
        }
        assert owners == chosen
        unused = {x for x, why in split.left_out.items() if why == "data.num_unlabeled"}
        used = chosen | set(split.labeled_patients)
        assert unused == set(everyone.pretrain_patients) - used
        assert {*split.labeled_patients} <= {*split.scans}
        check_sides(split, dataset, volumes)
        before = chosen


def test_more_patients_to_pretrain_than_there_are_are_refused():
    dataset = make_dataset(make_volumes(range(1, 41)))
    refuse(
        r"data\.num_unlabeled",
        lambda: make_split(dataset, make_data(num_unlabeled=41), draw_labeled=False),
    )


def test_tuning_keeps_equal_scans_apart_too():
    """A twin of a patient that is scored or rests does not pretrain."""
    volumes = make_volumes(range(60, 80), groups=("NOR",))
    volumes += make_volumes((55,), groups=("RV",))
    volumes += make_volumes((118,), subset="testing", groups=("RV",))
    dataset = make_dataset(volumes)
    split = make_split(dataset, make_data(num_labeled=1, validation_patients=4))
    assert split.test_patients == tuple(map(patient, (76, 77, 78, 79)))
    assert split.left_out == {
        "patient055": TWIN,
        "patient074": TWIN,
        "patient118": "a test patient, unseen while tuning",
    }
    check_sides(split, dataset, volumes)


def test_tuning_without_anyone_left_is_said():
    """All patients with masks are test patients."""
    dataset = make_dataset(make_volumes(range(1, 21)))
    refuse(
        r"data\.validation_patients.*data\.holdout_per_group",
        lambda: make_split(dataset, make_data(validation_patients=2)),
    )


@pytest.mark.parametrize("gone", [3, 38])
def test_leaving_a_patient_out_moves_nobody(gone):
    """Who is excluded is missed where he was; no other takes his place in the test."""
    volumes = make_volumes(range(1, 41))
    whole = make_split(make_dataset(volumes), make_data())
    exclude = (patient(gone),)
    dataset = make_dataset(volumes, exclude=exclude)
    split = make_split(dataset, make_data(exclude=exclude))
    assert split.left_out == {patient(gone): "data.exclude"}
    for side in ("pretrain_patients", "test_patients"):
        assert set(getattr(split, side)) == set(getattr(whole, side)) - set(exclude)
    check_sides(split, dataset, volumes)


def test_labels_are_drawn_of_masks_alone():
    """Frames without masks of a labelled patient pretrain, and that is all."""
    volumes = make_volumes(range(1, 31), frames=3)
    dataset = make_dataset(volumes)
    split = make_split(dataset, make_data(num_labeled=10, draw=3), seed=7)
    check_sides(split, dataset, volumes)
    labelled = np.r_[split.train_slices, split.val_slices]
    phases = {dataset.volumes[dataset.volume_index[k]].phase for k in labelled}
    assert phases == {"ED", "ES"}
    assert len(split.pretrain_slices) > 2 * len(labelled)
    groups = {each.patient: each.group for each in volumes}
    candidates = {each: groups[each] for each in split.pretrain_patients}
    assert split.labeled_patients == few_shot(
        candidates, num_labeled=10, draw=3, seed=7
    )


def test_a_tenth_of_the_labelled_slices_validates():
    """90 / 10 of the slices, anew for each draw, and as the fraction says."""
    dataset = make_dataset(make_volumes(range(1, 31)), counts=[10] * 60)
    split = make_split(dataset, make_data(num_labeled=10))
    assert (len(split.train_slices), len(split.val_slices)) == (180, 20)
    other = make_split(dataset, make_data(num_labeled=10, draw=1))
    assert set(other.labeled_patients) == set(split.labeled_patients)
    assert set(other.val_slices.tolist()) != set(split.val_slices.tolist())
    split = make_split(dataset, make_data(num_labeled=10, val_fraction=0.25))
    assert (len(split.train_slices), len(split.val_slices)) == (150, 50)


def test_pretraining_needs_no_masks():
    """Nothing is drawn, and nobody is held out; drawing says that there are none."""
    volumes = make_volumes(range(1, 11), masks=False)
    dataset = make_dataset(volumes)
    split = make_split(dataset, make_data(), draw_labeled=False)
    assert len(split.pretrain_patients) == 10 and not split.test_patients
    assert not split.labeled_patients and not split.test_volumes
    check_sides(split, dataset, volumes)
    refuse("mask.*_gt", lambda: make_split(dataset, make_data()))


def test_labels_change_nothing_of_pretraining():
    """Number, draw and fraction of labels leave both other sides as they are."""
    dataset = make_dataset(make_volumes(range(1, 41)))
    before = make_split(dataset, make_data(), draw_labeled=False)
    for changes in ({"num_labeled": 1}, {"draw": 4}, {"val_fraction": 0.5}):
        split = make_split(dataset, make_data(**changes), seed=5)
        assert split.pretrain_patients == before.pretrain_patients
        assert split.test_patients == before.test_patients


@pytest.mark.parametrize("case", range(40))
def test_nobody_is_on_two_sides(case):
    """Data sets and settings at random: the rules hold in all of them."""
    rng = np.random.default_rng(case)
    numbers = rng.permutation(np.arange(50, 90))[: rng.integers(25, 41)]
    groups = GROUPS[: rng.integers(1, 6)]
    parts = np.split(np.sort(numbers), [len(numbers) - rng.integers(0, 5)])
    volumes = make_volumes(parts[0], groups=groups, frames=int(rng.integers(0, 2)))
    volumes += make_volumes(parts[1], groups=groups, masks=False)
    if case % 3 == 0:
        volumes += make_volumes((117, 118, 119), subset="testing", groups=groups)
    if case % 3 == 1:
        volumes += make_volumes((118,), subset="testing", masks=False)
    exclude = tuple(map(patient, rng.choice(parts[0], rng.integers(0, 3))))
    data = make_data(
        exclude=exclude,
        holdout_per_group=int(rng.integers(0, 3)),
        validation_patients=int(rng.integers(0, 3)),
        num_labeled=int(rng.integers(1, 4)),
        draw=int(rng.integers(0, 5)),
        num_unlabeled=int(rng.integers(0, 10)),
    )
    dataset = make_dataset(volumes, exclude=exclude)
    split = make_split(dataset, data, seed=case)
    check_sides(split, dataset, volumes)
    assert len(split.labeled_patients) == data.num_labeled
    for pair in KNOWN_DUPLICATES:
        assert not (set(pair) & {*split.pretrain_patients}) or not (
            set(pair) & {*split.test_patients}
        )
    assert not {*exclude} & {*split.pretrain_patients, *split.test_patients}


# ACDC itself.


@pytest.fixture(scope="module")
def real(acdc_root):
    """The real volumes, with as many slices as they have."""
    volumes = [
        each for each in acdc.list_volumes(acdc_root) if each.subset == "training"
    ]
    counts = [nib.load(each.label_path).shape[2] for each in volumes]
    return make_dataset(volumes, counts=counts), volumes


@pytest.mark.acdc
@pytest.mark.parametrize("num_labeled", [1, 2, 5, 10, 20, 80])
def test_real_split_holds_out_four_a_group(real, num_labeled):
    """20 test patients and 80 that pretrain, among them both equal scans; the labelled
    ones are balanced, and a tenth of their slices validates."""
    dataset, volumes = real
    split = make_split(dataset, make_data(num_labeled=num_labeled, draw=1))
    check_sides(split, dataset, volumes)
    groups = {each.patient: each.group for each in volumes}
    assert len(split.test_patients) == 20 and len(split.test_volumes) == 40
    counts = collections.Counter(groups[each] for each in split.test_patients)
    assert set(counts.values()) == {4} and len(counts) == 5
    expected = [
        name
        for group in GROUPS
        for name in sorted(each for each in groups if groups[each] == group)[-4:]
    ]
    assert sorted(expected) == list(split.test_patients)
    assert len(split.pretrain_patients) == 80 - len(split.left_out) == 80
    assert {"patient055", "patient074", "patient076"} < {*split.pretrain_patients}
    drawn = collections.Counter(groups[each] for each in split.labeled_patients)
    assert max(drawn.values()) - min(drawn[group] for group in GROUPS) <= 1
    total = len(split.train_slices) + len(split.val_slices)
    # Equal slices count once, so the fraction of all is a tenth to within theirs.
    assert abs(len(split.val_slices) - total / 10) <= (0.5 if num_labeled < 80 else 12)


@pytest.mark.acdc
def test_real_split_for_tuning(real):
    """Four more a group are scored, the 20 rest, and twins stay together."""
    dataset, volumes = real
    final = make_split(dataset, make_data())
    split = make_split(dataset, make_data(validation_patients=4))
    check_sides(split, dataset, volumes)
    assert set(split.left_out) == set(final.test_patients)
    assert len(split.test_patients) == 20 and len(split.pretrain_patients) == 60
    assert {"patient074", "patient076"} < set(split.test_patients)
    narrow = make_split(dataset, make_data(validation_patients=2))
    assert narrow.left_out["patient074"] == TWIN


@pytest.mark.acdc
def test_real_test_set_leaves_its_twin_out(real):
    """With the 50 test patients of the full download, patient055 does not train."""
    dataset, volumes = real
    testing = make_volumes(range(101, 151), subset="testing")
    counts = np.bincount(dataset.volume_index).tolist() + [9] * 100
    whole = make_dataset([*volumes, *testing], counts=counts)
    split = make_split(whole, make_data(num_labeled=100))
    check_sides(split, whole, [*volumes, *testing])
    assert split.left_out == {"patient055": TWIN}
    assert len(split.labeled_patients) == len(split.pretrain_patients) == 99
    assert len(split.test_patients) == 50


def test_a_slice_without_annotation_is_never_labelled():
    """It pretrains; a patient without any annotated slice is not drawn nor scored."""
    volumes = make_volumes(range(1, 13), groups=("",))
    dataset = make_dataset(volumes, counts=[6] * len(volumes))
    mine = np.array(owners(dataset, range(len(dataset.images))))
    dataset.labels[dataset.slice_index % 3 > 0] = UNLABELLED
    bare = {patient(1), patient(12)}
    dataset.labels[np.isin(mine, [*bare])] = UNLABELLED
    split = make_split(dataset, make_data(num_labeled=7, holdout_per_group=4))
    both = np.concatenate([split.train_slices, split.val_slices])
    assert len(both) == 7 * 2 * 2 and (dataset.labels[both] == 0).all()
    assert not bare & {*split.labeled_patients}
    assert len(split.pretrain_slices) == 8 * 2 * 6
    assert patient(12) in split.test_patients and len(split.test_volumes) == 3 * 2
    with pytest.raises(InputError, match=r"data(\.|__)num_labeled=8"):
        make_split(dataset, make_data(num_labeled=8, holdout_per_group=4))
