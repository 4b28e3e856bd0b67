"""predict, embed and explore take --input and --output in one way."""

import nibabel as nib
import numpy as np
import pytest
from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.segmenter import Segmenter
from pix2rep_jax.modes import embed, explore, predict
from pix2rep_jax.modes.scan_places import EMBEDDINGS, MASKS, PAGE, find_places
from tests.inference.test_backbone import backbone
from tests.inference.test_segmenter import CLASSES, CONFIG, segmenter, store

MODES = {predict: "masks", embed: "embeddings", explore: "page.html"}
DATA = {"classes": CLASSES, "label_values": (), "name": "nifti", "root": "gone"}


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """One scan, and a link to one that is not there; the networks need no files."""
    folder = tmp_path / "scans"
    folder.mkdir()
    store(folder / "a.nii.gz", (0, 1, 2))
    (folder / "annexed.nii.gz").symlink_to("nowhere.nii.gz")
    monkeypatch.setattr(predict, "find_ensemble", lambda *x, **options: [tmp_path])
    monkeypatch.setattr(predict, "describe_networks", lambda *x: "")
    monkeypatch.setattr(predict, "read_config", lambda run: {"data": DATA})
    monkeypatch.setattr(Segmenter, "load", lambda *x, **options: segmenter())
    monkeypatch.setattr(embed, "load_backbone", lambda *x: (tmp_path, backbone()))
    monkeypatch.setattr(explore, "read_config", lambda run: {"data": DATA})
    monkeypatch.setattr(explore, "load", lambda *x: (tmp_path, backbone(), segmenter()))
    return folder


@pytest.mark.parametrize("mode", MODES)
def test_a_scan_that_cannot_be_opened_is_named(scans, mode, capsys):
    """The others are used, and the exit code is that of a scan left out."""
    output = scans.parent / MODES[mode]
    config = ConfigDict({**CONFIG, "segmentation": {"keep": "last"}})
    status = mode.run(config, scans.parent, input=scans, output=output)
    said = capsys.readouterr().err.splitlines()
    assert status == 1 and output.exists()
    assert len([line for line in said if str(scans / "annexed.nii.gz") in line]) == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("missing", ["input", "output"])
def test_both_places_are_needed(scans, mode, missing):
    given = {"input": scans, "output": scans.parent / MODES[mode], missing: None}
    with pytest.raises(InputError, match=r"--input.*--output"):
        mode.run(ConfigDict(CONFIG), scans.parent, **given)


def test_a_home_folder_is_followed(scans, monkeypatch):
    """Whatever is written: masks, embeddings or a page."""
    monkeypatch.setenv("HOME", str(scans.parent))
    for writes in (MASKS, EMBEDDINGS, PAGE):
        places = find_places("~/scans", "~/a.html", mode="any", writes=writes)
        assert places.input == scans and places.output == scans.parent / "a.html"
        assert [each.path.name for each in places.found.scans] == ["a.nii.gz"]


def test_results_among_the_scans_are_not_scans(scans):
    """A page lies beside them without hiding them."""
    within = scans / "out"
    within.mkdir()
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    nib.save(image, within / "b.nii.gz")
    for writes, number in ((MASKS, 1), (EMBEDDINGS, 1), (PAGE, 2)):
        output = within if writes != PAGE else scans / "page.html"
        found = find_places(scans, output, mode="any", writes=writes).found
        assert len(found.scans) == number
