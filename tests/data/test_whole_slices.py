"""Data sets of whole slices: their sizes, their padding and their labels."""

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data.dataset import load_dataset, take_own
from pix2rep_jax.data.slices.grid import SIDE_MULTIPLE, whole_grid
from pix2rep_jax.errors import InputError
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
    with pytest.raises(InputError, match=r"data\.crop_px"):
        load_dataset(data)
