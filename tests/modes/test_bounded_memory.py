"""What a run holds of slices on the disk: a few at a time, and the same numbers."""

from types import SimpleNamespace

import numpy as np
import pytest

from pix2rep_jax.data.checks import unseen_classes
from pix2rep_jax.data.dataset import Dataset, take_own
from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.data.slices.stored_slices import StoredRows
from pix2rep_jax.methods.downstream.unimatch_views import HIDDEN
from pix2rep_jax.modes.finetune import masks_to_log_by
from pix2rep_jax.modes.train_segmenter import labeled_slices
from tests.support.stored import count_taken, make_slices, store

NUMBER = 40


@pytest.fixture
def both(tmp_path):
    """The same slices twice: in memory, and in a file."""
    images, labels = make_slices(NUMBER)
    labels[::5] = UNLABELLED
    index, boxes = np.arange(NUMBER), np.tile([0, 7, 0, 7], (NUMBER, 1))
    volumes = [SimpleNamespace(size=(8, 8))] * NUMBER
    return [
        Dataset(*arrays, index, index, boxes, volumes)
        for arrays in ((images, labels), store(tmp_path / "slices", (images, labels)))
    ]


def make_loaded(dataset):
    """A run whose split takes most slices."""
    split = SimpleNamespace(
        train_slices=np.arange(1, 20),
        val_slices=np.arange(20, 25),
        pretrain_slices=np.arange(NUMBER)[::-1],
    )
    return SimpleNamespace(dataset=dataset, split=split)


@pytest.mark.parametrize("patched", [False, True])
def test_labelled_slices_stay_on_the_disk(both, monkeypatch, patched):
    """However many patients are labelled; masks are of the type that trains."""
    small, large = map(make_loaded, both)
    expected = labeled_slices(small, patched=patched)
    taken = count_taken(monkeypatch)
    found = labeled_slices(large, patched=patched)
    assert not taken
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].nbytes == array.nbytes
        np.testing.assert_array_equal(found[name][[3, 0]], array[[3, 0]])
        np.testing.assert_array_equal(found[name], array)


def test_masks_for_the_log_stay_on_the_disk(both, monkeypatch):
    """Those of labelled patients are left out, and so are slices without a mask."""
    small, large = map(make_loaded, both)
    expected = masks_to_log_by(small)[HIDDEN]
    taken = count_taken(monkeypatch)
    found = masks_to_log_by(large)[HIDDEN]
    assert max(taken, default=0) <= 1
    assert isinstance(found, StoredRows) and found.nbytes == expected.nbytes
    np.testing.assert_array_equal(found[[0, 20, 39]], expected[[0, 20, 39]])
    np.testing.assert_array_equal(found, expected)
    given = np.flatnonzero((expected != UNLABELLED).any((1, 2)))
    assert {*(39 - given).tolist()} == {*range(26, 40)} - {30, 35}
    large.split.train_slices = np.arange(NUMBER)
    assert masks_to_log_by(large) == {}


def test_validation_slices_stay_on_the_disk(both, tmp_path, monkeypatch):
    """Slices of one size come cut to it, as from an array."""
    images, labels = (array[:, :, :6] for array in make_slices(30))
    rest = (both[1].images[30:], both[1].labels[30:])
    small, _ = both
    small.images[:30, :, :6], small.labels[:30, :, :6] = images, labels
    stored = store(tmp_path / "narrow", (images, labels), rest)
    small.volumes[:30] = [SimpleNamespace(size=(8, 6))] * 30
    expected = take_own(small, np.arange(5, 30))
    taken = count_taken(monkeypatch)
    found = take_own(Dataset(*stored, *[*vars(small).values()][2:]), np.arange(5, 30))
    assert not taken
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape and ours.shape[1:3] == (8, 6)
        np.testing.assert_array_equal(ours, theirs)


def test_the_classes_of_slices_on_the_disk_are_looked_at_one_by_one(both, monkeypatch):
    """And no more of them than it takes to see all."""
    taken = count_taken(monkeypatch)
    names = ("BG", "A", "B", "C")
    assert unseen_classes(names, both[1].labels) == ""
    assert set(taken) == {1} and len(taken) < 5
    assert "D" in unseen_classes((*names, "D"), both[1].labels)
    assert set(taken) == {1}
