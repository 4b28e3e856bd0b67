"""What the benchmark of the grid says that a perfect segmentation scores."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from benchmarks import ceiling
from configs import pix2rep
from pix2rep_jax.data.dataset import load_dataset


@pytest.fixture
def dataset(tmp_path):
    """A square in the middle of a scan, and one half outside the 16 px in view."""
    for number, first in enumerate((18, 26)):
        mask = np.zeros((40, 40, 2), np.uint8)
        mask[18:22, first : first + 4] = 1
        image = np.random.default_rng(number).integers(0, 99, mask.shape)
        for folder, array in (("images", image.astype(np.int16)), ("labels", mask)):
            path = tmp_path / folder / f"p{number}.nii"
            path.parent.mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    data = pix2rep.get_config().data
    data.update({"name": "nifti", "root": str(tmp_path), "classes": ("BG", "organ")})
    data.update({"cache_dir": str(tmp_path), "spacing_mm": 1.0})
    data.update({"crop_px": 16, "size": 16})
    return load_dataset(data)


def test_only_what_is_not_seen_costs_a_perfect_segmentation(dataset):
    """Dice is 1 on the scan's own pixels, and 2 / 3 where half of a square is cut."""
    dice = ceiling.score_experts(dataset, (0, 1), classes=("BG", "organ"))
    assert dice.shape == (2, 2)
    np.testing.assert_allclose(dice[:, 1], [1, 2 / 3])
    assert dice[0, 0] == 1 > dice[1, 0]


def test_own_pixels_cost_nothing(dataset):
    """On its scan's own grid every mask is perfect, also what the view cuts off."""
    for record in dataset.volumes:
        dice = ceiling.score_on_own_grid(record, num_classes=2)
        np.testing.assert_array_equal(dice, 1)


def test_one_command_scores_folders_of_any_layout(
    dataset, tmp_path, monkeypatch, capsys
):
    """The same scans in a plain folder and in nnU-Net's layout score the same."""
    other = tmp_path / "task"
    for record in dataset.volumes:
        stem = record.image_path.stem
        for path, folder, name in (
            (record.image_path, "imagesTr", f"{stem}_0000.nii"),
            (record.label_path, "labelsTr", f"{stem}.nii"),
        ):
            (other / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, other / folder / name)
    labels = {"labels": {"organ": 1, "background": 0}}
    (other / "dataset.json").write_text(json.dumps(labels))
    monkeypatch.setenv("HOME", str(tmp_path))
    options = "--classes BG,organ --variant quick --spacing_mm 1 --size 16"
    roots = ["--root", str(tmp_path), str(other)]
    monkeypatch.setattr("sys.argv", ["ceiling", *roots, *options.split()])
    ceiling.main()
    lines = capsys.readouterr().out.splitlines()
    scores = [line for line in lines if "foreground" in line]
    assert len(scores) == 4
    for line, mean in zip(scores, (83.33, 100, 83.33, 100), strict=True):
        assert "2 volumes" in line and f"organ {mean:.2f}" in line
