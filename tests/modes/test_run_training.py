"""What is said before probing or fine-tuning begins."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from pix2rep_jax.data.checks import cut_masks, unseen_classes
from pix2rep_jax.data.volume import VolumeRecord
from pix2rep_jax.errors import InputError
from pix2rep_jax.modes.probe import feature_budget
from pix2rep_jax.runs.manifest import read_config, write_num_steps
from pix2rep_jax.runs.pretrained_backbone import Origin, keep_origin, other_data
from tests.support.program import finish, refused, start, succeed

CLASSES = ("BG", "RV", "MYO", "LV")


def test_classes_that_no_slice_shows_are_told():
    """The others can be learned; with none of them there is nothing to learn."""
    labels = np.zeros((3, 4, 4), np.uint8)
    with pytest.raises(InputError, match="masks of all 3 training slices are empty"):
        unseen_classes(CLASSES, labels)
    labels[1, 0, 0] = 2
    note = unseen_classes(CLASSES, labels)
    assert note.startswith("note: no training slice shows RV, LV, so")
    labels[2, 3] = (0, 1, 2, 3)
    assert unseen_classes(CLASSES, labels) == ""
    assert unseen_classes(("BG", "heart"), labels) == ""


def test_masks_beyond_the_field_of_view_are_said():
    """How many of those with a mask, and which loses most; a rim is no matter."""

    def record(name, share, mask="mask.nii"):
        names = (name, name, "training", "", "", Path("scan.nii"), mask and Path(mask))
        return VolumeRecord(*names, label_share=share)

    whole = [record("a", 1.0), record("b", 0.96), record("c", 1.0, mask=None)]
    assert cut_masks(whole) == ""
    note = cut_masks([*whole, record("d", 0.9), record("e", 0.25)])
    assert all(fact in note for fact in ("2 of 4", "5%", "75% in e"))
    assert "data.crop_px" in note and "data.size" in note


def test_a_run_says_what_it_finds_and_goes_on(workdir, cache, tmp_path):
    """A class of one's own that no mask has, and another size of the pixels."""
    options = {"init__checkpoint": workdir, "data__classes": "BG,RV,MYO,LV,scar"}
    options |= {"data__spacing_mm": 4.0}
    result = finish(start("probe", tmp_path, cache, **options))
    assert result.returncode == 0, result.stderr
    assert "note: no training slice shows scar, so the network cannot" in result.stderr
    assert "was pretrained with data.spacing_mm=5.0, and this run" in result.stderr


def test_a_pretraining_that_has_not_ended_is_told(workdir, cache, tmp_path):
    """What starts from it goes on, and its scores say from which step."""
    shutil.copytree(workdir / "pretrain", tmp_path / "pretrain")
    write_num_steps(tmp_path / "pretrain", 48)
    result = finish(start("probe", tmp_path, cache))
    assert result.returncode == 0, result.stderr
    assert "pretrain stands at step 24 of 48: its own command" in result.stderr
    scores = json.loads((tmp_path / "probe" / "evaluation.json").read_text())
    assert scores["pretrained_steps"] == 24
    origin = json.loads((tmp_path / "probe" / "origin.json").read_text())
    assert scores["pretrained_digest"] == origin["digest"] != ""
    write_num_steps(tmp_path / "probe", 9)
    result = finish(start("evaluate", tmp_path, cache))
    assert result.returncode == 0, result.stderr
    assert "probe stands at step 4 of 9" in result.stderr
    again = json.loads((tmp_path / "evaluate" / "evaluation.json").read_text())
    assert again["best_step"] == scores["best_step"]


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
        assert f"pretrain at step 24, and that of {tmp_path}" in sentence
        assert f"at step {step} has other values: name another --workdir" in sentence
        shutil.rmtree(tmp_path / "pretrain")
    shutil.copytree(workdir / "pretrain", tmp_path / "pretrain")
    assert "finished already at step 4 of 4" in succeed(start(mode, tmp_path, cache))


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
    assert "finished already at step 4" in succeed(start(mode, own, cache, **options))
    if mode == "finetune":
        sentence = refused(start(mode, own, cache, init__checkpoint="none"))
        assert f"init.checkpoint: {tmp_path / 'first'} -> none" in sentence


def test_what_a_run_started_from_is_kept_from_its_first_checkpoint_on(tmp_path):
    """Before that it may start from whatever is there; a run without a record, as one
    of an earlier version, is not given one."""
    first, second = (Origin("runs/a/pretrain", 6, name) for name in ("1f", "2e"))
    assert keep_origin(tmp_path, first) == first
    assert keep_origin(tmp_path, second) == second
    (tmp_path / "checkpoints" / "2" / "state").mkdir(parents=True)
    assert keep_origin(tmp_path, second._replace(run="moved", step=7)) == second
    with pytest.raises(InputError, match=r"at step 6 has other .*--workdir.* delete"):
        keep_origin(tmp_path, first)
    (tmp_path / "origin.json").write_text("{")
    for each in (first, second):
        with pytest.raises(InputError, match=r"origin\.json cannot be read.* delete"):
            keep_origin(tmp_path, each)
    (tmp_path / "origin.json").unlink()
    assert keep_origin(tmp_path, first) is None
    assert not (tmp_path / "origin.json").exists()


def test_images_prepared_otherwise_than_for_pretraining_are_told(workdir):
    """By the settings that differ; what is labelled has no say in it."""
    run = workdir / "pretrain"
    config = ConfigDict(read_config(run))
    config.data.num_labeled = 3
    assert other_data(config, run) == ""
    config.data.spacing_mm, config.data.percentiles = 2.5, (0.0, 100.0)
    note = other_data(config, run)
    assert "with data.spacing_mm=5.0, data.percentiles=[1.0, 99.0], and" in note
    assert "this run has 2.5, [0.0, 100.0]" in note


@pytest.mark.parametrize(
    ("platform", "budget_mb"), [("cpu", 4096), ("gpu", 2048), ("tpu", 2048)]
)
def test_features_are_kept_where_a_step_finds_them(platform, budget_mb):
    """On an accelerator in its own memory: the way from the host is the slower one."""
    config = ConfigDict({"probe": {"feature_budget_mb": 4096}})
    config.data = {"device_budget_mb": 2048}
    assert feature_budget(config, platform=platform) == budget_mb
    config.probe.feature_budget_mb = 10
    assert feature_budget(config, platform=platform) == 10


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
