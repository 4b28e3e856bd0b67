"""Large slices in tiles, and what is held in memory at once."""

import numpy as np
import pytest

from pix2rep_jax.inference import predict
from pix2rep_jax.inference.joined_batches import predict_joined
from pix2rep_jax.inference.predict import predict_scan, predict_slices
from pix2rep_jax.inference.tiles import predict_in_tiles, tile_starts


def double(images):
    """Probabilities that depend on their own pixel alone."""
    return np.concatenate([images, 1 - images], -1)


@pytest.mark.parametrize(("length", "side"), [(64, 64), (65, 64), (200, 64), (7, 7)])
def test_tiles_cover_an_axis_and_overlap(length, side):
    """From its first to its last pixel, each next one by a quarter at least."""
    starts = np.array(tile_starts(length, side))
    assert starts[0] == 0 and starts[-1] + side == length
    assert (np.diff(starts) <= 0.75 * side).all() and len(set(starts)) == len(starts)


@pytest.mark.parametrize("shape", [(64, 64), (100, 150), (40, 200)])
def test_tiles_of_a_pointwise_network_are_the_whole(shape):
    """Weights divide out, in each pixel."""
    image = np.random.default_rng(0).random((*shape, 1)).astype(np.float32)
    found = predict_in_tiles(double, image, side=64)
    np.testing.assert_allclose(found, double(image), atol=1e-6)


def test_where_tiles_overlap_the_middle_of_a_tile_counts_more():
    """A network that knows its middle only: the seam is the mean of both."""

    def middle(images):
        columns = np.abs(np.arange(64) - 31.5) < 16
        known = np.broadcast_to(columns[None, None, :, None], images.shape)
        return np.concatenate([known, ~known], -1).astype(np.float32)

    found = predict_in_tiles(middle, np.zeros((64, 112, 1), np.float32), side=64)
    assert (found[:, 16:48, 0] > 0.9).all()
    assert (found[:, 64:96, 0] > 0.9).all()


def test_only_slices_that_would_not_fit_are_tiled(monkeypatch):
    """By their pixels and the network's features."""
    seen = []
    monkeypatch.setattr(predict, "_LARGEST_MAP", 64 * 1024)
    monkeypatch.setattr(predict, "_PIXELS_AT_ONCE", 32 * 32)
    tiled = lambda run, image: seen.append(image.shape) or run(image[None])[0]  # noqa: E731
    monkeypatch.setattr(predict, "predict_in_tiles", tiled)
    images = np.random.default_rng(0).random((3, 32, 32, 1)).astype(np.float32)
    run = lambda variables, images: double(images)  # noqa: E731
    options = {"batch_size": 2, "num_features": 64}
    np.testing.assert_array_equal(
        predict_slices(run, None, images, **options), double(images)
    )
    assert seen == []
    large = np.zeros((2, 64, 32, 1), np.float32)
    predict_slices(run, None, large, **options)
    assert seen == [(64, 32, 1)] * 2


def test_large_slices_come_in_smaller_batches():
    """One slice of 512 x 512 at once, and as many as ever of 64 x 64."""
    sizes = []

    def run(variables, images):
        sizes.append(images.shape)
        return double(images)

    predict_slices(run, None, np.zeros((2, 512, 512, 1)), batch_size=8)
    predict_slices(run, None, np.zeros((9, 64, 64, 1)), batch_size=8)
    assert sizes == [(1, 512, 512, 1)] * 2 + [(8, 64, 64, 1)] * 2


def test_a_scan_is_predicted_part_by_part(monkeypatch):
    """Full batches each, and no slice before the caller asks for it."""
    monkeypatch.setattr(predict, "_PIXELS_KEPT", 5 * 64)
    images = np.random.default_rng(0).random((9, 8, 8, 1)).astype(np.float32)
    parts = []
    run = lambda part: parts.append(len(part)) or double(part)  # noqa: E731
    found = predict_scan(run, images, batch_size=2)
    first = next(found)
    assert parts == [4]
    np.testing.assert_array_equal([first, *found], double(images))
    assert parts == [4, 4, 1]


def test_scans_of_several_sizes_are_not_joined_and_finished_at_once():
    """Each call has slices of one size, and what is kept is what `finish` gives."""
    draw = np.random.default_rng(0)
    scans = [
        (name, draw.random((number, side, side, 1)).astype(np.float32))
        for name, number, side in (("a", 3, 8), ("b", 2, 8), ("c", 3, 16), ("d", 1, 8))
    ]
    sizes = []

    def run(images):
        sizes.append(images.shape[:2])
        return double(images)

    finish = lambda item, each: (item, float(each[..., 0].sum()))  # noqa: E731
    found = dict(predict_joined(run, iter(scans), batch_size=4, finish=finish))
    assert [*found] == ["a", "b", "c", "d"]
    for name, images in scans:
        expected = [(name, float(image.sum())) for image in images]
        assert [each[0] for each in found[name]] == [name] * len(images)
        np.testing.assert_allclose(
            [each[1] for each in found[name]], [x[1] for x in expected], rtol=1e-5
        )
    assert sizes == [(4, 8), (1, 8), (3, 16), (1, 8)]


def test_a_scan_that_fails_among_others_fails_alone():
    """Whatever is kept of the others."""

    def run(images):
        if (images > 1).any():
            raise ValueError("too bright")
        return double(images)

    scans = [("good", np.zeros((2, 8, 8, 1))), ("bad", np.full((1, 8, 8, 1), 2.0))]
    finish = lambda item, each: item  # noqa: E731
    found = dict(predict_joined(run, iter(scans), batch_size=8, finish=finish))
    assert found["good"] == ["good", "good"] and isinstance(found["bad"], ValueError)
