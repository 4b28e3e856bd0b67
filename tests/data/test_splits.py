"""Who pretrains, who is labelled and who is tested: nobody is on two sides."""

import collections
import dataclasses
import itertools
import json
import pathlib
import runpy

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data import acdc
from pix2rep_jax.data.dataset import Dataset
from pix2rep_jax.data.few_shot import KNOWN_DUPLICATES, few_shot, split_slices
from pix2rep_jax.data.splits import (
    check_unseen,
    is_scored_alike,
    make_split,
    neutral_root,
    test_patients,
)
from pix2rep_jax.data.volume import VolumeFile, VolumeRecord
from pix2rep_jax.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[2]
GROUPS = ("DCM", "HCM", "MINF", "NOR", "RV")
TWIN = "its scan is a held-out patient's too"


CONFIG = runpy.run_path(str(ROOT / "configs" / "pix2rep.py"))["get_config"]("quick")


def make_data(**changes):
    data = CONFIG.data.copy_and_resolve_references()
    data.name = "acdc"
    data.update(changes)
    return data


def patient(number: int) -> str:
    return f"patient{number:03d}"


def make_volumes(numbers, *, subset="training", groups=GROUPS, masks=True, frames=0):
    """Two labelled phases of each patient, in groups by turns, and frames without."""
    volumes = []
    for number in numbers:
        common = dict(
            patient=patient(number),
            subset=subset,
            group=groups[number % len(groups)],
            image_path=pathlib.Path("scan.nii.gz"),
        )
        phases = ["ED", "ES"] + [f"frame{k:02d}" for k in range(frames)]
        for place, phase in enumerate(phases):
            label = pathlib.Path("gt.nii.gz") if masks and place < 2 else None
            name = f"{patient(number)}_{phase}"
            volumes.append(
                VolumeFile(volume_id=name, phase=phase, label_path=label, **common)
            )
    return volumes


def make_dataset(volumes, *, counts=None, exclude=()) -> Dataset:
    """Slices of nothing: a split looks at whose they are."""
    excluded = tuple(each for each in volumes if each.patient in exclude)
    volumes = [each for each in volumes if each.patient not in exclude]
    if counts is None:
        counts = [3 + int(each.patient[-3:]) % 4 for each in volumes]
    index = np.repeat(np.arange(len(volumes), dtype=np.int32), counts)
    return Dataset(
        images=np.zeros((len(index), 1, 1), np.float32),
        labels=np.zeros((len(index), 1, 1), np.uint8),
        volume_index=index,
        slice_index=np.concatenate([np.arange(count) for count in counts]),
        volumes=tuple(VolumeRecord(**vars(each)) for each in volumes),
        excluded=excluded,
    )


def owners(dataset: Dataset, slices) -> list[str]:
    return [dataset.volumes[dataset.volume_index[index]].patient for index in slices]


def check_sides(split, dataset: Dataset, volumes) -> None:
    """What holds of every split, whatever was asked for."""
    sides = [set(split.pretrain_patients), set(split.test_patients), {*split.left_out}]
    assert not any(one & other for one, other in itertools.combinations(sides, 2))
    assert set.union(*sides) == {each.patient for each in volumes}
    assert set(split.labeled_patients) <= sides[0]
    assert len(set(split.labeled_patients)) == len(split.labeled_patients)
    mine = np.array(owners(dataset, range(len(dataset.images))))
    np.testing.assert_array_equal(
        split.pretrain_slices, np.flatnonzero(np.isin(mine, [*sides[0]]))
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


def refuse(match, call):
    """The one sentence with which settings are refused."""
    with pytest.raises(InputError, match=match) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400


# Few-shot draws.


def balanced(number=40) -> dict[str, str]:
    return {patient(k): GROUPS[k % 5] for k in range(1, number + 1)}


@pytest.mark.parametrize("draw", range(5))
def test_draws_are_nested(draw):
    """More labelled patients are those of fewer and some more."""
    longest = few_shot(balanced(), num_labeled=40, draw=draw)
    assert sorted(longest) == sorted(balanced())
    for number in (1, 2, 5, 7, 10, 39):
        assert few_shot(balanced(), num_labeled=number, draw=draw) == longest[:number]


@pytest.mark.parametrize("sizes", [(8, 8, 8), (2, 9, 5), (1, 1, 20), (6,)])
def test_draws_are_balanced_over_the_groups(sizes):
    """Numbers of two groups differ by one at most until the smaller is used up."""
    groups = {
        f"{name}{k}": name for name, size in enumerate(sizes) for k in range(size)
    }
    for draw, number in itertools.product(range(3), range(1, sum(sizes) + 1)):
        drawn = few_shot(groups, num_labeled=number, draw=draw)
        counts = collections.Counter(groups[each] for each in drawn)
        most = max(counts.values())
        for name, size in enumerate(sizes):
            assert counts[name] >= min(size, most - 1)


def test_draws_depend_on_seed_and_number_alone():
    """Not on the order in which patients are listed; another number is another draw."""
    options = dict(num_labeled=5, draw=2)
    first = few_shot(balanced(), **options)
    backwards = dict(reversed(balanced().items()))
    assert few_shot(backwards, **options) == first
    others = {few_shot(balanced(), num_labeled=5, draw=draw) for draw in range(20)}
    assert len(others) == 20 and first in others
    assert few_shot(balanced(), seed=1, **options) not in others


def test_every_patient_may_be_drawn():
    """One labelled patient of 20 is each of them about as often."""
    counts = collections.Counter(
        few_shot(balanced(20), num_labeled=1, draw=draw)[0] for draw in range(600)
    )
    # Binomial with a mean of 30 and a deviation of 5.3.
    assert len(counts) == 20 and min(counts.values()) > 12
    assert max(counts.values()) < 50


def test_second_of_two_equal_scans_comes_last_of_its_group():
    """A labelled patient more should be a scan more, for as long as there are any."""
    groups = {patient(k): "NOR" if k > 70 else "RV" for k in range(67, 80)}
    normal = [each for each in groups if groups[each] == "NOR"]
    for draw in range(30):
        drawn = few_shot(groups, num_labeled=len(groups), draw=draw)
        own = [each for each in drawn if each in normal]
        assert own[-1] == "patient076"
    drawn = {few_shot(groups, num_labeled=1, draw=draw)[0] for draw in range(300)}
    assert drawn == set(groups) - {"patient076"}
    # Where its twin cannot be drawn, it is a patient like any other.
    del groups["patient074"]
    drawn = {few_shot(groups, num_labeled=1, draw=draw)[0] for draw in range(300)}
    assert drawn == set(groups)


def test_draws_that_cannot_be_made_are_said():
    """Too many patients, none, and a draw below the first."""
    refuse(
        r"num_labeled=41 patients are wanted, and 40 have masks.*lower",
        lambda: few_shot(balanced(), num_labeled=41, draw=0),
    )
    refuse(
        r"num_labeled=1 patients are wanted, and 0 have",
        lambda: few_shot({}, num_labeled=1, draw=0),
    )
    for number, draw in ((0, 0), (-3, 0), (1, -1)):
        refuse(
            rf"num_labeled={number} and data\.draw={draw} make no draw",
            lambda number=number, draw=draw: few_shot(
                balanced(), num_labeled=number, draw=draw
            ),
        )


# Slices that train and slices that validate.


@pytest.mark.parametrize("number", [2, 3, 9, 10, 15, 104, 1000])
@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.99])
def test_slices_are_divided_by_the_fraction(number, fraction):
    """Each is on one side, the nearest number validates, and neither side is empty."""
    train, val = split_slices(range(number), val_fraction=fraction)
    np.testing.assert_array_equal(np.sort(np.r_[train, val]), np.arange(number))
    assert (np.diff(train) > 0).all() and (np.diff(val) > 0).all()
    assert len(train) and len(val)
    if 1 < number * fraction < number - 1:
        assert abs(len(val) - number * fraction) <= 0.5


def test_a_tenth_validates_unless_said_otherwise():
    """90 / 10, at random but for the seed."""
    train, val = split_slices(range(200))
    assert (len(train), len(val)) == (180, 20)
    np.testing.assert_array_equal(split_slices(range(200))[1], val)
    others = [split_slices(range(200), seed=seed)[1].tolist() for seed in range(1, 9)]
    others += [split_slices(range(200), seed=(0, draw))[1].tolist() for draw in (0, 1)]
    assert len({tuple(each) for each in others}) == 10
    assert max(val) > 100 > min(val)


@pytest.mark.parametrize("seed", range(10))
def test_equal_slices_stay_together(seed):
    """A slice that is shown twice would be learned and then asked."""
    shown = [f"slice{k % 30}" for k in range(50)]
    train, val = split_slices(shown, val_fraction=0.3, seed=seed)
    assert not {shown[k] for k in train} & {shown[k] for k in val}
    assert len({shown[k] for k in val}) == 9 and len(train) + len(val) == 50


def test_slices_that_cannot_be_divided_are_said():
    """One slice, none, one shown twice, and fractions that are none."""
    for slices, number in (([], 0), (["a"], 1), (["a", "a"], 1)):
        refuse(
            rf"^{number} labelled slice cannot be divided.*data\.num_labeled",
            lambda slices=slices: split_slices(slices),
        )
    for fraction in (0, 1, -0.1, 1.5, float("nan")):
        refuse(
            rf"data\.val_fraction={fraction} must lie between 0 and 1",
            lambda fraction=fraction: split_slices(range(9), val_fraction=fraction),
        )


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
        map(patient, range(101, 106)), "of the testing subset, without a mask"
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
        "num_labeled=11 patients are wanted, and 9 have",
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
        r"data\.validation_patients=2, and no patient.*lower data\.holdout_per_group",
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
    refuse(
        "num_labeled=5 patients are wanted, and 0 have masks",
        lambda: make_split(dataset, make_data()),
    )


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


# What is written, and what it protects.


def test_split_is_written_for_people_and_for_programs(tmp_path):
    """split.json says who was what; the pretraining slices follow from the patients."""
    volumes = make_volumes(range(51, 91)) + make_volumes((118,), subset="testing")
    dataset = make_dataset(volumes)
    split = make_split(dataset, make_data(num_labeled=3))
    split.write(str(tmp_path))
    split.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["split.json"]
    text = (tmp_path / "split.json").read_text()
    assert text.count("\n") > 40
    assert json.loads(text) == {
        "pretrain_patients": list(split.pretrain_patients),
        "labeled_patients": list(split.labeled_patients),
        "test_patients": ["patient118"],
        "left_out": {"patient055": TWIN},
        "train_slices": split.train_slices.tolist(),
        "val_slices": split.val_slices.tolist(),
        "test_volumes": [80, 81],
        "source": "acdc",
        "scans": split.scans,
    }


@pytest.mark.parametrize("stage", ["write_text", "replace"])
def test_split_that_cannot_be_written_is_said(tmp_path, monkeypatch, stage):
    """The former one stays, and no half of the new one beside it."""
    dataset = make_dataset(make_volumes(range(1, 41)))
    make_split(dataset, make_data()).write(tmp_path)
    before = (tmp_path / "split.json").read_text()
    split = make_split(dataset, make_data(val_fraction=0.3))
    write = pathlib.Path.write_text

    def fail(*args, **options):
        if stage == "write_text":
            write(args[0], "half")
        raise OSError(28, "No space left on device")

    if stage == "write_text":
        monkeypatch.setattr(pathlib.Path, "write_text", fail)
    else:
        monkeypatch.setattr("os.replace", fail)
    refuse(
        r"split\.json cannot be written \(No space left.*--workdir",
        lambda: split.write(tmp_path),
    )
    monkeypatch.undo()
    refuse(r"cannot be written", lambda: split.write(tmp_path / "missing"))
    assert [path.name for path in tmp_path.iterdir()] == ["split.json"]
    assert (tmp_path / "split.json").read_text() == before


def test_a_run_goes_on_with_its_own_patients_alone(tmp_path):
    """Scans that came or went since would train and test another run."""
    dataset = make_dataset(make_volumes(range(1, 41)))
    split = make_split(dataset, make_data(holdout_per_group=2))
    for _ in range(2):
        split.write(tmp_path)
    before = (tmp_path / "split.json").read_text()
    more = make_dataset(make_volumes(range(1, 42)))
    for other, name in (
        (make_split(more, make_data(holdout_per_group=2)), "pretrain_patients"),
        (make_split(dataset, make_data(holdout_per_group=2, draw=1)), "labeled_pat"),
    ):
        refuse(
            rf"began with \d+ {name}.*have changed since",
            lambda other=other: other.write(tmp_path),
        )
    assert (tmp_path / "split.json").read_text() == before


def number_scans(dataset: Dataset, first: int = 0) -> Dataset:
    """Gives every volume voxels of its own, and a mask where it has one."""
    volumes = [
        dataclasses.replace(
            each,
            image_digest=f"image{first + index}",
            label_digest=f"label{first + index}" if each.label_path else "",
        )
        for index, each in enumerate(dataset.volumes)
    ]
    return dataclasses.replace(dataset, volumes=tuple(volumes))


def test_a_run_goes_on_with_its_own_scans_alone(tmp_path):
    """Wherever they lie and with masks that came since, but not with others' names."""
    dataset = number_scans(make_dataset(make_volumes(range(1, 41))))
    data = make_data(holdout_per_group=2)
    first = dataset.volumes[0]
    assert neutral_root(tmp_path) == ()
    bare = dataclasses.replace(first, label_digest="")

    def split_with(volume, draw_labeled=True, **changes):
        volumes = (volume, *dataset.volumes[1:])
        changed = dataclasses.replace(dataset, volumes=volumes)
        settings = make_data(holdout_per_group=2, **changes)
        return make_split(changed, settings, draw_labeled=draw_labeled)

    split_with(bare).write(tmp_path)
    assert neutral_root(tmp_path) == ("data.root",)
    split_with(first).write(tmp_path)
    moved = dataclasses.replace(first, image_path=pathlib.Path("/elsewhere/a.nii.gz"))
    split_with(moved).write(tmp_path)
    for fields, what in (
        ({"image_digest": "other"}, "the scan patient001_ED"),
        ({"label_digest": "other"}, "the mask of patient001_ED"),
        ({"volume_id": "patient001_new"}, "the scan patient001_"),
    ):
        other = dataclasses.replace(first, **fields)
        refuse(
            rf"^{what}.* is another than the run in .*data\.root that it began with",
            lambda other=other: split_with(other).write(tmp_path),
        )
    assert make_split(dataset, data).scans["patient001"] == {
        "patient001_ED": "image0 label0",
        "patient001_ES": "image1 label1",
    }
    # Masks play no part in pretraining, but where they say where to crop.
    corrected = dataclasses.replace(first, label_digest="other")
    for name in ("center", "mask_box"):
        (tmp_path / name).mkdir()
        split_with(first, draw_labeled=False, crop=name).write(tmp_path / name)
    split_with(corrected, draw_labeled=False).write(tmp_path / "center")
    other = split_with(corrected, draw_labeled=False, crop="mask_box")
    refuse("^the mask of patient001_ED", lambda: other.write(tmp_path / "mask_box"))


def test_scans_that_take_no_part_may_come(tmp_path):
    """Such as a testing/ without masks."""
    volumes = make_volumes(range(1, 41))
    data = make_data(holdout_per_group=2)
    make_split(number_scans(make_dataset(volumes)), data).write(tmp_path)
    volumes += make_volumes((101, 102), subset="testing", masks=False)
    split = make_split(number_scans(make_dataset(volumes)), data)
    assert {"patient101", "patient102"} <= set(split.left_out)
    split.write(tmp_path)


@pytest.mark.parametrize("scans", [[], "a", {"patient001": "a"}, {"patient001": {}}])
def test_a_damaged_record_of_scans_is_no_traceback(tmp_path, scans):
    """It is no record, or one of other scans."""
    dataset = number_scans(make_dataset(make_volumes(range(1, 41))))
    split = make_split(dataset, make_data())
    split.write(tmp_path)
    record = json.loads((tmp_path / "split.json").read_text()) | {"scans": scans}
    (tmp_path / "split.json").write_text(json.dumps(record))
    check_unseen(split, tmp_path)
    if scans == {"patient001": {}}:
        refuse("^the scan patient001_ED", lambda: split.write(tmp_path))
    else:
        split.write(tmp_path)


def test_scores_are_those_of_the_same_scans(tmp_path):
    """Of the same test patients, whose scans have not been exchanged."""
    dataset = number_scans(make_dataset(make_volumes(range(1, 41))))
    data = make_data(holdout_per_group=2)
    split = make_split(dataset, data)
    assert not is_scored_alike(split, tmp_path)
    split.write(tmp_path)
    assert is_scored_alike(split, tmp_path)
    assert is_scored_alike(make_split(dataset, data, draw_labeled=False), tmp_path)
    other = make_split(dataset, make_data(holdout_per_group=1))
    assert not is_scored_alike(other, tmp_path)
    exchanged = make_split(number_scans(dataset, first=100), data)
    assert not is_scored_alike(exchanged, tmp_path)


def test_test_patient_that_pretrained_is_said(tmp_path):
    """The run that starts from a pretraining holds out no fewer than it did."""
    dataset = make_dataset(make_volumes(range(1, 41)))
    make_split(dataset, make_data(holdout_per_group=2)).write(tmp_path)
    for changes in ({"holdout_per_group": 2}, {"holdout_per_group": 1}):
        check_unseen(make_split(dataset, make_data(**changes)), tmp_path)
    for changes in (
        {"holdout_per_group": 3},
        {"holdout_per_group": 2, "validation_patients": 1},
    ):
        split = make_split(dataset, make_data(**changes))
        refuse(
            r"^patient026, .*took part in the pretraining in .*data\.holdout_per_group",
            lambda split=split: check_unseen(split, tmp_path),
        )


def test_twin_of_a_test_patient_that_pretrained_is_said(tmp_path):
    """Pretraining before testing/ was there has seen patient118 under another name."""
    training = make_volumes(range(51, 91))
    testing = make_volumes((117, 118), subset="testing")
    make_split(make_dataset(training), make_data()).write(tmp_path)
    split = make_split(make_dataset(training + testing), make_data())
    refuse(
        r"^patient055, which is a test patient or has the same scan as one, took part",
        lambda: check_unseen(split, tmp_path),
    )
    exclude = ("patient118",)
    dataset = make_dataset(training + testing, exclude=exclude)
    check_unseen(make_split(dataset, make_data(exclude=exclude)), tmp_path)
    # In another data set the two names have nothing to do with each other.
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    other = make_data(name="phantom")
    make_split(make_dataset(training), other).write(tmp_path / "one")
    check_unseen(make_split(make_dataset(training + testing), other), tmp_path / "one")


def test_folder_of_scans_is_known_by_its_place(tmp_path, monkeypatch):
    """Two folders may have patients of one name; one folder has many spellings, and
    may be moved."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    dataset = number_scans(make_dataset(make_volumes(range(1, 21), groups=("",))))
    data = make_data(name="nifti", root="scans", holdout_per_group=2)
    make_split(dataset, data).write(tmp_path)
    wider = dict(name="nifti", holdout_per_group=3)
    for root in ("scans", "scans/", "./scans", str(tmp_path / "scans"), "moved"):
        split = make_split(dataset, make_data(root=root, **wider))
        refuse("took part", lambda split=split: check_unseen(split, tmp_path))
    others = number_scans(dataset, first=100)
    check_unseen(make_split(others, make_data(root="others", **wider)), tmp_path)
    more = make_volumes(range(1, 22), groups=("",))
    grown = number_scans(make_dataset(more))  # the first volumes are the same
    wider["holdout_per_group"] = 4
    split = make_split(grown, make_data(root="moved", **wider))
    refuse("^patient018, .*took part", lambda: check_unseen(split, tmp_path))


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"source": "acdc"}'])
def test_run_without_a_record_passes(tmp_path, text):
    """Weights from elsewhere have none; that is not for this check to judge."""
    if text is not None:
        (tmp_path / "split.json").write_text(text)
    split = make_split(make_dataset(make_volumes(range(1, 41))), make_data())
    check_unseen(split, tmp_path)
    check_unseen(split, tmp_path / "nowhere")


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
