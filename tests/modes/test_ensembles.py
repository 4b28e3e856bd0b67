"""Several workdirs, and the folder of a cross-validation, from the command line."""

import json
import shutil
import sys

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax import Segmenter
from tests.support.program import ROOT, launch, refused, succeed


def start(mode, *flags):
    """A command without --config, as the later modes of a run need none."""
    return launch([sys.executable, str(ROOT / "main.py"), f"--mode={mode}", *flags])


@pytest.fixture(scope="module")
def copies(workdir, tmp_path_factory):
    """The same fine-tuning in two workdirs, and in two folds of a third."""
    place = tmp_path_factory.mktemp("copies")
    for name in ("a", "b", "folds/fold0", "folds/fold1"):
        shutil.copytree(workdir / "finetune", place / name / "finetune")
    return place


def dice(folder):
    return json.loads((folder / "evaluation.json").read_text())["dice"]


def test_a_network_twice_scores_as_it_does_alone(workdir, copies):
    """And the options of predict are recorded, with the runs."""
    places = f"{copies / 'a'},{copies / 'b'}"
    every = "--config.predict.largest_component=False"
    succeed(start("evaluate", f"--workdir={places}", every))
    ensemble = copies / "a" / "evaluate" / "ensemble"
    assert dice(ensemble) == pytest.approx(dice(workdir / "finetune"), abs=1e-5)
    content = json.loads((ensemble / "evaluation.json").read_text())
    assert [*content["runs"]] == [str(copies / x / "finetune") for x in "ab"]
    flags = ("--config.predict.mirror=True", "--config.predict.largest_component=True")
    said = succeed(start("evaluate", f"--workdir={copies / 'a'}", *flags))
    assert "RV, MYO, LV" in said
    content = json.loads((copies / "a/evaluate/evaluation.json").read_text())
    assert content["predict"] == {"mirror": True, "largest_component": True}
    assert content["largest_component_of"] == ["RV", "MYO", "LV"]
    assert content["dice"] != dice(workdir / "finetune")


def test_folds_are_an_ensemble_by_themselves(copies, tmp_path):
    """In predict, which names both; evaluate cannot score them on their own scans."""
    scan = np.random.default_rng(0).random((32, 30, 2), np.float32)
    nib.save(nib.Nifti1Image(scan, np.diag([5.0, 5, 9, 1])), tmp_path / "s.nii.gz")
    folds = copies / "folds"
    output = tmp_path / "masks"
    flags = (f"--input={tmp_path / 's.nii.gz'}", f"--output={output}", "--suffix=")
    said = succeed(start("predict", f"--workdir={folds}", *flags, "--probabilities"))
    assert all(str(folds / x / "finetune") in said for x in ("fold0", "fold1"))
    alone = Segmenter.load(copies / "a")
    expected = alone.predict(tmp_path / "s.nii.gz")
    found = np.asarray(nib.load(output / "s.nii.gz").dataobj)
    np.testing.assert_array_equal(found, expected)
    probabilities = nib.load(output / "s_probabilities.nii.gz").get_fdata()
    whole = alone.predict_probabilities(tmp_path / "s.nii.gz")
    np.testing.assert_allclose(probabilities, whole, atol=1e-4)
    both = Segmenter.load([folds / "fold0", copies / "b"])
    assert both.weight == 2
    np.testing.assert_array_equal(both.predict(tmp_path / "s.nii.gz"), expected)
    sentence = refused(start("evaluate", f"--workdir={folds}"))
    assert str(folds / "evaluate") in sentence


def test_networks_of_other_grids_are_not_scored_together(copies, tmp_path):
    """The setting and both runs are named."""
    other = tmp_path / "other" / "finetune"
    shutil.copytree(copies / "a" / "finetune", other)
    config = json.loads((other / "config.json").read_text())
    config["data"]["spacing_mm"] = 4.0
    (other / "config.json").write_text(json.dumps(config))
    places = f"--workdir={copies / 'b'},{other.parent}"
    sentence = refused(start("evaluate", places))
    assert "data.spacing_mm" in sentence and str(other) in sentence
    assert len(Segmenter.load([copies / "b", other.parent]).members) == 2
