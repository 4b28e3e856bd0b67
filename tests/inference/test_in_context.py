"""In-context segmentation by a network that shows the brightness of pixels."""

import numpy as np
import pytest

from pix2rep_jax.inference import nearest_pixels
from pix2rep_jax.inference.in_context import (
    Options,
    embed_support,
    find_frame,
    predict_by_support,
    propagate,
    read_options,
)
from tests.support.stored import count_taken, store

OPTIONS = Options(neighbours=5, temperature=0.03, most_pixels=10_000)


def brightness(images):
    """An embedding whose angle is the brightness of the pixel."""
    angle = images[..., 0] * np.pi / 2
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def make_slices(count=6, size=16, seed=0, shift=0):
    """A bright square and a grey one on black; their classes are 2 and 1."""
    labels = np.zeros((count, size, size), np.uint8)
    labels[:, 2:7, 2 + shift : 7 + shift] = 1
    labels[:, 9:14, 8:13] = 2
    noise = np.random.default_rng(seed).normal(0, 0.02, labels.shape)
    images = (labels / 2 + noise).clip(0, 1)[..., None].astype(np.float32)
    boxes = np.tile([0, size - 1, 0, size - 1], (count, 1))
    return images, labels, boxes


def ask(support, images, options=OPTIONS):
    pixels = embed_support(brightness, *support, most_pixels=options.most_pixels)
    return predict_by_support(
        brightness, pixels, images, num_classes=3, options=options
    )


def test_a_scan_by_its_own_mask_is_nearly_right():
    support = make_slices()
    shares = ask(support, support[0])
    np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-5)
    assert (shares.argmax(-1) == support[1]).mean() > 0.999


def test_another_scan_takes_the_classes_of_its_like():
    images, labels, _ = make_slices(seed=3, shift=5)
    assert (ask(make_slices(), images).argmax(-1) == labels).mean() > 0.999


def test_padding_of_the_support_does_not_vote():
    """Here the left half of the support is no scan, and would be a class of its own."""
    images, labels, boxes = make_slices()
    labels = np.where(np.arange(16) < 8, 2, labels).astype(np.uint8)
    boxes = np.tile([0, 15, 8, 15], (len(boxes), 1))
    black = np.zeros((1, 16, 16, 1), np.float32)
    assert (ask((images, labels, boxes), black).argmax(-1) == 0).all()


def test_few_pixels_of_a_class_vote_for_all():
    """A sample of each class with weights gives the shares of all pixels."""
    black = np.zeros((1, 16, 16, 1), np.float32)
    labels = np.zeros((4, 16, 16), np.uint8)
    labels.reshape(-1)[::4] = 1  # a quarter, and all pixels look alike
    support = np.zeros((4, 16, 16, 1), np.float32), labels, np.tile([0, 15] * 2, (4, 1))
    options = Options(neighbours=100, temperature=0.0, most_pixels=50)
    shares = ask(support, black, options)
    np.testing.assert_allclose(shares[0, 0, 0], [0.75, 0.25, 0], atol=1e-6)


def test_a_mask_is_taken_through_the_frames_that_change():
    """The brightness drifts until the first frame alone says the wrong class; the frame
    before still says the right one. That holds forwards and backwards in time."""
    images, labels, boxes = make_slices(2)
    drift = np.array([0.30, 0.20, 0.10, 0.0, 0.1, 0.2, 0.3])
    frames = np.stack([np.where(images > 0.75, images - x, images) for x in drift])
    steps: list[int] = []
    shares = propagate(
        brightness,
        frames.astype(np.float32),
        labels,
        boxes,
        start=3,
        num_classes=3,
        options=OPTIONS,
        advance=lambda: steps.append(1),
    )
    assert shares.shape == (7, 2, 16, 16, 3) and len(steps) == 6
    np.testing.assert_array_equal(shares[3].argmax(-1), labels)
    alone = ask((images, labels, boxes), frames[0].astype(np.float32)).argmax(-1)
    for frame in (0, 6):
        right = shares[frame].argmax(-1) == labels
        assert right.mean() > 0.99
        assert (alone == labels).mean() < 0.95


def test_a_frame_is_found_by_what_it_shows():
    frames = np.random.default_rng(0).random((4, 2, 8, 8, 1)).astype(np.float32)
    assert find_frame(frames, frames[2]) == 2
    assert find_frame(frames, frames[2] + 0.01) is None
    assert find_frame(frames, frames[2, :1]) is None


def test_runs_without_the_section_have_the_defaults():
    assert read_options({}) == Options()
    assert read_options({"context": {"neighbours": 7}}) == Options(neighbours=7)


def test_the_defaults_are_those_of_the_configuration():
    from configs.pix2rep import get_config

    for size in ("quick", "small", "paper"):
        assert read_options(get_config(size)) == Options()


def test_support_on_the_disk_is_read_a_few_slices_at_a_time(tmp_path, monkeypatch):
    """And is the support that slices in memory are."""
    images, labels, boxes = make_slices(30)
    stored = store(tmp_path / "slices", (images, labels))
    taken = count_taken(monkeypatch)
    monkeypatch.setattr(nearest_pixels, "_PIXELS_AT_ONCE", 4 * 16 * 16)
    found, expected = (
        embed_support(brightness, *arrays, boxes, most_pixels=100)
        for arrays in (stored, (images, labels))
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    assert max(taken) == 4


@pytest.mark.parametrize("most", [1, 40, 10_000])
def test_the_support_is_bounded(most):
    pixels = embed_support(brightness, *make_slices(), most_pixels=most)
    counts = np.bincount(pixels.labels, minlength=3)
    assert (counts <= most).all()
    assert pixels.vectors.shape == (counts.sum(), 2)
