"""What is said before probing or fine-tuning begins."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from program import finish, start

from pix2rep_jax.downstream import unseen_classes
from pix2rep_jax.errors import InputError
from pix2rep_jax.pretrained import other_data
from pix2rep_jax.training.run_folder import read_config

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


def test_a_run_says_what_it_finds_and_goes_on(workdir, cache, tmp_path):
    """A class of one's own that no mask has, and another size of the pixels."""
    options = {"init__checkpoint": workdir, "data__classes": "BG,RV,MYO,LV,scar"}
    options |= {"data__spacing_mm": 4.0}
    result = finish(start("probe", tmp_path, cache, **options))
    assert result.returncode == 0, result.stderr
    assert "note: no training slice shows scar, so the network cannot" in result.stderr
    assert "was pretrained with data.spacing_mm=5.0, and this run" in result.stderr


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
