"""--mode explore writes one page for a few scans, without a network here."""

import base64
import gzip
import json
import re

import nibabel as nib
import numpy as np
import pytest
from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.backbone import Backbone
from pix2rep_jax.modes import explore
from pix2rep_jax.modes.scan_backbone import find_backbone, load_backbone
from tests.inference.test_backbone import backbone
from tests.inference.test_segmenter import CLASSES, CONFIG, scan, segmenter, store
from tests.support.run_folder import begin_run


class Named(str):
    """Stands for a backbone."""

    embedding = "any"


DATA = {"classes": CLASSES, "label_values": (), "name": "nifti", "root": "gone"}


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """Two scans, one with its slices stored first, one with a mask beside it."""
    folder = tmp_path / "scans"
    (folder / "deep").mkdir(parents=True)
    store(folder / "Jane-Doe.nii.gz", (0, 1, 2))
    store(folder / "deep" / "b.nii.gz", (2, 0, 1))
    image = nib.load(folder / "Jane-Doe.nii.gz")
    mask = np.where(np.asarray(image.dataobj) > 500, 3, 0).astype(np.uint8)
    nib.save(nib.Nifti1Image(mask, image.affine), folder / "Jane-Doe_gt.nii.gz")
    monkeypatch.setattr(
        explore, "load", lambda *x: (tmp_path / "run", backbone(), segmenter())
    )
    monkeypatch.setattr(explore, "read_config", lambda run: {"data": DATA})
    return folder


def run(scans, **options):
    output = scans.parent / "pages" / "explore.html"
    status = explore.run(
        ConfigDict(CONFIG), scans.parent, input=scans, output=output, **options
    )
    return output, status


def read_page(path):
    """The facts of a page, and the bytes of its scans."""
    text = path.read_text("utf-8")
    facts = re.search(r'id="facts">(.*?)</script>', text, re.S)[1]
    content = re.search(r'id="content">(.*?)</script>', text, re.S)[1]
    return json.loads(facts), gzip.decompress(base64.b64decode(content))


def take(content, facts, name):
    """The slices of an image or a mask."""
    start = facts[name]
    end = start + int(np.prod(facts["shape"]))
    return np.frombuffer(content[start:end], np.uint8).reshape(facts["shape"])


def test_the_page_has_scans_masks_and_predictions(scans, capsys):
    """A scan without a mask is there too; what a page says of its error is printed."""
    output, status = run(scans)
    assert status == 0
    facts, content = read_page(output)
    assert facts["classes"] == list(CLASSES)
    assert [each["name"] for each in facts["scans"]] == ["Jane-Doe", "deep/b"]
    first, second = facts["scans"]
    assert second["labels"] is None
    image = take(content, first, "image") / 255
    expected, _ = backbone().preparation.prepare(
        scan()[:, :, :, None, None], spacing_mm=(1.25, 1.25, 8)
    )
    np.testing.assert_allclose(image, expected[..., 0], atol=0.003)
    for name in ("labels", "predictions"):  # the network takes bright pixels for LV
        labels = take(content, first, name)
        assert {*np.unique(labels)} == {0, 3}
        assert (labels == (image > 0.5) * 3).mean() > 0.98
    assert f"{facts['error']:.3f}" in capsys.readouterr().out
    with pytest.raises(InputError, match="--overwrite"):
        run(scans)
    assert run(scans, overwrite=True)[1] == 0


def test_an_anonymised_page_names_no_scan(scans, capsys):
    """Nor the folders, the run or a header; what is said of that stands in the page."""
    output, _ = run(scans, anonymise=True)
    facts, content = read_page(output)
    assert [each["name"] for each in facts["scans"]] == ["scan-001", "scan-002"]
    page = output.read_text("utf-8")
    for name in ("Jane", "Doe", "deep", str(scans.parent)):
        assert name not in page and name.encode() not in content
    assert facts["notes"] and facts["notes"][0] in capsys.readouterr().err


def test_one_bad_file_costs_no_other(scans, capsys):
    """A mask that does not fit costs not even its scan."""
    (scans / "bad.nii.gz").write_bytes(b"nothing")
    nib.save(
        nib.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4)),
        scans / "Jane-Doe_gt.nii.gz",
    )
    output, status = run(scans)
    said = capsys.readouterr().err
    assert status == 1 and "bad.nii.gz" in said and "Jane-Doe_gt" in said
    facts, _ = read_page(output)
    assert [each["labels"] for each in facts["scans"]] == [None, None]


def test_masks_of_other_classes_are_left_out(scans, capsys):
    """Colours would stand for two things at once."""
    image = nib.load(scans / "Jane-Doe.nii.gz")
    mask = np.zeros(image.shape, np.uint8)
    mask[12:20, 22:30] = 9
    nib.save(nib.Nifti1Image(mask, image.affine), scans / "Jane-Doe_gt.nii.gz")
    output, status = run(scans)
    facts, _ = read_page(output)
    assert status == 0 and facts["scans"][0]["labels"] is None
    assert "masks are left out" in capsys.readouterr().err


def test_a_page_has_a_handful_of_scans(scans, monkeypatch):
    """Evenly chosen."""
    for index in range(6):
        store(scans / f"c{index}.nii.gz", (0, 1, 2))
    monkeypatch.setattr(explore, "MOST", 3)
    facts, _ = read_page(run(scans)[0])
    names = [each["name"] for each in facts["scans"]]
    assert len(names) == 3 and names[0] == "Jane-Doe" and names[-1] == "deep/b"


@pytest.mark.parametrize("output", ["", "folder", "page.txt"])
def test_what_is_no_page_is_refused(scans, output):
    with pytest.raises(InputError, match="--output"):
        explore.run(ConfigDict(CONFIG), scans.parent, input=scans, output=output)


@pytest.mark.parametrize(
    ("place", "embedding", "expected"),
    [
        ("both", None, "both/finetune features"),
        ("both", "projection", "both/pretrain projection"),
        ("both/pretrain", None, "both/pretrain projection"),
        ("both/pretrain", "features", "both/pretrain features"),
        ("whole", None, "whole/pretrain features"),  # its method compares no pixels
        ("empty", None, "both/finetune features"),  # what init.checkpoint names
    ],
)
def test_the_run_decides_what_is_compared(
    tmp_path, monkeypatch, place, embedding, expected
):
    """A segmenter before its pretraining, and projections where there are any."""
    for name in ("both/pretrain", "both/finetune", "whole/pretrain"):
        begin_run(tmp_path / name, ConfigDict(CONFIG))

    def load(run, *, embedding):
        if embedding == "projection" and run.parent.name == "whole":
            raise InputError("it has none")
        return Named(f"{run.relative_to(tmp_path)} {embedding}")

    def of_segmenter(run, *, keep):
        return Named(f"{run.relative_to(tmp_path)} features")

    monkeypatch.setattr(Backbone, "load", load)
    monkeypatch.setattr(Backbone, "of_segmenter", of_segmenter)
    monkeypatch.setattr(explore.Segmenter, "load", lambda run, **options: "it")
    config = ConfigDict(CONFIG)
    config.segmentation = ConfigDict({"keep": "last"})
    config.init = ConfigDict({"checkpoint": str(tmp_path / "both")})
    (tmp_path / "empty").mkdir()
    _, backbone, segmenter = explore.load(config, tmp_path / place, embedding)
    assert backbone == expected and (segmenter == "it") == ("finetune" in expected)
    found = find_backbone(tmp_path / place, config.init.checkpoint, embedding)
    assert found == tmp_path / expected.partition(" ")[0]  # for embed too
    (damaged := tmp_path / "damaged.safetensors").write_bytes(b"x")
    config.init.checkpoint = str(damaged)
    with pytest.raises(InputError, match=r"damaged\.safetensors"):
        explore.load(config, tmp_path / "empty", embedding)
    config.init.checkpoint = ""
    with pytest.raises(InputError):
        explore.load(config, tmp_path / "empty", embedding)


def test_the_network_that_is_taken_is_named(tmp_path, monkeypatch, capsys):
    """With the place of the other one, if there is one."""
    for name in ("both/pretrain", "both/probe", "alone/probe"):
        begin_run(tmp_path / name, ConfigDict(CONFIG))
    config = ConfigDict({**CONFIG, "segmentation": {"keep": ""}})
    config.init = ConfigDict({"checkpoint": ""})
    monkeypatch.setattr(Backbone, "of_segmenter", lambda run, **options: Named(run))
    for name in ("both", "alone"):
        folder, backbone = load_backbone(config, tmp_path / name, "features")
        assert str(folder) == backbone == str(tmp_path / name / "probe")
        said = capsys.readouterr()
        assert str(folder) in said.out
        assert (str(tmp_path / name / "pretrain") in said.err) == (name == "both")
