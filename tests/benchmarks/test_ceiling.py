"""What the benchmark of the grid says that a perfect segmentation scores."""

import nibabel as nib
import numpy as np
import pytest

from benchmarks import ceiling
from configs import pix2rep
from pix2rep_jax.data.dataset import load_dataset


@pytest.fixture
def dataset(tmp_path):
    """A square in the middle of a scan, and one half outside the 16 px in view."""
    for number, first in enumerate((18, 26)):
        mask = np.zeros((40, 40, 2), np.uint8)
        mask[18:22, first : first + 4] = 1
        image = np.random.default_rng(number).integers(0, 99, mask.shape)
        for folder, array in (("images", image.astype(np.int16)), ("labels", mask)):
            path = tmp_path / folder / f"p{number}.nii"
            path.parent.mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    data = pix2rep.get_config().data
    data.update({"name": "nifti", "root": str(tmp_path), "classes": ("BG", "organ")})
    data.update({"cache_dir": str(tmp_path), "spacing_mm": 1.0})
    data.update({"crop_px": 16, "size": 16})
    return load_dataset(data)


def test_only_what_is_not_seen_costs_a_perfect_segmentation(dataset):
    """Dice is 1 on the scan's own pixels, and 2 / 3 where half of a square is cut."""
    dice = ceiling.score_experts(dataset, (0, 1), classes=("BG", "organ"))
    assert dice.shape == (2, 2)
    np.testing.assert_allclose(dice[:, 1], [1, 2 / 3])
    assert dice[0, 0] == 1 > dice[1, 0]
