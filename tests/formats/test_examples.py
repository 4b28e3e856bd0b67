"""The scripts in examples/: each compiles, and what is cheap runs."""

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from tests.support.program import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_compiles_and_says_how_it_is_called(path):
    compiled = compile(path.read_text("utf-8"), path, "exec")
    assert compiled.co_consts[0].count("\n") > 2
    assert path.name in compiled.co_consts[0] or path.stem == "pytorch_unet"


def test_the_unet_for_pytorch_stays_short():
    text = (ROOT / "examples" / "pytorch_unet.py").read_text("utf-8")
    assert len(text.splitlines()) <= 60


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """Three scans whose embeddings show their masks, on a grid of other pixels."""
    folder = tmp_path_factory.mktemp("embedded")
    draw = np.random.default_rng(0)
    for name in "abc":
        mask = np.zeros((20, 30, 2), np.uint8)
        mask[4:12, 10:20, 0], mask[8:16, 2:28, 1] = 1, 2
        rows, columns = 2 * np.arange(12) - 2, 2 * np.arange(14) + 1
        seen = np.zeros((2, 12, 14))
        inside = (rows >= 0) & (rows < 20)
        seen[:, inside] = mask[np.ix_(rows[inside], columns)].transpose(2, 0, 1)
        embedding = np.eye(3)[seen.astype(int)] + draw.normal(0, 0.05, (*seen.shape, 3))
        np.savez(
            folder / f"{name}_embedding.npz",
            embedding=embedding.astype(np.float16),
            origin_px=(-2.0, 1.0),
            step_px=(2.0, 2.0),
        )
        nib.save(nib.Nifti1Image(mask, np.eye(4)), folder / f"{name}_gt.nii.gz")
    return folder


def test_a_regression_finds_what_the_embeddings_show(embedded):
    """Each pixel has the label of its own place; and groups need no masks."""
    words = [sys.executable, str(ROOT / "examples/embeddings_in_sklearn.py")]
    done = subprocess.run(
        [*words, embedded, embedded], capture_output=True, text=True, check=True
    )
    dice = [float(x.split()[-1]) for x in done.stdout.splitlines() if "Dice" in x]
    assert len(dice) == 3 and min(dice) > 0.99
    done = subprocess.run(
        [*words, embedded], capture_output=True, text=True, check=True
    )
    assert sum(map(int, done.stdout.partition(":")[2].split())) == 2 * 12 * 14
