"""Two channels and pictures through every mode."""

import csv
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from configs.pix2rep import get_config
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.segmenter import Segmenter
from pix2rep_jax.modes import evaluate, figures, finetune, predict, pretrain, probe

NUMBER = 6
"""Scans: two labelled, two for the test, and two more."""


def make_config(root, **data):
    config = get_config("quick")
    config.data.update(name="nifti", root=str(root), cache_dir=str(root / "cache"))
    config.data.update(size=16, spacing_mm=2.0, num_labeled=2, holdout_per_group=2)
    config.data.update(classes=("BG", "X"), patient_regex=".+", **data)
    config.model.update(channels=(4, 8), num_features=4, last_hidden=4)
    config.model.scratch_num_features = 4
    config.projection.update(hidden=(8,), features=4)
    config.pretrain.update(num_steps=2, num_points=16, batch_size=4, warmup_steps=0)
    config.probe.update(num_steps=2, batch_size=4)
    config.finetune.update(num_steps=2, batch_size=4, warmup_steps=0)
    return config


def shapes(number, size=(24, 20)):
    """A disk that only the difference of two channels shows, and its mask."""
    draw = np.random.default_rng(number)
    row, column = np.indices(size) - np.array([10, 9])[:, None, None]
    mask = (row**2 + column**2 < 36).astype(np.uint8)
    first = draw.uniform(0, 100, size)
    return first, first + 80 * mask, mask


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Files with two channels along the fourth axis."""
    root = tmp_path_factory.mktemp("channels")
    for name in ("images", "labels"):
        (root / name).mkdir()
    for number in range(NUMBER):
        first, second, mask = shapes(number)
        array = np.stack([first, second], -1)[:, :, None].repeat(2, 2)
        for folder, each in (("images", array), ("labels", mask[..., None])):
            image = nib.Nifti1Image(
                np.broadcast_to(each, (24, 20, 2, *each.shape[3:])).astype(np.float32),
                np.diag([2.0, 2.0, 5.0, 1.0]),
            )
            nib.save(image, root / folder / f"s{number}.nii.gz")
    (root / "dataset.json").write_text('{"channel_names": {"0": "A", "1": "B"}}')
    return root


@pytest.mark.slow
def test_two_channels_go_through_every_mode(scans, tmp_path):
    """The record has their number; one channel is refused by the same run."""
    config = make_config(scans)
    pretrain.run(config, tmp_path)
    probe.run(config, tmp_path)
    finetune.run(config, tmp_path)
    evaluate.run(config, tmp_path)
    figures.run(config, tmp_path)
    for mode in ("pretrain", "probe", "finetune"):
        record = json.loads((tmp_path / mode / "run.json").read_text())
        assert record["inputs"]["channels"] == 2
    options = {"input": scans / "images", "output": tmp_path / "masks"}
    assert predict.run(config, tmp_path, **options) == 0
    path = scans / "images" / "s0.nii.gz"
    segmenter = Segmenter.load(tmp_path)
    written = nib.load(tmp_path / "masks" / "s0_seg.nii.gz")
    assert written.shape == (24, 20, 2)
    np.testing.assert_array_equal(written.affine, nib.load(path).affine)
    labels = segmenter.predict(path)
    np.testing.assert_array_equal(np.asarray(written.dataobj), labels)
    # The channels as files of their own, and as an array, are the same scan.
    image, files = nib.load(path), []
    for index in range(2):
        files.append(tmp_path / f"s_{index:04d}.nii.gz")
        channel = image.get_fdata(dtype=np.float32)[..., index]
        nib.save(nib.Nifti1Image(channel, image.affine), files[-1])
    np.testing.assert_array_equal(segmenter.predict(files), labels)
    array = segmenter.predict(image.get_fdata(), spacing_mm=(2, 2, 5))
    np.testing.assert_array_equal(array, labels)
    # A masked scan by itself has no dataset.json, and its channels are the run's.
    alone = tmp_path / "alone" / "s0.nii.gz"
    alone.parent.mkdir()
    shutil.copy(path, alone)
    shutil.copy(scans / "labels" / "s0.nii.gz", alone.with_name("s0_seg.nii.gz"))
    for support in (alone, alone.parent):
        by_support = Segmenter.from_support(tmp_path, support, neighbours=1)
        assert by_support.predict(path).shape == (24, 20, 2)
    for wrong in (files[:1], np.zeros((24, 20, 2))[..., :1]):
        with pytest.raises(InputError, match="channel"):
            segmenter.predict(wrong, spacing_mm=(2, 2, 5))
    other = make_config(tmp_path / "one")
    for name in ("images", "labels"):
        (tmp_path / "one" / name).mkdir(parents=True)
        for number in range(NUMBER):
            given = nib.load(scans / name / f"s{number}.nii.gz")
            array = np.asarray(given.dataobj)
            array = array[..., 0] if array.ndim == 4 else array
            target = tmp_path / "one" / name / f"s{number}.nii.gz"
            nib.save(nib.Nifti1Image(array, given.affine), target)
    other.init.checkpoint = str(tmp_path)
    with pytest.raises(InputError, match=r"1 channel.* 2"):
        finetune.run(other, tmp_path / "other")
    with pytest.raises(InputError, match=r"1 channel.* 2"):
        evaluate.run(other, tmp_path)


@pytest.mark.parametrize("colours", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_pictures_go_through_training_and_prediction(tmp_path, colours):
    """Masks are PNG of the picture's size with the label values of the run."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for number in range(NUMBER):
        first, second, mask = shapes(number, (20, 28))
        image = np.stack([first, second, first], -1).astype(np.uint8)
        image = image if colours == 3 else image[..., 1]
        Image.fromarray(image).save(tmp_path / "images" / f"p{number}.png")
        Image.fromarray(255 * mask).save(tmp_path / "labels" / f"p{number}.png")
    table = "\n".join(f"p{number},2" for number in range(NUMBER))
    (tmp_path / "pixel_sizes.csv").write_text(f"name,mm\n{table}\n")
    config = make_config(tmp_path, label_values=(0, 255))
    pretrain.run(config, tmp_path / "run")
    finetune.run(config, tmp_path / "run")
    evaluated = json.loads((tmp_path / "run/finetune/evaluation.json").read_text())
    assert evaluated["num_volumes"] == 2
    options = {"input": tmp_path / "images", "output": tmp_path / "masks"}
    assert predict.run(config, tmp_path / "run", **options) == 0
    segmenter = Segmenter.load(tmp_path / "run")
    path = tmp_path / "images" / "p0.png"
    labels = segmenter.predict(path)
    assert labels.shape == (20, 28)
    with (
        Image.open(tmp_path / "masks" / "p0_seg.png") as written,
        Image.open(path) as p,
    ):
        assert written.size == p.size
        np.testing.assert_array_equal(np.asarray(written), 255 * labels)
        array = segmenter.predict(np.asarray(p), spacing_mm=(2, 2))
    np.testing.assert_array_equal(array, labels)
    lines = (tmp_path / "masks" / "volumes.csv").read_text().splitlines()
    rows = list(csv.DictReader(lines))
    areas = {row["name"]: float(row["X_mm2"]) for row in rows}
    assert areas["p0"] == pytest.approx(4 * labels.sum()) and len(areas) == NUMBER
    names = json.loads((tmp_path / "masks" / "labels.json").read_text())
    assert names == {"0": "BG", "255": "X"}
    elsewhere = tmp_path / "elsewhere" / "deep" / "p0.png"
    elsewhere.parent.mkdir(parents=True)
    shutil.copy(path, elsewhere)
    with pytest.raises(InputError, match=r"pixel_sizes\.csv"):
        segmenter.predict(elsewhere)
    other = make_config(elsewhere.parent.parent, label_values=(0, 255))
    for name in ("images", "labels"):
        shutil.copytree(tmp_path / name, elsewhere.parent.parent / name)
    with pytest.raises(InputError, match=r"pixel_sizes\.csv"):
        evaluate.run(other, tmp_path / "run")
    Image.new("L", (28, 20)).save(tmp_path / "empty.png")
    with pytest.raises(InputError, match="empty"):
        segmenter.predict(tmp_path / "empty.png")
