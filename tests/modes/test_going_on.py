"""Going on from a fine-tuned network with corrected masks, in one command."""

import json
import shutil

import jax
import numpy as np
import pytest

import configs.pix2rep
from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.checkpoint_reader import restore_params
from pix2rep_jax.runs.checkpoint_steps import result_step
from pix2rep_jax.runs.pretrained_backbone import check_same_network, read_backbone
from pix2rep_jax.runs.run_record import read_run
from pix2rep_jax.runs.start import decide_start
from tests.support.program import start, succeed
from tests.support.run_folder import begin_run


@pytest.fixture
def corrected(workdir, cache, tmp_path):
    """Scans with masks that `predict` wrote, one of which an expert has drawn anew."""
    folder = tmp_path / "CORRECTED"
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    found = next(cache.glob("phantom-*-5-2")).glob("testing/*/*_frame??.nii.gz")
    scans = sorted(found)
    for scan in scans:
        shutil.copy(scan, folder / "images" / scan.name)
    flags = (f"--input={folder / 'images'}", f"--output={folder / 'labels'}")
    succeed(start("predict", workdir, cache, *flags, "--suffix="))
    mask = scans[0].with_name(scans[0].name.replace(".nii", "_gt.nii"))
    shutil.copy(mask, folder / "labels" / scans[0].name)
    return folder


def test_a_network_goes_on_with_corrected_masks(workdir, cache, tmp_path, corrected):
    """It begins with head and backbone of the run that is named, and its classes."""
    place = tmp_path / "next"
    changes = {"init__checkpoint": workdir / "finetune", "init__recalibrate": False}
    changes |= {"data__name": "nifti", "data__root": corrected}
    still = {"backbone_learning_rate": 0, "head_learning_rate": 0}
    changes |= {f"finetune__{name}": value for name, value in still.items()}
    succeed(start("finetune", place, cache, finetune__batch_norm="frozen", **changes))
    before, now = (
        jax.tree.leaves(restore_params(run)[0])
        for run in (workdir / "finetune", place / "finetune")
    )
    for old, new in zip(before, now, strict=True):
        np.testing.assert_array_equal(old, new)
    config = json.loads((place / "finetune" / "config.json").read_text())
    assert config["data"]["classes"] == ["BG", "RV", "MYO", "LV"]
    record = read_run(place / "finetune")
    assert record.origin.run == str(workdir / "finetune")
    assert record.origin.step == result_step(workdir / "finetune")
    assert len(record.split.labeled_patients) == 2


def test_only_fine_tuning_goes_on_and_only_from_that_folder(workdir, tmp_path):
    """A workdir means its pretraining, as before."""
    own = workdir / "finetune"
    assert decide_start(str(own), tmp_path, "finetune") == own
    assert decide_start(str(workdir), tmp_path, "finetune") == workdir / "pretrain"
    with pytest.raises(InputError):
        decide_start(str(own), tmp_path, "probe")


def test_other_classes_or_another_width_are_refused(workdir, tmp_path):
    """By the setting that would mend it."""
    model = configs.pix2rep.get_config("quick").model
    model.update(channels=(4, 8), num_features=6, last_hidden=4)
    with pytest.raises(InputError, match=r"data(\.|__)classes"):
        read_backbone(model, workdir / "finetune", classes=("BG", "LV"))
    config = configs.pix2rep.get_config("quick")
    config.model.update(num_features=8, scratch_num_features=6)
    begin_run(tmp_path / "finetune", config)  # from random weights, so it has 6
    content = json.loads((tmp_path / "finetune" / "config.json").read_text())
    model.update(channels=config.model.channels, last_hidden=config.model.last_hidden)
    check_same_network(model, content, tmp_path / "finetune")
    model.num_features = 8
    with pytest.raises(InputError, match=r"model\.num_features=6"):
        check_same_network(model, content, tmp_path / "finetune")
