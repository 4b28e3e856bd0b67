"""What is found out about a data set, and what the user need not tell."""

import dataclasses
import json
import re

import nibabel as nib
import numpy as np
import pytest

from configs.pix2rep import get_config
from pix2rep_jax.data.fit.settle import settle_data
from pix2rep_jax.data.held_out import fold_of_patients, test_patients, ways_to_test
from pix2rep_jax.data.splits import make_split
from pix2rep_jax.data.volume_list import list_volumes
from pix2rep_jax.errors import InputError
from tests.support.patients import make_data, make_dataset, make_volumes


def make_folder(root, count, *, values=(0, 2, 5)):
    """Scans of patients p1, p2, ... with masks of three values."""
    mask = np.resize(np.array(values, np.uint8), (8, 8, 2))
    for folder in ("images", "labels"):
        (root / folder).mkdir()
        for number in range(count):
            image = nib.Nifti1Image(mask, np.eye(4))
            nib.save(image, root / folder / f"p{number:02d}_a.nii.gz")
    return root


def data_of(root, **changes):
    data = get_config("small").data
    with data.ignore_type():
        data.update(root=str(root), **changes)
    return data


def test_root_is_enough_and_classes_are_counted_from_the_masks(tmp_path):
    """Named by the values, with a note that gives the flag."""
    settled = settle_data(data_of(make_folder(tmp_path, 12)))
    assert settled.settings == {
        "name": "nifti",
        "classes": ("background", "2", "5"),
        "label_values": (0, 2, 5),
        "holdout_per_group": 4,
    }
    assert "12 scans, 12 masks, 12 patients, 1 channel" in settled.lines[0]
    assert any("--config.data.classes=" in note for note in settled.notes)


def test_files_name_the_classes(tmp_path):
    make_folder(tmp_path, 12)
    (tmp_path / "labels.json").write_text(json.dumps({"BG": 0, "B": 5, "A": 2}))
    data = data_of(tmp_path)
    settings = settle_data(data).settings
    assert settings["classes"] == ("BG", "A", "B") and "label_values" not in settings
    with data.ignore_type():
        data.update(settings)
    assert list_volumes(data)[0].label_values == (0, 2, 5)


def test_a_file_beside_the_masks_names_the_classes_too(tmp_path):
    """Then the values are set, as what lists the scans looks into the root alone."""
    make_folder(tmp_path, 12)
    names = json.dumps({"BG": 0, "B": 5, "A": 2})
    (tmp_path / "labels" / "labels.json").write_text(names)
    data = data_of(tmp_path)
    with data.ignore_type():
        data.update(settle_data(data).settings)
    assert data.classes == ("BG", "A", "B")
    assert list_volumes(data)[0].label_values == (0, 2, 5)


def test_with_few_masks_none_is_held_out_unless_asked_for(tmp_path):
    """Nine patients train; the tenth makes four test patients."""
    make_folder(tmp_path, 9)
    settings = settle_data(data_of(tmp_path, classes=("a", "b"))).settings
    assert settings["holdout_per_group"] == 0 and "num_labeled" not in settings
    asked = settle_data(data_of(tmp_path, classes=("a", "b"), holdout_per_group=6))
    assert asked.settings == {"name": "nifti", "num_labeled": 3}
    told = {"num_labeled"}
    asked = settle_data(
        data_of(tmp_path, classes=("a", "b"), holdout_per_group=6), told=told
    )
    assert asked.settings == {"name": "nifti"}


@pytest.mark.parametrize(
    ("masks", "least", "held_out"), [(9, 4, 4), (12, 4, 4), (31, 0, 6), (31, 4, 6)]
)
def test_a_fifth_is_written_out(tmp_path, masks, least, held_out):
    """Scans that have trained nothing are scored even where few have masks."""
    data = data_of(make_folder(tmp_path, masks), classes=("a", "b"))
    settings = settle_data(data, least_held_out=least).settings
    assert settings["holdout_per_group"] == held_out


def test_pathologies_of_two_sizes_keep_the_word(tmp_path):
    """A fifth of 25 and of 8 is not one number; every mode then counts anew."""
    image = nib.Nifti1Image(np.zeros((4, 4, 1), np.uint8), np.eye(4))
    for number in range(33):
        name = f"patient{number:03d}"
        folder = tmp_path / "training" / name
        folder.mkdir(parents=True)
        for end in ("", "_gt"):
            nib.save(image, folder / f"{name}_frame01{end}.nii.gz")
        group = "NOR" if number < 25 else "RV"
        (folder / "Info.cfg").write_text(f"ED: 1\nES: 1\nGroup: {group}\n")
    data = data_of(tmp_path)
    settings = settle_data(data).settings
    assert settings["name"] == "acdc" and "holdout_per_group" not in settings
    with data.ignore_type():
        data.update(settings)
    split = make_split(make_dataset(list_volumes(data)), data)
    assert split.test_patients == tuple(
        f"patient{number:03d}" for number in (*range(20, 25), *range(29, 33))
    )


def test_the_phantom_needs_no_folder_and_others_do():
    assert settle_data(get_config("quick").data).settings == {"holdout_per_group": 4}
    with pytest.raises(InputError, match=r"data(\.|__)root"):
        settle_data(get_config("small").data)


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_every_patient_is_tested_in_one_fold_and_unseen_there(folds):
    """Twins share a fold, and the sizes differ by one patient, twins aside."""
    volumes = make_volumes(range(70, 81))
    dataset, tested = make_dataset(volumes), []
    for fold in range(folds):
        data = make_data(folds=folds, fold=fold, num_labeled=3)
        split = make_split(dataset, data)
        assert split.test_volumes and not {*split.test_patients} & {
            *split.pretrain_patients,
            *split.labeled_patients,
        }
        assert {"patient074", "patient076"} & {*split.test_patients} in (
            set(),
            {"patient074", "patient076"},
        )
        tested += split.test_patients
    assert sorted(tested) == sorted({each.patient for each in volumes})


@pytest.mark.parametrize(("folds", "fold"), [(1, 0), (3, 3), (12, 0)])
def test_folds_that_cannot_be_are_refused(folds, fold):
    with pytest.raises(InputError, match=r"data(\.|__)folds"):
        fold_of_patients(make_volumes(range(1, 12)), folds=folds, fold=fold)


@pytest.mark.parametrize("count", [1, 2, 4, 7, 30])
def test_the_ways_to_test_that_a_note_names_work(count):
    """Their flags divide the patients, and leave some to train on."""
    volumes = make_volumes(range(1, count + 1))
    everyone = {each.patient for each in volumes}
    for each in (volumes, [dataclasses.replace(x, group="") for x in volumes]):
        said = ways_to_test(each)
        flags = dict(re.findall(r"--config\.data\.(\w+)=(\d+)", said))
        assert ("folds" in flags) == (count > 1)
        if "folds" in flags:
            folds = int(flags["folds"])
            parts = [fold_of_patients(each, folds=folds, fold=k) for k in range(folds)]
            assert all(parts) and set.union(*parts) == everyone
        if number := int(flags.get("holdout_per_group", 0)):
            tested = test_patients(each, holdout_per_group=number)
            assert 0 < len(tested) < count
        elif each is not volumes:
            assert count == 1


def test_acdc_is_as_it_was(acdc_root):
    """The patients, the test patients and the draws of before the layouts."""
    data = data_of(acdc_root)
    settings = settle_data(data).settings
    assert settings == {
        "name": "acdc",
        "classes": ("BG", "RV", "MYO", "LV"),
        "holdout_per_group": 4,
    }
    with data.ignore_type():
        data.update(settings)
    volumes = list_volumes(data)
    assert len(volumes) == 200
    old = get_config("quick").data
    old.update(name="acdc", root=str(acdc_root))
    assert list_volumes(old) == volumes
    assert len(test_patients(volumes, holdout_per_group=4)) == 20


@pytest.mark.parametrize("values", [(0, 1), (0, 255)])
def test_one_unnamed_class_has_a_name(tmp_path, values):
    """A heading that is a number says nothing."""
    settings = settle_data(data_of(make_folder(tmp_path, 1, values=values))).settings
    assert settings["classes"] == ("background", "structure")


@pytest.mark.parametrize(
    ("values", "doubted"),
    [((0, 1, 2, 255), True), ((0, 255), False), ((0, 85, 170, 255), False)],
)
def test_a_value_that_looks_ignored_is_said(tmp_path, values, doubted):
    """With the flag that takes it so; greys to 255 are classes."""
    notes = settle_data(data_of(make_folder(tmp_path, 3, values=values))).notes
    assert any("--config.data.ignore=255" in note for note in notes) == doubted


def test_masks_that_may_be_predicted_are_said(tmp_path):
    """In a flat folder alone, and not of masks with an expert's usual ending."""
    make_folder(tmp_path, 2)
    assert not any("--output" in note for note in settle_data(data_of(tmp_path)).notes)
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in range(2):
        for ending in ("", "_seg"):
            source = tmp_path / "labels" / f"p{number:02d}_a.nii.gz"
            (flat / f"p{number}{ending}.nii.gz").write_bytes(source.read_bytes())
    notes = settle_data(data_of(flat)).notes
    assert any("2 masks" in note and "--output" in note for note in notes)
    (flat / "p0_seg.nii.gz").rename(flat / "p0_gt.nii.gz")
    (flat / "p1_seg.nii.gz").rename(flat / "p1_mask.nii.gz")
    notes = settle_data(data_of(flat)).notes
    assert not any("--output" in note for note in notes)
