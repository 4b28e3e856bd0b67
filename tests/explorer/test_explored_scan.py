"""What a page holds of a scan lies where it lies in the file."""

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data.files.axes import SliceRule
from pix2rep_jax.data.files.scan import read_scan
from pix2rep_jax.explorer import explored_scan
from pix2rep_jax.explorer.explored_scan import explore_scan
from pix2rep_jax.inference.backbone import Backbone
from pix2rep_jax.inference.preparation import Preparation
from tests.inference.test_backbone import backbone, coordinates

AFFINE = np.array(
    [[-1.2, 0.1, 0.3, 80], [0.2, 1.25, 0, -30], [0.1, 0, 8.1, 12.5], [0, 0, 0, 1]]
)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("orientation", ["file", "canonical"])
def test_the_affine_leads_to_the_voxels_of_the_file(tmp_path, order, orientation):
    """Along whichever axis the slices are stored, and whichever way they are turned."""
    array = np.zeros((32, 32, 6), np.float32)
    array[12, 19, 4] = 1  # the one voxel that is seen by every pixel that shows it
    stored = np.transpose(array, order)
    affine = AFFINE[:, [*order, 3]]
    nib.save(nib.Nifti1Image(stored, affine), tmp_path / "scan.nii.gz")
    scan = read_scan([tmp_path / "scan.nii.gz"], SliceRule("auto", orientation))
    # The network's rows are those of the scan, and one voxel is enough to be seen.
    how = Preparation((0.0, 100.0), 32 * scan.spacing_mm[0], 32)
    found = explore_scan(Backbone(coordinates, how), scan, name="a", share=1.0)
    slice_, row, column = np.unravel_index(found.images.argmax(), found.images.shape)
    place = found.affine @ (row, column, slice_, 1)
    expected = affine @ (*np.argwhere(stored)[0], 1)
    np.testing.assert_allclose(place, expected, atol=0.6)
    assert np.abs(place - affine @ (*stored.shape, 1)).max() > 5


def test_what_is_left_out_is_even(tmp_path, monkeypatch):
    """Small pages have every second slice and pixel, and the affine says so."""
    array = np.random.default_rng(0).random((32, 32, 12)).astype(np.float32)
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "scan.nii.gz")
    scan = read_scan([tmp_path / "scan.nii.gz"])
    uses = backbone(fov_mm=32 * scan.spacing_mm[0])
    whole = explore_scan(uses, scan, name="a", share=1.0)
    assert whole.images.shape == (12, 32, 32) == whole.embeddings.shape[:3]
    monkeypatch.setattr(explored_scan, "EMBEDDED_PIXELS", 16 * 16 * 4)
    monkeypatch.setattr(explored_scan, "_FINE", 16)
    part = explore_scan(uses, scan, name="a", share=1.0)
    assert part.step == 2 and part.slices.tolist() == [1, 4, 7, 10]
    np.testing.assert_array_equal(part.images, whole.images[1::3])
    np.testing.assert_array_equal(part.embeddings, whole.embeddings[1::3, ::2, ::2])
    np.testing.assert_allclose(
        part.affine @ (5, 7, 2, 1), whole.affine @ (5, 7, 1 + 3 * 2, 1)
    )


@pytest.mark.parametrize("shape", [(10, 64, 64), (12, 128, 128), (300, 128, 128)])
def test_a_page_of_six_scans_has_a_limit(shape):
    """Of pixels, and so of bytes; the sides stay as long as they can."""
    shrink, every, step = explored_scan._choose_pixels(shape, 1 / 6)
    slices, side = -(-shape[0] // every), -(-shape[1] // step)
    assert shrink == 1 and side >= 48
    assert 6 * slices * side**2 <= explored_scan.EMBEDDED_PIXELS


def test_pixels_beyond_the_scan_have_no_embedding(tmp_path):
    """A field of view that is larger than the scan."""
    array = np.random.default_rng(0).random((32, 32, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(array, np.diag([1, 1, 8, 1])), tmp_path / "scan.nii.gz")
    scan = read_scan([tmp_path / "scan.nii.gz"])
    found = explore_scan(backbone(fov_mm=64), scan, name="a", share=1.0)
    inside = found.embeddings.any(-1)
    assert inside[:, 8:24, 8:24].all() and inside.sum() == 2 * 16 * 16
