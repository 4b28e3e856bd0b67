"""What a training says of its slices before it begins."""

import nibabel as nib
import numpy as np
import pytest

from configs.pix2rep import get_config
from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.slice_summary import describe_slices


def describe(root, **settings):
    data = get_config("quick").data
    data.update(name="nifti", root=str(root), cache_dir=str(root / "cache"))
    data.update(classes=("BG", "ONE"), size=16, spacing_mm=1.25, **settings)
    return describe_slices(load_dataset(data), data)


def write(root, spacing_mm):
    """Two scans of 7 slices, 3 of which show something."""
    for number in range(2):
        image = np.random.default_rng(number).integers(0, 900, (14, 12, 7))
        label = np.zeros(image.shape, np.uint8)
        label[4:9, 3:8, 2:5] = 1
        for kind, array in (("images", image.astype(np.int16)), ("labels", label)):
            (root / kind).mkdir(parents=True, exist_ok=True)
            stored = nib.Nifti1Image(array, np.diag([*spacing_mm, 1]))
            nib.save(stored, root / kind / f"p{number}.nii.gz")


def test_the_axis_and_the_pixel_are_said(tmp_path):
    write(tmp_path, (1, 1, 5))
    said = describe(tmp_path)
    assert "axis 2 (S/I)" in said and "16 x 16" in said and "1.25 mm" in said
    assert "data.slice_axis" not in said
    assert "2.5 mm" in describe(tmp_path, crop_px=32)


@pytest.mark.parametrize("spacing_mm", [(1, 1, 1), (1, 1, 1.4)])
def test_of_cubes_it_is_said_how_to_choose(tmp_path, spacing_mm):
    """Unless a setting has chosen."""
    write(tmp_path, spacing_mm)
    assert "data.slice_axis" in describe(tmp_path)
    chosen = describe(tmp_path, slice_axis=1)
    assert "axis 1 (A/P)" in chosen and "data.slice_axis" not in chosen


def test_of_boxes_around_masks_it_is_said_what_they_drop(tmp_path):
    """4 of 7 slices of each scan; and that they need the ground truth."""
    write(tmp_path, (1, 1, 5))
    said = describe(tmp_path, crop="mask_box")
    assert "8 of 14" in said and "ground truth" in said
