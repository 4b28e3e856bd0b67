"""Data sets of whole slices: their sizes, their padding and their labels."""

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data.dataset import load_dataset, take_own
from pix2rep_jax.data.slices.grid import SIDE_MULTIPLE, whole_grid
from pix2rep_jax.data.slices.volume import read_expert
from pix2rep_jax.errors import InputError
from pix2rep_jax.evaluation.dice import dice_per_class
from pix2rep_jax.inference.predict import restore_volume
from tests.data.fit.test_plan import make_data

SHAPES = {"a": (40, 70, 2), "b": (101, 33, 3)}


@pytest.fixture
def data(tmp_path):
    """Two scans of 1 mm with noise and random masks."""
    for name, shape in SHAPES.items():
        rng = np.random.default_rng(len(shape) + shape[0])
        for folder, array in (
            ("images", rng.random(shape).astype(np.float32)),
            ("labels", rng.integers(0, 2, shape).astype(np.uint8)),
        ):
            path = tmp_path / folder / f"{name}.nii.gz"
            path.parent.mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([1, 1, 5, 1])), path)
    made = make_data(tmp_path, crop="whole", normalization="percentiles", size=48)
    with made.ignore_type():
        made.spacing_mm = 1.0
    return made


def test_each_slice_is_there_whole_and_padding_is_told_apart(data, tmp_path):
    """At the scans' own spacing pixels are the scans'; padding has no label."""
    dataset = load_dataset(data)
    assert [each.size for each in dataset.volumes] == [(64, 96), (128, 64)]
    assert dataset.images.shape == (5, 128, 96, 1)
    assert dataset.images.dtype == np.float16
    for index, (name, shape) in enumerate(SHAPES.items()):
        rows = np.flatnonzero(dataset.volume_index == index)
        image = nib.load(tmp_path / f"images/{name}.nii.gz").get_fdata(dtype=np.float32)
        label = np.asarray(nib.load(tmp_path / f"labels/{name}.nii.gz").dataobj)
        low, high = np.percentile(image, (1, 99))
        expected = np.clip((image - low) / (high - low), 0, 1)
        for k, row in enumerate(rows):
            top, bottom, left, right = dataset.boxes[row]
            assert (bottom - top + 1, right - left + 1) == shape[:2]
            place = slice(top, bottom + 1), slice(left, right + 1)
            shown = dataset.images[row][..., 0]
            np.testing.assert_allclose(shown[place], expected[..., k], atol=1e-3)
            np.testing.assert_array_equal(dataset.labels[row][place], label[..., k])
            outside = np.ones(shown.shape, bool)
            outside[place] = False
            assert (shown[outside] == 0).all()
            assert (dataset.labels[row][outside] == 255).all()
        assert dataset.volumes[index].label_share == 1.0


def test_slices_of_one_volume_come_in_its_own_size(data):
    """And those of several in that of the largest."""
    dataset = load_dataset(data)
    images, labels = take_own(dataset, np.array([0, 1]))
    assert images.shape == (2, 64, 96, 1) and labels.shape == (2, 64, 96)
    assert take_own(dataset, np.array([2]))[0].shape == (1, 128, 64, 1)
    assert take_own(dataset, np.array([0, 2]))[0].shape == (2, 128, 96, 1)


@pytest.mark.parametrize(("pixel_mm", "least"), [(1.0, 1.0), (1.7, 0.95), (2.3, 0.93)])
def test_masks_come_back_to_the_scan_wherever_they_lie(tmp_path, pixel_mm, least):
    """In a corner, at an edge and in the middle, of slices of two sizes alike."""
    for name, shape in (("a", (90, 130)), ("b", (121, 77))):
        row, column = np.indices(shape)
        label = np.zeros((*shape, 3), np.uint8)
        places = (6, 6), (shape[0] - 14, 30), (shape[0] // 2, shape[1] // 2)
        for k, (top, left) in enumerate(places):
            label[..., k] = np.hypot(row - top - 6, column - left - 6) < 12
        for folder, array in (("images", label * 100 + 1.0), ("labels", label)):
            path = tmp_path / folder / f"{name}.nii.gz"
            path.parent.mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([1, 1, 5, 1])), path)
    made = make_data(tmp_path, crop="whole", normalization="percentiles", size=48)
    with made.ignore_type():
        made.spacing_mm = pixel_mm
    dataset = load_dataset(made)
    for index, record in enumerate(dataset.volumes):
        rows = np.flatnonzero(dataset.volume_index == index)
        _, label = take_own(dataset, rows)
        shares = (np.where(label == 1, 1, 0)[..., None] == [0, 1]).astype(np.float32)
        slices = dataset.slice_index[rows].tolist()
        grids = [record.grid(each) for each in slices]
        back = restore_volume(shares, grids, slices, shape=record.shape)
        expert = read_expert(record, num_classes=2)
        for k in range(3):
            dice = dice_per_class(back[..., k], expert[..., k], num_classes=2)
            assert dice[1] >= least, (k, dice)


def test_the_cache_holds_them_bit_for_bit(data, monkeypatch):
    """With the sizes of the volumes."""
    from pix2rep_jax.data import dataset as module

    first = load_dataset(data)
    monkeypatch.setattr(module, "_prepare", None)
    second = load_dataset(data)
    for name in ("images", "labels", "boxes"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
        assert getattr(first, name).dtype == getattr(second, name).dtype
    assert [each.size for each in second.volumes] == [
        each.size for each in first.volumes
    ]


@pytest.mark.parametrize("length", [1, 16, 31, 32, 33, 512, 700])
@pytest.mark.parametrize("pixel_mm", [0.5, 1.0, 2.7])
def test_a_whole_grid_covers_its_slice(length, pixel_mm):
    """From edge to edge, in sides that a network can halve five times."""
    grid = whole_grid((length, 100), (1.0, 1.0), pixel_mm=pixel_mm, least=8)
    assert grid.size[0] % SIDE_MULTIPLE == 0 and grid.size[1] % SIDE_MULTIPLE == 0
    for axis in (0, 1):
        assert grid.is_seen(axis).all()
        spare = grid.size[axis] * grid.step[axis] - grid.shape[axis]
        assert spare < (SIDE_MULTIPLE + 1) * grid.step[axis]
    assert whole_grid((20, 20), (1.0, 1.0), pixel_mm=2.0, least=48).size == (48, 48)


def test_a_side_of_the_crop_makes_no_sense(data):
    """Whole slices have none; the setting is named."""
    data.crop_px = 32
    with pytest.raises(InputError, match=r"data(\.|__)crop_px"):
        load_dataset(data)
