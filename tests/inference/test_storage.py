"""A mask lies on its scan, and its Dice does not depend on how the file stores it.

The network is an oracle that takes bright pixels for the structure. So all that is lost
is lost on the way to its grid and back.
"""

import json

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data.files.axes import SliceRule
from pix2rep_jax.data.slice_summary import Inputs
from pix2rep_jax.inference.segmenter import Segmenter
from tests.support.program import finish, start

TURN = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.3, 0.2, -0.25), [12.0, -30.0, 5.0]
)
ORDERS = {
    "third": (0, 1, 2),
    "first": (2, 0, 1),
    "second": (0, 2, 1),
    "turned": (1, 0, 2),
}
THICK = 4  # slices are so many times as far apart as pixels


def bright(images):
    """Takes what is brighter than the middle of the range in all channels."""
    share = 1 / (1 + np.exp(-30 * (np.asarray(images, np.float32).mean(-1) - 0.5)))
    return np.stack([1 - share, share], -1)


def make_segmenter(crop, *, side_px, spacing_mm, channels=1, **options):
    """A centred crop that holds the scan, or whole slices of at most 160 px."""
    pixel_mm = spacing_mm * max(1.0, side_px / 160)
    size = 64
    return Segmenter(
        classes=("BG", "A"),
        predict_network=bright,
        percentiles=(0.0, 100.0),
        fov_mm=size * pixel_mm if crop == "whole" else side_px * spacing_mm,
        size=size,
        inputs=Inputs(channels=channels),
        crop=crop,
        **options,
    )


def make_scan(shape=(48, 40, 4)):
    """An ellipse beside the middle, which tells all turns and mirrors apart."""
    rows, columns, slices = np.indices(shape)
    y = (rows + 0.5) / shape[0] - 0.36
    x = (columns + 0.5) / shape[1] - 0.6
    inside = (y / 0.17) ** 2 + ((x - 0.5 * y) / 0.24) ** 2 < 1
    inside &= slices < max(1, shape[2] - 1)
    noise = 0.1 * np.random.default_rng(0).random(shape, np.float32)
    return noise + 0.9 * inside.astype(np.float32), inside


def store(path, array, order, *, flip=(), oblique=False, spacing_mm=1.0):
    """Writes `[rows, columns, slices, …]` with its axes in another order."""
    sizes = np.array([spacing_mm, spacing_mm, THICK * spacing_mm])[list(order)]
    turned = np.flip(array.transpose(*order, *range(3, array.ndim)), flip)
    affine = np.diag([*sizes, 1.0])
    for axis in flip:
        affine[:3, 3] += affine[:3, axis] * (turned.shape[axis] - 1)
        affine[:3, axis] *= -1
    nib.save(nib.Nifti1Image(turned, (TURN if oblique else np.eye(4)) @ affine), path)
    return path


def read_back(mask, order, flip):
    """Undoes `store`."""
    return np.flip(mask, flip).transpose(np.argsort(order))


def dice(mask, truth):
    return 2 * (mask & truth).sum() / (mask.sum() + truth.sum())


@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize("flip", [(), (0,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("crop", ["center", "whole"])
def test_the_axes_of_a_file_change_nothing(tmp_path, crop, order, flip, oblique):
    """Slices first, second and third; turned by quarters; flipped; oblique."""
    image, truth = make_scan()
    segmenter = make_segmenter(crop, side_px=48, spacing_mm=1.25)
    path, order = tmp_path / "scan.nii.gz", ORDERS[order]
    store(path, image, order, flip=flip, oblique=oblique, spacing_mm=1.25)
    found = read_back(segmenter.predict(path), order, flip) == 1
    plain = segmenter.predict(image, spacing_mm=(1.25, 1.25)) == 1
    assert dice(plain, truth) > 0.97
    assert dice(found, truth) == pytest.approx(dice(plain, truth), abs=0.01)


@pytest.mark.parametrize(
    "shape", [(16, 16, 3), (17, 16, 1), (128, 700, 2), (333, 41, 2), (700, 699, 1)]
)
@pytest.mark.parametrize("crop", ["center", "whole"])
def test_sides_from_16_to_700_px(tmp_path, crop, shape):
    """As a file with its slices first, against the array; one slice is one slice."""
    image, truth = make_scan(shape)
    segmenter = make_segmenter(crop, side_px=max(shape), spacing_mm=0.7)
    path = store(tmp_path / "scan.nii.gz", image, (2, 0, 1), spacing_mm=0.7)
    found = read_back(segmenter.predict(path), (2, 0, 1), ()) == 1
    plain = segmenter.predict(image, spacing_mm=(0.7, 0.7)) == 1
    # A short side has few of the large pixels.
    least = 0.95 if min(shape[:2]) * 4 > max(shape) else 0.6
    assert dice(plain, truth) > least
    assert dice(found, truth) == pytest.approx(dice(plain, truth), abs=0.01)


@pytest.mark.parametrize("spacing_mm", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("crop", ["center", "whole"])
def test_spacing_from_a_tenth_to_10_mm(tmp_path, crop, spacing_mm):
    """The same pixels of any size have the same mask."""
    image, truth = make_scan()
    segmenter = make_segmenter(crop, side_px=48, spacing_mm=spacing_mm)
    path = store(tmp_path / "s.nii.gz", image, (0, 1, 2), spacing_mm=spacing_mm)
    found = segmenter.predict(path) == 1
    usual = make_segmenter(crop, side_px=48, spacing_mm=1.0)
    expected = usual.predict(image, spacing_mm=(1.0, 1.0)) == 1
    assert dice(found, truth) > 0.97
    assert (found != expected).sum() <= 0.001 * truth.size


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("crop", ["center", "whole"])
def test_one_to_four_channels(tmp_path, crop, channels):
    """In one file, whose fourth axis has them, with its slices second."""
    image, truth = make_scan()
    several = np.stack([image * (i + 1) for i in range(channels)], -1)
    stored = several if channels > 1 else several[..., 0]
    segmenter = make_segmenter(crop, side_px=48, spacing_mm=1.0, channels=channels)
    path = store(tmp_path / "scan.nii.gz", stored, ORDERS["second"])
    found = read_back(segmenter.predict(path), ORDERS["second"], ()) == 1
    assert dice(found, truth) > 0.97


@pytest.mark.slow
@pytest.mark.parametrize("crop", ["center", "whole"])
def test_a_trained_network_too(tmp_path, cache, crop):
    """Trained on the phantom by the command line, on scans turned to one orientation.

    However a test patient's scan is stored, the mask has the Dice of the file as it is.
    """
    changes = {
        "data.crop": crop,
        "data.crop_px": 0,
        "data.spacing_mm": 2.5,
        "data.size": 64,
        "data.orientation": "canonical",
        "init.checkpoint": "none",
        "model.channels": "8,16,32",
        "model.scratch_num_features": 8,
        "finetune.num_steps": 900,
        "finetune.scratch_learning_rate": 3e-3,
        "finetune.batch_size": 8,
        "log.validate_every": 50,
    }
    result = finish(start("finetune", tmp_path / "run", cache, **changes))
    assert result.returncode == 0, result.stderr[-2000:]
    scores = json.loads((tmp_path / "run/finetune/evaluation.json").read_text())
    assert scores["dice"]["mean_foreground"] > 0.4
    (folder,) = cache.glob("phantom-seed*-5-2")
    scan = next(folder.glob("testing/*/*_frame01.nii.gz"))
    segmenter = Segmenter.load(tmp_path / "run")
    assert segmenter.rule == SliceRule("auto", "canonical", segmenter.rule.expected)
    label = np.asarray(nib.load(str(scan).replace(".nii", "_gt.nii")).dataobj)
    own = dice(segmenter.predict(scan) == 3, label == 3)
    image = nib.load(scan)
    for order in ORDERS.values():
        for flip in ((), (0, 1)):
            codes = [
                (int(axis), -1 if axis in flip else 1) for axis in np.argsort(order)
            ]
            turned = image.as_reoriented(np.array(codes))
            path = tmp_path / "turned.nii.gz"
            nib.save(turned, path)
            back = nib.orientations.ornt_transform(
                np.array([(0, 1), (1, 1), (2, 1)]), np.array(codes)
            )
            found = nib.orientations.apply_orientation(segmenter.predict(path), back)
            expected = nib.orientations.apply_orientation(
                np.asarray(turned.dataobj), back
            )
            np.testing.assert_array_equal(expected, np.asarray(image.dataobj))
            assert dice(found == 3, label == 3) == pytest.approx(own, abs=0.02)
