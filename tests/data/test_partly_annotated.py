"""Masks with unlabelled pixels and slices, from the file to the score."""

import dataclasses
import pathlib

import nibabel as nib
import numpy as np
import pytest

from configs.pix2rep import get_config
from pix2rep_jax.data.checks import empty_slices
from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.data.fit.fingerprint import take_fingerprint
from pix2rep_jax.data.fit.settle import settle_data
from pix2rep_jax.data.one_piece import find_one_piece
from pix2rep_jax.errors import InputError
from pix2rep_jax.evaluation.score_volumes import evaluate_volumes
from pix2rep_jax.figures.panels import scan_panels

SHAPE = (16, 16, 7)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)


@pytest.fixture
def data(tmp_path):
    """A scan whose every third slice has dots of three classes, and a whole mask."""
    random = np.random.default_rng(0)
    full = np.zeros(SHAPE, np.uint8)
    full[4:12, 4:12] = random.integers(0, 3, (8, 8, 7))
    full[..., 0] = 0
    dots = np.where(random.random(SHAPE) < 0.2, full, 9).astype(np.uint8)
    dots[5, 5, ::3], dots[0, 0, ::3] = 1, 0
    dots[..., np.arange(7) % 3 > 0] = 0
    for name, label in (("a", dots), ("b", full)):
        image = random.integers(0, 900, SHAPE).astype(np.int16)
        save(tmp_path / "images" / f"{name}.nii", image)
        save(tmp_path / "labels" / f"{name}.nii", label)
    data = get_config("small").data
    with data.ignore_type():
        data.update(name="nifti", root=str(tmp_path), classes=("BG", "A", "B"))
        data.update(ignore=(9,), spacing_mm=1.0, normalization="percentiles")
        data.crop = "center"
        data.update(size=16, cache_dir=str(tmp_path / "cache"))
    return data


def read(data, name):
    return np.asarray(nib.load(f"{data.root}/labels/{name}.nii").dataobj)


def expected(data, name):
    label = read(data, name)
    label[label == 9] = UNLABELLED
    if name == "a":
        label[..., np.arange(7) % 3 > 0] = UNLABELLED
    return label


def test_slices_hold_what_was_annotated(data):
    """From the files and from the cache; each setting has a cache of its own."""
    wanted = np.concatenate(
        [np.moveaxis(expected(data, name), 2, 0) for name in ("a", "b")]
    )
    for _ in range(2):
        dataset = load_dataset(data)
        np.testing.assert_array_equal(dataset.labels, wanted)
        assert dataset.volumes[0].ignore == (9,)
    note = empty_slices(dataset.volumes)
    assert "data.empty_slices" in note and note.count("1 of 2 masks") == 2
    data.empty_slices = "background"
    labels = load_dataset(data).labels
    assert not labels[1].any() and (labels[0] == wanted[0]).all()
    data.empty_slices = "unannotated"
    assert (load_dataset(data).labels[7] == UNLABELLED).all()


def test_a_box_around_the_mask_is_that_of_the_structures(data):
    """Unlabelled pixels are not a structure."""
    data.crop = "mask_box"
    dataset = load_dataset(data)
    drawn = np.isin(read(data, "a"), (1, 2)).any((0, 1))
    np.testing.assert_array_equal(
        dataset.slice_index[dataset.volume_index == 0], np.flatnonzero(drawn)
    )


def test_what_the_network_says_of_unlabelled_pixels_scores_nothing(data):
    """A prediction that is right where there are labels has the full score."""
    dataset = load_dataset(data)

    def score(elsewhere):
        labels = np.where(dataset.labels == UNLABELLED, elsewhere, dataset.labels)
        every = dataclasses.replace(dataset, images=labels[..., None])
        predict = lambda rows: np.eye(3, dtype=np.float32)[rows[..., 0]]  # noqa: E731
        return evaluate_volumes(predict, every, [0, 1], classes=data.classes)

    for elsewhere in (0, 1, 2):
        for volume in score(elsewhere):
            np.testing.assert_array_equal(volume.dice, 1)
            if volume.hd95_mm is not None:
                assert not np.nan_to_num(volume.hd95_mm).any()


def test_the_fingerprint_is_that_of_the_structures(data):
    """Neither unlabelled pixels nor their slices are annotated."""
    facts = take_fingerprint(data, progress=False).scans
    for each, name in zip(facts, ("a", "b"), strict=True):
        drawn = np.isin(read(data, name), (1, 2))
        rows, columns = (np.flatnonzero(drawn.any((x, 2))) for x in (1, 0))
        box = (rows[0] - 8, rows[-1] - 7, columns[0] - 8, columns[-1] - 7)
        assert each.box_mm == box
        assert each.annotated == drawn.any((0, 1)).sum()


def test_strokes_do_not_show_that_a_class_is_one_piece(data):
    """The ignored value is read as such, and may hide further pieces."""
    whole = np.zeros(SHAPE, np.uint8)
    whole[2:5, 2:5, 2:4], whole[8:10, 8:10, 3] = 1, 2
    strokes = np.full(SHAPE, 9, np.uint8)
    strokes[3, 2:5, 3], strokes[0, 0] = 1, 0
    for name, label in (("a", strokes), ("b", whole)):
        save(pathlib.Path(data.root) / "labels" / f"{name}.nii", label)
    volumes = load_dataset(data).volumes
    assert find_one_piece(volumes, ["b"], data.classes).classes == ("A", "B")
    assert find_one_piece(volumes, ["a", "b"], data.classes).classes == ("B",)


def test_pictures_show_slices_with_a_structure(data):
    """The unlabelled slices are not taken for annotated ones."""
    record = load_dataset(data).volumes[0]
    drawn = np.flatnonzero(np.isin(read(data, "a"), (1, 2)).any((0, 1)))
    panels = scan_panels(record, num_classes=3)
    label = expected(data, "a")
    np.testing.assert_array_equal(panels[0].label, label[..., drawn[0]])
    np.testing.assert_array_equal(panels[2].label, label[..., drawn[-1]])


def test_a_value_is_either_ignored_or_a_class(data):
    """And dataset.json may name it, as nnU-Net's does."""
    data.ignore = (2,)
    with pytest.raises(InputError, match=r"data(\.|__)ignore=2"):
        load_dataset(data)
    labels = '{"labels": {"background": 0, "A": 1, "B": 2, "ignore": 9}}'
    with open(f"{data.root}/dataset.json", "w") as file:
        file.write(labels)
    data.ignore, data.classes = (), ()
    settings = settle_data(data).settings
    assert settings["ignore"] == (9,)
    assert settings["classes"] == ("background", "A", "B")
    assert "ignore" not in settle_data(data, told={"ignore"}).settings
