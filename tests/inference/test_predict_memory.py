"""A large scan is predicted within 3 GB, by crops and by whole slices."""

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from tests.support.program import ROOT

MOST_MB = 3000
SHAPE, SPACING_MM = (512, 512, 300), (0.8, 0.8, 2.0)

CHILD = """
import resource, sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from configs import pix2rep
from pix2rep_jax.inference.predict import make_predictors
from pix2rep_jax.inference.segmenter import Segmenter, _join
from pix2rep_jax.inference.write_masks import write_masks
from pix2rep_jax.models.build import make_segmentation_net

crop, scan, target, *wanted = sys.argv[1:]
config = pix2rep.get_config("small")
config.data.update(crop=crop, classes=("BG", "A", "B", "C"))
net = make_segmentation_net(config)
shapes = jax.eval_shape(
    lambda key: net.init(key, jnp.zeros((1, 64, 64, 1)), train=False),
    jax.random.key(0),
)
variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
network = make_predictors(net, {"student": variables}, batch_size=8)["student"]
seen = 0
options = {}

def predict(images):
    # The network takes minutes for all slices, and as much memory for a few.
    global seen
    seen += len(images)
    if seen <= 32:
        return network(images)
    bright = np.asarray(images, np.float32)
    return np.concatenate([1 - bright, *3 * [bright / 3]], -1)

members = [
    Segmenter(
        classes=config.data.classes,
        predict_network=predict,
        percentiles=(1.0, 99.0),
        fov_mm=64 * pixel_mm * (1 if crop == "whole" else 8),
        size=64,
        crop=crop,
    )
    for pixel_mm in ((0.8, 0.9) if "ensemble" in wanted else (0.8,))
]
if "probabilities" in wanted:
    options["probabilities_path"] = lambda path: path.with_name("all.nii.gz")
pairs = [(Path(scan), Path(target))]
(outcome,) = write_masks(_join(members), pairs, overwrite=True, **options)
assert outcome.error is None, outcome.error
assert seen == 300 * len(members)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A body with noise in air, float32 as from a conversion."""
    path = tmp_path_factory.mktemp("ct") / "scan.nii.gz"
    draw = np.random.default_rng(0)
    plane = draw.integers(-1024, -900, SHAPE[:2]).astype(np.int16)
    plane[100:400, 60:450] = draw.integers(-100, 200, (300, 390))
    image = np.empty(SHAPE, np.float32, order="F")
    for index in range(SHAPE[2]):
        image[..., index] = np.roll(plane, index, 0)
    nib.save(nib.Nifti1Image(image, np.diag([*SPACING_MM, 1])), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [["center"], ["whole"], ["whole", "probabilities", "ensemble"]],
    ids=" ".join,
)
def test_a_large_scan_is_predicted_within_3_gb(scan, tmp_path, options):
    """512 x 512 x 300, at its own spacing where slices are seen whole.

    Networks of two grids, with their probabilities, need the most.
    """
    crop, *wanted = options
    target = tmp_path / "mask.nii.gz"
    child = subprocess.run(
        [sys.executable, "-c", CHILD, crop, str(scan), str(target), *wanted],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    assert float(child.stdout) < MOST_MB, child.stdout
    mask = nib.load(target)
    assert mask.shape == SHAPE and np.ptp(np.asarray(mask.dataobj)[..., ::50]) > 0
