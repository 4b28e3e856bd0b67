"""The benchmark of predict compares two ways to the same masks."""

import nibabel as nib
import numpy as np

from benchmarks import predict
from pix2rep_jax.inference.segmenter import Segmenter


def thirds(images):
    """A network that tells dark, grey and bright apart, not quite for certain."""
    images = images[..., 0]
    scores = [1 - images, np.full_like(images, 0.6), images]
    return (np.stack(scores, -1) / 1.6).astype(np.float32)


def test_both_ways_write_the_same_masks(tmp_path):
    """Of several scans and frames; a pixel that differs would be counted."""
    segmenter = Segmenter(("BG", "RV", "LV"), thirds, (1.0, 99.0), fov_mm=130, size=40)
    before, after = [], []
    for number, shape in enumerate([(30, 40, 3), (40, 30, 2, 2), (25, 25, 9)]):
        scan = tmp_path / f"{number}.nii.gz"
        array = np.random.default_rng(number).random(shape, np.float32)
        nib.save(nib.Nifti1Image(array, np.diag([4.0, 4.0, 9.0, 1.0])), scan)
        before.append((scan, tmp_path / f"before{number}.nii.gz"))
        after.append((scan, tmp_path / f"after{number}.nii.gz"))
    images = predict.prepare_all(segmenter, before)
    assert images.shape == (3 + 4 + 9, 40, 40, 1)
    predict.one_after_another(segmenter, before)
    predict.together(segmenter, after)
    assert predict.count_differing(before, after) == 0
    mask = np.asarray(nib.load(after[0][1]).dataobj)
    assert {*np.unique(mask)} == {0, 1, 2}
    nib.save(nib.Nifti1Image(1 + mask, np.eye(4)), after[0][1])
    assert predict.count_differing(before, after) == mask.size


def test_rows_take_turns():
    """The first round is not counted, and each row has both times."""
    order = []
    rows = {name: lambda name=name: order.append(name) for name in "ab"}
    spent = predict.take_turns(rows, rounds=3)
    assert order == [*"abababab"]
    assert {name: values.shape for name, values in spent.items()} == {
        "a": (3, 2),
        "b": (3, 2),
    }
