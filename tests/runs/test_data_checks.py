"""Which scans a run may go on with, start from and be scored on."""

import dataclasses
import pathlib

import pytest

from configs.pix2rep import get_config
from pix2rep_jax.data.splits import make_split
from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.data_checks import (
    check_same_data,
    check_same_split,
    check_unseen,
    is_scored_alike,
    match_classes,
)
from tests.support.patients import (
    make_data,
    make_dataset,
    make_volumes,
    number_scans,
    refuse,
)

HERE = pathlib.Path("runs/here/pretrain")


def test_a_run_goes_on_with_its_own_patients_alone():
    """Scans that came or went since would train and test another run."""
    dataset = make_dataset(make_volumes(range(1, 41)))
    split = make_split(dataset, make_data(holdout_per_group=2))
    check_same_split(split, split, HERE)
    more = make_dataset(make_volumes(range(1, 42)))
    for other, name in (
        (make_split(more, make_data(holdout_per_group=2)), "patients to pretrain on"),
        (
            make_split(dataset, make_data(holdout_per_group=2, draw=1)),
            "labelled patients",
        ),
    ):
        refuse(name, lambda other=other: check_same_split(split, other, HERE))


def test_a_run_goes_on_with_its_own_scans_alone():
    """Wherever they lie and with masks that came since, but not with others' names."""
    dataset = number_scans(make_dataset(make_volumes(range(1, 41))))
    first = dataset.volumes[0]

    def split_with(draw_labeled=True, crop="center", **fields):
        volumes = (dataclasses.replace(first, **fields), *dataset.volumes[1:])
        changed = dataclasses.replace(dataset, volumes=volumes)
        settings = make_data(holdout_per_group=2, crop=crop)
        return make_split(changed, settings, draw_labeled=draw_labeled)

    split = split_with()
    check_same_split(split_with(label_digest=""), split, HERE)
    moved = split_with(image_path=pathlib.Path("/elsewhere/a.nii.gz"))
    check_same_split(split, moved, HERE)
    for fields, what in (
        ({"image_digest": "other"}, "the scan patient001_ED"),
        ({"label_digest": "other"}, "the mask of patient001_ED"),
        ({"volume_id": "patient001_new"}, "the scan patient001_"),
    ):
        other = split_with(**fields)
        refuse(what, lambda other=other: check_same_split(split, other, HERE))
    # Masks play no part in pretraining, unless they say where to crop.
    options = {"draw_labeled": False, "label_digest": "other"}
    check_same_split(split_with(draw_labeled=False), split_with(**options), HERE)
    cropped = split_with(draw_labeled=False, crop="mask_box")
    other = split_with(**options, crop="mask_box")
    refuse("patient001_ED", lambda: check_same_split(cropped, other, HERE))


def test_scans_that_take_no_part_may_come():
    """Such as a testing/ without masks."""
    volumes = make_volumes(range(1, 41))
    data = make_data(holdout_per_group=2)
    before = make_split(number_scans(make_dataset(volumes)), data)
    volumes += make_volumes((101, 102), subset="testing", masks=False)
    split = make_split(number_scans(make_dataset(volumes)), data)
    assert {"patient101", "patient102"} <= set(split.left_out)
    check_same_split(before, split, HERE)


def test_scores_are_those_of_the_same_scans():
    """Of the same test patients, whose scans have not been exchanged."""
    dataset = number_scans(make_dataset(make_volumes(range(1, 41))))
    data = make_data(holdout_per_group=2)
    split = make_split(dataset, data)
    bare = dataclasses.replace(split, scans={})
    assert is_scored_alike(split, split) and not is_scored_alike(bare, split)
    assert is_scored_alike(split, make_split(dataset, data, draw_labeled=False))
    other = make_split(dataset, make_data(holdout_per_group=1))
    assert not is_scored_alike(split, other)
    exchanged = make_split(number_scans(dataset, first=100), data)
    assert not is_scored_alike(split, exchanged)


def test_test_patient_that_pretrained_is_said():
    """The run that starts from a pretraining holds out no fewer than it did."""
    dataset = make_dataset(make_volumes(range(1, 41)))
    before = make_split(dataset, make_data(holdout_per_group=2))
    for changes in ({"holdout_per_group": 2}, {"holdout_per_group": 1}):
        check_unseen(make_split(dataset, make_data(**changes)), before, HERE)
    for changes in (
        {"holdout_per_group": 3},
        {"holdout_per_group": 2, "validation_patients": 1},
    ):
        split = make_split(dataset, make_data(**changes))
        refuse(
            r"^patient026 .*data\.holdout_per_group",
            lambda split=split: check_unseen(split, before, HERE),
        )


def test_twin_of_a_test_patient_that_pretrained_is_said():
    """Pretraining before testing/ was there has seen patient118 under another name."""
    training = make_volumes(range(51, 91))
    testing = make_volumes((117, 118), subset="testing")
    before = make_split(make_dataset(training), make_data())
    split = make_split(make_dataset(training + testing), make_data())
    refuse("^patient055", lambda: check_unseen(split, before, HERE))
    exclude = ("patient118",)
    dataset = make_dataset(training + testing, exclude=exclude)
    check_unseen(make_split(dataset, make_data(exclude=exclude)), before, HERE)
    # In another data set the two names have nothing to do with each other.
    other = make_data(name="phantom")
    before = make_split(make_dataset(training), other)
    check_unseen(make_split(make_dataset(training + testing), other), before, HERE)


def test_folder_of_scans_is_known_by_its_place(tmp_path, monkeypatch):
    """Two folders may have patients of one name; one folder has many spellings, and
    may be moved."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    dataset = number_scans(make_dataset(make_volumes(range(1, 21), groups=("",))))
    data = make_data(name="nifti", root="scans", holdout_per_group=2)
    before = make_split(dataset, data)
    wider = dict(name="nifti", holdout_per_group=3)
    for root in ("scans", "scans/", "./scans", str(tmp_path / "scans"), "moved"):
        split = make_split(dataset, make_data(root=root, **wider))
        refuse("patient", lambda split=split: check_unseen(split, before, HERE))
    others = number_scans(dataset, first=100)
    split = make_split(others, make_data(root="others", **wider))
    check_unseen(split, before, HERE)
    more = make_volumes(range(1, 22), groups=("",))
    grown = number_scans(make_dataset(more))  # the first volumes are the same
    wider["holdout_per_group"] = 4
    split = make_split(grown, make_data(root="moved", **wider))
    refuse("^patient018 ", lambda: check_unseen(split, before, HERE))


def test_a_network_is_used_on_data_like_its_own():
    """Settings of the data are compared on its own scans, and on others those of the
    images and the classes."""
    before, folder = get_config("quick"), pathlib.Path("runs/here/probe")
    data = before.data.copy_and_resolve_references()
    data.cache_dir, data.device_budget_mb = "elsewhere", 1
    check_same_data(data, before, folder)
    data.draw = 1  # which a pretraining does not depend on
    check_same_data(data, before, HERE)
    with pytest.raises(InputError, match=r"data(\.|__)draw"):
        check_same_data(data, before, folder)
    data.root = "other scans"
    check_same_data(data, before, folder)
    data.classes, data.label_values = ("bg", "LV", "RV", "MYO"), (0, 255, 1, 2)
    check_same_data(data, before, folder)  # matched by name
    for name, value in (("size", 32), ("crop", "mask_box"), ("classes", ("BG", "RV"))):
        other = data.copy_and_resolve_references()
        other[name] = value
        with pytest.raises(InputError, match=rf"data\.{name}"):
            check_same_data(other, before, folder)


def test_classes_are_matched_with_those_of_networks():
    """By name, in the order of all networks; two orders cannot both be scored."""
    before = get_config("quick")
    other = get_config("quick")
    other.data.classes = ("BG", "LV", "MYO", "RV")
    first, second = pathlib.Path("a/finetune"), pathlib.Path("a/probe")
    data = make_data(name="nifti", root="nowhere", classes=("BG", "LV", "MYO", "RV"))
    matched, classes = match_classes(data, {first: before, second: before})
    assert classes == matched.classes == ("BG", "RV", "MYO", "LV")
    assert matched.label_values == (0, 3, 2, 1)
    matched, classes = match_classes(data, {first: other})
    assert matched is data and classes == tuple(data.classes)
    refuse("--workdir", lambda: match_classes(data, {first: before, second: other}))
