"""What a run says before it begins, and what it goes on from."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from pix2rep_jax.data.checks import cut_masks, unseen_classes
from pix2rep_jax.data.slices.volume import VolumeRecord
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.features import feature_budget
from pix2rep_jax.inference.segmenter import Segmenter
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runs.pretrained_backbone import other_images_note
from pix2rep_jax.runs.run_record import read_run
from tests.support.program import finish, refused, start, succeed

CLASSES = ("BG", "RV", "MYO", "LV")


def test_classes_that_no_slice_shows_are_told():
    """The others can be learned; with none of them there is nothing to learn."""
    labels = np.zeros((3, 4, 4), np.uint8)
    with pytest.raises(InputError, match=r"data(\.|__)draw"):
        unseen_classes(CLASSES, labels)
    labels[1, 0, 0] = 2
    note = unseen_classes(CLASSES, labels)
    assert "RV, LV" in note and "MYO" not in note
    labels[2, 3] = (0, 1, 2, 3)
    assert unseen_classes(CLASSES, labels) == ""
    assert unseen_classes(("BG", "heart"), labels) == ""


def test_masks_beyond_the_field_of_view_are_said():
    """How many of those with a mask, and which loses most; a rim is no matter."""

    def record(name, share, mask="mask.nii"):
        names = (name, name, "training", "", "", Path("scan.nii"), mask and Path(mask))
        return VolumeRecord(*names, label_share=share)

    whole = [record("a", 1.0), record("b", 0.96), record("c", 1.0, mask=None)]
    assert cut_masks([*whole, record("f", 0.9496)]) == ""  # 5 % as it is shown
    note = cut_masks([*whole, record("d", 0.9), record("e", 0.25)])
    assert "data.crop=whole" in note and "data.size" in note
    assert all(fact in note for fact in ("2 of 4", "5%", "75% in e"))
    assert "data.crop_px" in note and "data.size" in note


def test_a_run_says_what_it_finds_and_goes_on(workdir, cache, tmp_path):
    """A class of one's own that no mask has, and another size of the pixels."""
    options = {"init__checkpoint": workdir, "data__classes": "BG,RV,MYO,LV,scar"}
    options |= {"data__spacing_mm": 4.0}
    result = finish(start("probe", tmp_path, cache, **options))
    assert result.returncode == 0, result.stderr
    assert "scar" in result.stderr
    assert "data.spacing_mm=5.0" in result.stderr


def write_num_steps(run, num_steps):
    """As if the run was to have so many steps."""
    content = json.loads((run / "run.json").read_text()) | {"num_steps": num_steps}
    (run / "run.json").write_text(json.dumps(content))


@pytest.mark.slow
def test_a_pretraining_that_has_not_ended_is_told(workdir, cache, tmp_path):
    """What starts from it goes on, and its scores say from which step."""
    shutil.copytree(workdir / "pretrain", tmp_path / "pretrain")
    write_num_steps(tmp_path / "pretrain", 48)
    result = finish(start("probe", tmp_path, cache))
    assert result.returncode == 0, result.stderr
    assert "step 24 of 48" in result.stderr
    scores = json.loads((tmp_path / "probe" / "evaluation.json").read_text())
    assert scores["pretrained_steps"] == 24
    origin = read_run(tmp_path / "probe").origin
    assert scores["pretrained_digest"] == origin.digest != ""
    write_num_steps(tmp_path / "probe", 9)
    result = finish(start("evaluate", tmp_path, cache))
    assert result.returncode == 0, result.stderr
    assert "step 4 of 9" in result.stderr
    again = json.loads((tmp_path / "evaluate" / "evaluation.json").read_text())
    assert again["scored_step"] == scores["scored_step"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["probe", "finetune"])
def test_a_run_never_goes_on_from_another_backbone(workdir, cache, tmp_path, mode):
    """As after a pretraining that went on, or was run anew with another seed."""
    shutil.copytree(workdir / mode, tmp_path / mode)
    for step in (4, 24):  # the record is of the bits, not of the steps
        options = {"pretrain__num_steps": step, "seed": 1}
        succeed(start("pretrain", tmp_path / str(step), cache, **options))
        shutil.copytree(tmp_path / str(step) / "pretrain", tmp_path / "pretrain")
        config = workdir / "pretrain" / "config.json"
        shutil.copy(config, tmp_path / "pretrain" / "config.json")
        sentence = refused(start(mode, tmp_path, cache))
        assert "at step 24" in sentence and f"at step {step}" in sentence
        assert "init.checkpoint" in sentence
        shutil.rmtree(tmp_path / "pretrain")
    shutil.copytree(workdir / "pretrain", tmp_path / "pretrain")
    assert "step 4 of 4" in succeed(start(mode, tmp_path, cache))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["probe", "finetune"])
def test_a_run_goes_on_wherever_its_backbone_has_been_moved(
    workdir, cache, tmp_path, mode
):
    """With it or without it; random weights are another start all the same."""
    shutil.copytree(workdir / "pretrain", tmp_path / "first" / "pretrain")
    own = tmp_path / "own"
    options = {"init__checkpoint": tmp_path / "first"}
    succeed(start(mode, own, cache, **options))
    (tmp_path / "first").rename(tmp_path / "second")
    own = own.rename(tmp_path / "moved")
    options["init__checkpoint"] = tmp_path / "second"
    assert "step 4 of 4" in succeed(start(mode, own, cache, **options))
    if mode == "finetune":
        sentence = refused(start(mode, own, cache, init__checkpoint="none"))
        assert "init.checkpoint" in sentence and str(tmp_path / "first") in sentence


def test_images_prepared_otherwise_than_for_pretraining_are_told(workdir):
    """By the settings that differ; what is labelled has no say in it."""
    run = workdir / "pretrain"
    config = ConfigDict(read_config(run))
    config.data.num_labeled = 3
    assert other_images_note(config.data, run) == ""
    config.data.spacing_mm, config.data.percentiles = 2.5, (0.0, 100.0)
    note = other_images_note(config.data, run)
    assert "data.spacing_mm=5.0" in note and "data.percentiles=[1.0, 99.0]" in note
    assert "2.5" in note and "[0.0, 100.0]" in note and "num_labeled" not in note


@pytest.mark.parametrize(
    ("platform", "budget_mb"), [("cpu", 4096), ("gpu", 2048), ("tpu", 2048)]
)
def test_features_are_kept_where_a_step_finds_them(platform, budget_mb):
    """On an accelerator in its own memory: the way from the host is the slower one."""
    assert feature_budget(4096, 2048, platform=platform) == budget_mb
    assert feature_budget(10, 2048, platform=platform) == 10


@pytest.mark.slow
def test_features_of_every_step_are_those_computed_once(workdir, cache, tmp_path):
    """A probe whose features are over the budget learns the same."""
    options = {"init__checkpoint": workdir, "probe__feature_budget_mb": 0}
    result = finish(start("probe", tmp_path, cache, **options))
    assert result.returncode == 0, result.stderr
    once, anew = (
        json.loads((folder / "probe" / "evaluation.json").read_text())["dice"]
        for folder in (workdir, tmp_path)
    )
    assert 0 < once["mean"] < 1
    assert anew == pytest.approx(once, abs=1e-3)


@pytest.mark.slow
def test_one_may_change_ones_mind_about_the_checkpoint(workdir, cache, tmp_path):
    """Scoring takes either; a finished training scores the other one without training,
    and what reads the run afterwards goes by it."""
    run = tmp_path / "finetune"
    shutil.copytree(workdir / "finetune", run)
    (run / "checkpoints" / "3" / "metrics" / "metrics").write_text('{"val_dice": 2.0}')
    shutil.rmtree(run / "checkpoints" / "3" / "sums")  # they would not allow that
    options = {"init__checkpoint": workdir, "predict__largest_component": False}

    def scored(mode, **changes):
        succeed(start(mode, tmp_path, cache, **options, **changes))
        content = json.loads((tmp_path / mode / "evaluation.json").read_text())
        return content["kept"], content["scored_step"], content["dice"]["mean"]

    last = scored("evaluate")
    assert last[:2] == ("last", 4)
    best = scored("evaluate", segmentation__keep="best")
    assert best[:2] == ("best", 3) and best[2] != last[2]
    assert read_config(run)["segmentation"]["keep"] == "last"  # for once
    again = scored("finetune", segmentation__keep="best")
    assert again[:2] == best[:2] and again[2] == pytest.approx(best[2], abs=1e-3)
    assert scored("evaluate")[:2] == ("best", 3)
    scan = np.random.default_rng(0).normal(size=(40, 40, 2)).astype(np.float32)
    masks = [
        Segmenter.load(tmp_path, keep=keep).predict_probabilities(
            scan, spacing_mm=(5.0, 5.0)
        )
        for keep in ("", "best", "last")
    ]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert np.abs(masks[1] - masks[2]).max() > 1e-6
    with pytest.raises(InputError, match="keep"):
        Segmenter.load(tmp_path, keep="first")
