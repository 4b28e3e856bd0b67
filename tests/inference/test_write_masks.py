"""Masks of many scans: those that each has alone, with few scans in memory."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data.files import nifti
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference import write_masks as module
from pix2rep_jax.inference.joined_batches import predict_joined
from pix2rep_jax.inference.predict import make_predictors
from pix2rep_jax.inference.segmenter import Segmenter
from pix2rep_jax.inference.write_masks import write_masks
from pix2rep_jax.models.heads import SegmentationHead
from pix2rep_jax.models.segmentation_net import SegmentationNet
from pix2rep_jax.models.unet import UNet

CLASSES = ("BG", "RV", "MYO", "LV")
SHAPES = [(20, 24, 3), (24, 18, 1), (30, 20, 11), (22, 22), (20, 20, 2, 3), (9, 40, 8)]


@pytest.fixture(scope="module")
def predict_network():
    """A small network of random weights, in batches of 4."""
    net = SegmentationNet(UNet((4, 8), 4), SegmentationHead(4))
    init, image = functools.partial(net.init, train=False), jnp.zeros((1, 16, 16, 1))
    shapes = jax.eval_shape(init, jax.random.key(0), image)
    draw = np.random.default_rng(3)
    variables = jax.tree.map(  # variances must be positive
        lambda leaf: (
            draw.normal(0, 0.5, leaf.shape)
            if len(leaf.shape) > 1
            else draw.uniform(0.05, 1, leaf.shape)
        ).astype(np.float32),
        shapes,
    )
    return make_predictors(net, {"": variables}, batch_size=4)[""]


def make_segmenter(predict_network):
    return Segmenter(
        classes=CLASSES,
        predict_network=predict_network,
        percentiles=(1.0, 99.0),
        fov_mm=28.0,
        size=16,
        batch_size=4,
    )


def save(folder, shapes):
    """Saves a scan of each shape; returns their pairs with the masks' paths."""
    draw, pairs = np.random.default_rng(0), []
    for number, shape in enumerate(shapes):
        path = folder / f"{number}.nii.gz"
        nib.save(nib.Nifti1Image(draw.random(shape, np.float32), np.eye(4)), path)
        pairs.append((path, folder / "masks" / f"{number}_seg.nii.gz"))
    return pairs


def one_after_another(segmenter, scan):
    """The mask of a file, each frame of it with batches of its own."""
    volume = nifti.read_volume(scan)
    frames = volume.array.reshape(*volume.array.shape[:3], -1)
    masks = [
        segmenter.predict(frame, spacing_mm=volume.spacing_mm[:2])
        for frame in np.moveaxis(frames, 3, 0)
    ]
    return np.stack(masks, -1).reshape(nib.load(scan).shape)


def test_masks_are_those_of_one_scan_after_another(tmp_path, predict_network):
    """Whatever scans share its batches: with 2 to 4 axes, and fewer or more slices
    than a batch."""
    segmenter, pairs = make_segmenter(predict_network), save(tmp_path, SHAPES)
    outcomes = [*write_masks(segmenter, pairs, overwrite=False)]
    assert [(each.scan, each.error) for each in outcomes] == [
        (scan, None) for scan, _ in pairs
    ]
    found = set()
    for scan, target in pairs:
        mask = np.asarray(nib.load(target).dataobj)
        np.testing.assert_array_equal(mask, one_after_another(segmenter, scan))
        np.testing.assert_array_equal(mask, segmenter.predict(scan))
        found |= {*np.unique(mask).tolist()}
    assert len(found) > 1


def test_a_slice_has_its_probabilities_in_any_batch(predict_network):
    """To rounding: another place in the batch, beside other slices."""
    images = np.random.default_rng(2).random((9, 16, 16, 1), np.float32)
    whole = predict_network(images)
    scans = [(0, images[:1]), (1, images[1:1]), (2, images[1:6]), (3, images[6:])]
    joined = dict(predict_joined(predict_network, scans, batch_size=4))
    assert [len(joined[scan]) for scan in range(4)] == [1, 0, 5, 3]
    together = np.stack([each for scan in range(4) for each in joined[scan]])
    np.testing.assert_allclose(together, whole, atol=1e-6)
    alone = np.concatenate([predict_network(image[None]) for image in images])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_batches_are_full_but_for_the_last():
    """Scans come out as soon as all of their slices were predicted."""
    sizes, seen = [], []

    def predict(images):
        sizes.append(len(images))
        return images

    scans = [
        (number, np.zeros((length, 1, 1))) for number, length in enumerate([3, 2, 9, 1])
    ]
    for scan, _ in predict_joined(predict, scans, batch_size=4):
        seen.append((scan, sum(sizes)))
    assert sizes == [4, 8, 3]
    assert seen == [(0, 4), (1, 12), (2, 15), (3, 15)]


def test_few_scans_are_read_ahead(tmp_path, predict_network, monkeypatch):
    """The reader waits for the network, and the network for the writer."""
    pairs = save(tmp_path, [(12, 12, 4)] * 12)
    read, predicted, written = [], [], []
    original = Segmenter.read_files

    def read_files(self, paths):
        read.append(paths)
        assert len(read) - len(predicted) <= module.AHEAD + 1
        return original(self, paths)

    def predict(images):
        predicted.append(len(images))
        assert len(predicted) - len(written) <= module.BEHIND + 1
        return predict_network(images)

    monkeypatch.setattr(Segmenter, "read_files", read_files)
    for outcome in write_masks(make_segmenter(predict), iter(pairs), overwrite=False):
        assert outcome.error is None
        written.append(outcome)
    assert len(read) == len(written) == 12 and predicted == [4] * 12


def test_a_scan_is_dropped_once_it_is_on_the_networks_grid(tmp_path, predict_network):
    """Only its slices there wait for the network, not its own pixels."""
    pairs = save(tmp_path, [(64, 64, 9)])
    scan = module._read(make_segmenter(predict_network), pairs[0])
    assert [each.shape for each in scan.images] == [(9, 16, 16, 1)]
    assert scan.scan.array.shape == (64, 64, 9, 1, 1)
    assert scan.scan.array.strides == (0, 0, 0, 0, 0)
    assert scan.scan.volume.array.strides == (0, 0, 0)


@pytest.mark.parametrize("bad", [0, 2, 5])
def test_a_bad_file_changes_nothing_for_the_others(tmp_path, predict_network, bad):
    """First, in the middle and last; outcomes keep the order of the scans."""
    segmenter, pairs = make_segmenter(predict_network), save(tmp_path, SHAPES)
    expected = [one_after_another(segmenter, scan) for scan, _ in pairs]
    pairs[bad][0].write_bytes(b"damaged")
    outcomes = [*write_masks(segmenter, pairs, overwrite=False)]
    assert [each.scan for each in outcomes] == [scan for scan, _ in pairs]
    for number, (outcome, (_, target)) in enumerate(zip(outcomes, pairs, strict=True)):
        if number == bad:
            assert isinstance(outcome.error, InputError) and not target.exists()
        else:
            assert outcome.error is None
            np.testing.assert_array_equal(nib.load(target).dataobj, expected[number])


def test_a_scan_that_the_network_cannot_take_is_left_out(tmp_path, predict_network):
    """Scans that shared its batch are predicted without it."""
    segmenter, pairs = make_segmenter(predict_network), save(tmp_path, SHAPES[:5])
    expected = [one_after_another(segmenter, scan) for scan, _ in pairs]
    too_much, _ = segmenter.prepare(
        segmenter.read_files([pairs[2][0]]).array, spacing_mm=(1.0, 1.0)
    )

    def predict(images):
        if (images[:, None] == too_much[None, 3]).all((2, 3, 4)).any():
            raise MemoryError("too much")
        return predict_network(images)

    outcomes = [*write_masks(make_segmenter(predict), pairs, overwrite=False)]
    assert [type(each.error) for each in outcomes] == [
        MemoryError if number == 2 else type(None) for number in range(5)
    ]
    for number in (0, 1, 3, 4):
        mask = nib.load(pairs[number][1]).dataobj
        np.testing.assert_array_equal(mask, expected[number])


def test_a_mask_that_cannot_be_written_is_named(tmp_path, predict_network):
    """A file stands where its folder should be; the others are written."""
    pairs = save(tmp_path, SHAPES[:3])
    (tmp_path / "file").touch()
    pairs[1] = (pairs[1][0], tmp_path / "file" / "1_seg.nii.gz")
    outcomes = [*write_masks(make_segmenter(predict_network), pairs, overwrite=False)]
    assert [each.error is None for each in outcomes] == [True, False, True]
    assert pairs[0][1].exists() and pairs[2][1].exists()
    before = pairs[0][1].stat()
    again = [*write_masks(make_segmenter(predict_network), pairs[:1], overwrite=False)]
    assert again[0].error is None and again[0].rows == ()
    assert pairs[0][1].stat() == before


class Clock:
    """A bar that keeps how far it was, and by how much it waits."""

    def __init__(self, total, *, delay_s, show=True, **options):
        self.total, self.delay_s, self.show, self.done = total, delay_s, show, 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def update(self):
        self.done += 1


def test_a_bar_goes_through_a_scan_that_is_compared(tmp_path, monkeypatch):
    """Part by part, and the masks are those that the whole scan would get."""
    bars, seen = [], []

    def open_bar(total, **options):
        bars.append(Clock(total, **options))
        return bars[-1]

    def compare(images):
        seen.append((len(images), bars[-1].done))
        bright = images[..., :1] > 0.6
        return np.concatenate([~bright, bright, 0 * bright, 0 * bright], -1) * 1.0

    monkeypatch.setattr(module, "open_progress_bar", open_bar)
    plain = make_segmenter(compare)
    by_support = dataclasses.replace(plain, predict_frames=lambda frames: frames)
    pairs = save(tmp_path, [(20, 24, 11)])
    ((scan, target),) = pairs
    (outcome,) = write_masks(by_support, pairs, overwrite=False)
    assert outcome.error is None
    assert seen == [(4, 0), (4, 4), (3, 8)]
    (bar,) = bars
    assert (bar.total, bar.done, bar.delay_s, bar.show) == (11, 11, 5, True)
    mask = np.asarray(nib.load(target).dataobj)
    np.testing.assert_array_equal(mask, plain.predict(scan))
