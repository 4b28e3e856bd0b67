"""All modes with data.crop=whole, from the command line."""

import json

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.evaluation.dice import dice_per_class
from pix2rep_jax.inference.segmenter import Segmenter
from tests.support.program import predict_mask, start, succeed

WHOLE = {"data__crop": "whole", "data__crop_px": 0, "data__size": 16}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache):
    """A workdir after pretrain, probe and finetune with whole slices."""
    folder = tmp_path_factory.mktemp("whole")
    succeed(start("pretrain", folder, cache, **WHOLE))
    for mode in ("probe", "finetune"):
        succeed(start(mode, folder, cache, **WHOLE))
    return folder


@pytest.fixture(scope="module")
def scan(cache):
    folder = cache / "phantom-seed0-5-2" / "training" / "patient001"
    mask = sorted(folder.glob("*_gt.nii.gz"))[0]
    return mask.with_name(mask.name.replace("_gt", ""))


def evaluation(folder):
    return json.loads((folder / "evaluation.json").read_text())


def test_each_mode_scores_whole_slices(whole, cache):
    """All volumes; and evaluate gives fine-tuning's own numbers, of all pieces."""
    for mode in ("probe", "finetune"):
        assert evaluation(whole / mode)["num_volumes"] == 4
    pieces = {"predict__largest_component": False}
    succeed(start("evaluate", whole, cache, **WHOLE, **pieces))
    again = evaluation(whole / "evaluate")
    one = evaluation(whole / "finetune")["dice"]["mean"]
    assert again["dice"]["mean"] == pytest.approx(one, abs=1e-6)


@pytest.mark.slow  # most of it is the map of the embeddings
def test_figures_are_drawn_of_whole_slices(whole, cache):
    succeed(start("figures", whole, cache, **WHOLE))
    assert len(list((whole / "figures").glob("*.png"))) > 2


@pytest.mark.slow  # a training for each
@pytest.mark.parametrize("method", ["mean_teacher", "unimatch"])
def test_slices_without_masks_give_patches_too(whole, cache, tmp_path, method):
    options = {**WHOLE, "init__checkpoint": whole, "finetune__method": method}
    succeed(start("finetune", tmp_path, cache, **options))
    assert evaluation(tmp_path / "finetune")["num_volumes"] == 4


def test_prediction_is_the_same_by_file_by_function_and_in_an_ensemble(
    whole, scan, tmp_path
):
    """Two networks of one grid, and those of two grids, see the scan's every pixel."""
    mask = predict_mask(whole, scan, tmp_path, **WHOLE)
    segmenter = Segmenter.load(whole)
    assert segmenter.crop == "whole"
    np.testing.assert_array_equal(segmenter.predict(scan), mask)
    same = Segmenter.load([whole / "finetune", whole / "finetune"])
    assert not same.others
    np.testing.assert_array_equal(same.predict(scan), mask)


def test_whole_slices_and_crops_are_two_grids_of_an_ensemble(
    whole, workdir, scan, tmp_path
):
    """Side and pixels may be equal: what the networks see is not."""
    both = Segmenter.load([whole / "finetune", workdir / "finetune"])
    assert [each.crop for each in both.members] == ["whole", "center"]
    shares = [
        Segmenter.load(each / "finetune").predict_probabilities(scan)
        for each in (whole, workdir)
    ]
    np.testing.assert_allclose(
        both.predict_probabilities(scan), np.mean(shares, 0), atol=1e-4
    )


@pytest.mark.slow  # every pixel of large slices votes
def test_segmentation_without_training_takes_whole_slices(whole, cache, scan, tmp_path):
    """By the pixel itself; and through the frames from the one that has a mask."""
    segmenter = Segmenter.from_support(whole, scan, neighbours=1, most_pixels=10**6)
    image = nib.load(scan)
    expert = np.asarray(nib.load(str(scan).replace(".nii", "_gt.nii")).dataobj)
    found = segmenter.predict(scan)
    dice = dice_per_class(found > 0, expert > 0, num_classes=2)[1]
    # Not all of its background pixels are in the support.
    assert dice > 0.6
    array = np.asarray(image.dataobj).astype(np.float32)
    frames = np.stack([array[::-1], array], -1)
    nib.save(nib.Nifti1Image(frames, image.affine), tmp_path / "cine.nii.gz")
    # The masked frame has its own mask, which only the pixels of 5 mm change.
    through = segmenter.predict(tmp_path / "cine.nii.gz")[..., 1]
    assert dice_per_class(through > 0, expert > 0, num_classes=2)[1] > max(dice, 0.9)
    options = {**WHOLE, "init__checkpoint": whole}
    succeed(start("context", tmp_path / "context", cache, **options))
    assert evaluation(tmp_path / "context" / "context")["num_volumes"] == 4
