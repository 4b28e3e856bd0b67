"""Which checkpoint of a run is its result, as the run has it and as a user says."""

import json

import pytest

from configs.pix2rep import get_config
from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.checkpoint_writer import Checkpoints
from pix2rep_jax.runs.kept_checkpoint import (
    describe_networks,
    kept_checkpoint,
    kept_step,
)
from pix2rep_jax.runs.manifest import open_run, read_config
from tests.runs.test_checkpoints import make_state
from tests.support.run_folder import begin_run, make_run_record


@pytest.fixture
def run(tmp_path):
    """A fine-tuning of 6 steps, the second of which validates best."""
    folder = tmp_path / "finetune"
    begin_run(folder, get_config("quick"), num_steps=6)
    with Checkpoints(folder / "checkpoints", best_metric="val_dice") as checkpoints:
        for step, score in ((2, 0.9), (4, 0.3), (6, 0.4)):
            checkpoints.save(make_state(step), metrics={"val_dice": score})
    return folder


def forget(run):
    """As if the run had begun before there was the setting."""
    path = run / "config.json"
    config = json.loads(path.read_text())
    del config["segmentation"]["keep"]
    path.write_text(json.dumps(config))


def test_a_run_keeps_its_last_step_and_gives_the_best_on_request(run):
    """Both are on the disk, whichever is kept."""
    assert kept_step(run) == kept_step(run, "last") == 6
    assert kept_step(run, "best") == 2
    assert "6 of 6" in describe_networks([run])
    assert "2 of 6 (the best)" in describe_networks([run, run], "best")


def test_a_run_older_than_the_setting_keeps_its_best(run, tmp_path):
    """A pretraining had no scores to choose by, and a new fine-tuning of it is new."""
    forget(run)
    assert (kept_checkpoint(run), kept_step(run)) == ("best", 2)
    begin_run(tmp_path / "pretrain", get_config("quick"))
    forget(tmp_path / "pretrain")
    assert read_config(tmp_path / "pretrain")["segmentation"]["keep"] == "last"


def test_a_finished_run_may_keep_the_other_checkpoint(run):
    """It is not another run; who reads it later finds the new choice."""
    before = json.loads((run / "config.json").read_text())
    config = get_config("quick")
    config.segmentation.keep = "best"
    record = make_run_record(num_steps=6)
    assert open_run(run, config, record, begun=True) == record
    after = json.loads((run / "config.json").read_text())
    assert kept_step(run) == 2
    assert after["segmentation"].pop("keep") == "best"
    assert before["segmentation"].pop("keep") == "last"
    assert after == before
    config.segmentation.dice_weight = 0.5
    with pytest.raises(InputError, match=r"segmentation\.dice_weight"):
        open_run(run, config, record, begun=True)


def test_the_paper_sets_slices_aside_to_validate():
    """Its size keeps the best of them; the sizes that were tuned keep the last."""
    kept = {size: get_config(size).segmentation.keep for size in ("small", "medium")}
    assert kept == {"small": "last", "medium": "last"}
    assert get_config("paper").segmentation.keep == "best"
