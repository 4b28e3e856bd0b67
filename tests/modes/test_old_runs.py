"""A run of an earlier version is refused by every mode, before the scans are read."""

import json
from pathlib import Path

import pytest

from configs import pix2rep
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.segmenter import Segmenter
from pix2rep_jax.modes import (
    evaluate,
    figures,
    finetune,
    loaded_run,
    predict,
    pretrain,
    probe,
)
from tests.support.run_folder import begin_run

CONFIG = pix2rep.get_config()


@pytest.fixture
def old(tmp_path, monkeypatch):
    """The folder of a run of version 2. Whoever reads scans fails the test."""
    for mode in ("pretrain", "probe", "finetune"):
        folder = tmp_path / "old" / mode
        (folder / "checkpoints").mkdir(parents=True)
        settings = CONFIG.copy_and_resolve_references()
        (folder / "config.json").write_text(settings.to_json_best_effort())
        (folder / "run.json").write_text(json.dumps({"version": 2, "num_steps": 4}))

    def load_dataset(data):
        raise AssertionError("the scans were read")

    for module in (loaded_run, evaluate, figures):
        monkeypatch.setattr(module, "load_dataset", load_dataset)
    return tmp_path / "old"


def start_elsewhere(mode):
    def run(old):
        config = CONFIG.copy_and_resolve_references()
        config.init.checkpoint = str(old)
        mode.run(config, old.parent / "new")

    return run


def segment(old):
    (old.parent / "scan.nii.gz").write_bytes(b"")
    places = {"input": old.parent / "scan.nii.gz", "output": old.parent / "masks"}
    predict.run(CONFIG, old, **places)


@pytest.mark.parametrize(
    "use",
    [
        lambda old: pretrain.run(CONFIG, old),
        lambda old: probe.run(CONFIG, old),
        lambda old: finetune.run(CONFIG, old),
        start_elsewhere(pretrain),
        start_elsewhere(probe),
        start_elsewhere(finetune),
        start_elsewhere(evaluate),
        lambda old: evaluate.run(CONFIG, old),
        lambda old: figures.run(CONFIG, old),
        lambda old: Segmenter.load(old),
        lambda old: Segmenter.load(old / "probe"),
        segment,
    ],
    ids=(
        *("pretrain", "probe", "finetune", "go on pretraining", "probe elsewhere"),
        *("finetune elsewhere", "evaluate elsewhere", "evaluate", "figures"),
        *("Segmenter.load", "Segmenter.load of a mode", "predict"),
    ),
)
def test_a_run_of_an_earlier_version_is_refused(old, use):
    with pytest.raises(InputError, match="version 2") as caught:
        use(old)
    assert "\n" not in str(caught.value)
    assert not (old.parent / "masks").exists()
    assert not list(Path(old.parent).glob("new/*/run.json"))


def test_other_settings_are_refused_before_the_scans_are_read(old):
    """A mistake there should not cost the minutes of preparing them."""
    folder = old.parent / "other" / "finetune"
    begin_run(folder, CONFIG)
    config = CONFIG.copy_and_resolve_references()
    config.finetune.num_steps += 1
    config.init.checkpoint = "none"
    with pytest.raises(InputError, match=r"finetune(\.|__)num_steps: "):
        finetune.run(config, folder.parent)
