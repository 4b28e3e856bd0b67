"""A scan of another format than a network was trained on: what its pixels measure."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from pix2rep_jax.data.slice_summary import Inputs
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.segmenter import Segmenter

NIFTI, SIZED, UNSIZED = (
    Inputs(),
    Inputs(pictures=True, sizes=True),
    Inputs(pictures=True),
)


@pytest.fixture
def paths(tmp_path):
    """The same pixels as a picture, with or without a size, and as NIfTI."""
    pixels = np.random.default_rng(0).integers(0, 255, (20, 24), np.uint8)
    found = {}
    for name in ("bare", "sized"):
        found[name] = tmp_path / name / "p.png"
        found[name].parent.mkdir()
        Image.fromarray(pixels).save(found[name])
    (tmp_path / "sized" / "pixel_sizes.csv").write_text("name,mm\np,0.5\n")
    for side in (1.0, 0.5):
        found[side] = tmp_path / f"s{side}.nii.gz"
        affine = np.diag([side, side, 5, 1])
        nib.save(nib.Nifti1Image(pixels[..., None], affine), found[side])
    return found


def predict(inputs, path):
    half = lambda images: np.full((*images.shape[:3], 2), 0.5, np.float32)  # noqa: E731
    segmenter = Segmenter(("BG", "A"), half, (1, 99), fov_mm=16, size=16, inputs=inputs)
    return segmenter.predict(path)


@pytest.mark.parametrize(
    ("inputs", "given"),
    [(NIFTI, "sized"), (SIZED, 0.5), (SIZED, 1.0), (UNSIZED, 1.0)],
)
def test_another_format_is_said_where_sizes_fit(paths, caplog, inputs, given):
    """Both are in mm, or a pixel is 1 mm as the pictures' were taken to be."""
    predict(inputs, paths[given])
    assert sum("was trained on" in each.getMessage() for each in caplog.records) == 1


@pytest.mark.parametrize(
    ("inputs", "given"), [(NIFTI, "bare"), (SIZED, "bare"), (UNSIZED, 0.5)]
)
def test_sizes_that_nobody_knows_are_refused(paths, inputs, given):
    """A mask would be of another scale than the network's, without a word."""
    with pytest.raises(InputError, match=r"pixel_sizes\.csv"):
        predict(inputs, paths[given])


@pytest.mark.parametrize(
    ("inputs", "given"), [(NIFTI, 0.5), (SIZED, "sized"), (UNSIZED, "bare")]
)
def test_the_same_format_has_no_note(paths, caplog, inputs, given):
    predict(inputs, paths[given])
    assert not any("was trained on" in each.getMessage() for each in caplog.records)
