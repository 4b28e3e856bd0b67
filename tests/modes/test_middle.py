"""Modes with data.crop=middle, from the command line."""

import json

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.inference.segmenter import Segmenter
from tests.support.program import predict_mask, start, succeed

MIDDLE = {"data__crop": "middle", "data__crop_px": 0, "data__size": 16}


@pytest.fixture(scope="module")
def middle(tmp_path_factory, cache):
    """A workdir after pretrain, probe and finetune on the middle of slices."""
    folder = tmp_path_factory.mktemp("middle")
    for mode in ("pretrain", "probe", "finetune"):
        succeed(start(mode, folder, cache, **MIDDLE))
    return folder


def dice(folder):
    content = json.loads((folder / "evaluation.json").read_text())
    assert content["num_volumes"] == 4
    return content["dice"]["mean"]


def test_each_mode_scores_all_volumes(middle, cache):
    """And evaluate gives a training's own numbers, of all pieces."""
    dice(middle / "probe")
    pieces = {"predict__largest_component": False}
    succeed(start("evaluate", middle, cache, **MIDDLE, **pieces))
    expected = pytest.approx(dice(middle / "finetune"), abs=1e-6)
    assert dice(middle / "evaluate") == expected


def test_prediction_sees_more_than_a_patch(middle, cache, tmp_path):
    """The network's grid has 32 px for patches of 16, by file and by function."""
    folder = cache / "phantom-seed0-5-2" / "training" / "patient001"
    mask = sorted(folder.glob("*_gt.nii.gz"))[0]
    scan = mask.with_name(mask.name.replace("_gt", ""))
    found = predict_mask(middle, scan, tmp_path, **MIDDLE)
    segmenter = Segmenter.load(middle)
    np.testing.assert_array_equal(segmenter.predict(scan), found)
    image = np.asarray(nib.load(scan).dataobj, np.float32)[..., None, None]
    (member,) = segmenter.members
    slices, grid = member.preparation.prepare(image, spacing_mm=(1.5, 1.5))
    assert slices.shape[1:] == (32, 32, 1) and grid.size == (32, 32)


@pytest.mark.slow  # a training for each
@pytest.mark.parametrize("method", ["mean_teacher", "unimatch"])
def test_slices_without_masks_give_patches_too(middle, cache, tmp_path, method):
    options = {**MIDDLE, "init__checkpoint": middle, "finetune__method": method}
    succeed(start("finetune", tmp_path, cache, **options))
    dice(tmp_path / "finetune")
