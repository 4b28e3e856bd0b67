"""finetune.compare_scratch: the same fine-tuning from random weights, beside it."""

import json
import shutil

import pytest

import configs.pix2rep
from pix2rep_jax.errors import InputError
from pix2rep_jax.modes import finetune
from pix2rep_jax.runs.run_record import read_run
from tests.support.program import start, succeed

BOTH = {"finetune__compare_scratch": True}


def test_both_arms_are_trained_and_a_killed_second_one_goes_on(
    workdir, cache, tmp_path
):
    """The flag may come after the first arm; both have the same labelled patients."""
    for mode in ("pretrain", "finetune"):
        shutil.copytree(workdir / mode, tmp_path / mode)
    before = (tmp_path / "finetune" / "config.json").read_bytes()
    said = succeed(start("finetune", tmp_path, cache, **BOTH))
    pretrained, scratch = (
        read_run(tmp_path / x / "finetune") for x in (".", "scratch")
    )
    assert pretrained.origin is not None and scratch.origin is None
    assert pretrained.split.labeled_patients == scratch.split.labeled_patients
    assert (tmp_path / "finetune" / "config.json").read_bytes() == before
    assert "2 test patients" in said  # the comparison: too few to tell
    # As after a kill in the second arm: without its last checkpoint and its scores.
    own = tmp_path / "scratch" / "finetune"
    final = json.loads((own / "evaluation.json").read_text())
    shutil.rmtree(own / "checkpoints" / "4")
    (own / "evaluation.json").unlink()
    said = succeed(start("finetune", tmp_path, cache, **BOTH))
    assert "finished already at step 4" in said and "going on from step 3" in said
    again = json.loads((own / "evaluation.json").read_text())
    assert again["dice"] == pytest.approx(final["dice"], abs=1e-6)
    # A workdir of its own: no pretraining is asked for, and no third arm.
    alone = json.loads((own / "config.json").read_text())
    assert alone["init"]["checkpoint"] == "none"
    assert alone["finetune"]["compare_scratch"] is False


def test_random_weights_are_not_compared_with_themselves(tmp_path):
    """The sentence names both settings."""
    config = configs.pix2rep.get_config("quick")
    config.finetune.compare_scratch, config.init.checkpoint = True, "none"
    with pytest.raises(InputError, match=r"compare_scratch.*init(\.|__)checkpoint"):
        finetune.run(config, tmp_path)
