"""What TensorBoard gets of a run besides its numbers, without changing it."""

import io
import shutil
import types

import jax
import numpy as np
import pytest
from PIL import Image

from pix2rep_jax.figures.colors import class_rgb
from pix2rep_jax.figures.tiles import tile_predictions, tile_views
from pix2rep_jax.modes.logged_pictures import with_pictures
from pix2rep_jax.runs.checkpoint_reader import restore_params
from tests.runs.test_metric_log import read_events
from tests.support.program import start, succeed


def test_a_run_shows_its_settings_scores_and_pictures(workdir):
    """Views of a pretraining, predictions of a segmenter at first and at last."""
    for mode, name, steps in (
        ("pretrain", "views", [24]),
        ("finetune", "predictions", [1, 4]),
        ("probe", "predictions", [1, 4]),
    ):
        found = {}
        for event in read_events(workdir / mode):
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value))
        assert [step for step, _ in found[name]] == steps
        picture = found[name][-1][1].image.encoded_image_string
        pixels = np.asarray(Image.open(io.BytesIO(picture)))
        assert pixels.shape[1:] == (3 * 32 + 2 * 2, 3) and pixels.std() > 10
        (text,) = found["config"][0][1].tensor.string_val
        assert b"data.size = 32" in text
        assert ("val_dice" in found) == (mode != "pretrain")


def test_pictures_do_not_change_a_training(workdir, cache, tmp_path):
    """The same bits without any."""
    shutil.copytree(workdir / "pretrain", tmp_path / "pretrain")
    succeed(start("finetune", tmp_path, cache, log__pictures_every=0))
    runs = [folder / "finetune" for folder in (workdir, tmp_path)]
    for one, two in zip(
        *(jax.tree.leaves(restore_params(x)) for x in runs), strict=True
    ):
        np.testing.assert_array_equal(one, two)
    tags = {v.tag for x in read_events(runs[1]) for v in x.summary.value}
    assert "predictions" not in tags and "config" in tags


@pytest.mark.parametrize(
    ("every", "drawn"), [(1, [10, 20, 30, 40, 45]), (3, [10, 40, 45]), (0, [])]
)
def test_pictures_are_drawn_every_few_measurements(every, drawn, caplog):
    """At the first and the last; one that fails is said, and the score comes still."""
    steps = []
    log = types.SimpleNamespace(
        write_image=lambda step, name, pixels: steps.append(step)
    )
    options = {"every": every, "measured_every": 10, "num_steps": 45}

    def fail(state):
        raise ValueError("no picture")

    for show in (lambda state: ("a", np.zeros((1, 1, 3))), fail):
        measure = with_pictures(lambda state: {"x": 1.0}, show, log, **options)
        for step in (10, 20, 30, 40, 45):
            assert measure(types.SimpleNamespace(step=step)) == {"x": 1.0}
    assert steps == drawn and len(caplog.records) == len(drawn)


def test_tiles_hold_the_slices_and_their_colours():
    """Three columns; what nobody has labelled stays grey."""
    images = np.random.default_rng(0).random((2, 4, 5, 1))
    labels = np.zeros((2, 4, 5), np.uint8)
    labels[0, 0, 0], labels[1, 3, 4] = 2, 255
    pixels = tile_predictions(images, labels, np.zeros_like(labels))
    assert pixels.shape == (2 * 4 + 2, 3 * 5 + 2 * 2, 3)
    grey = (255 * images[0, 0, 0, 0]).round()
    assert pixels[0, 0].tolist() == [grey] * 3
    expected = 0.55 * grey + 0.45 * np.array(class_rgb(2))
    np.testing.assert_allclose(pixels[0, 7], expected, atol=0.6)
    np.testing.assert_array_equal(pixels[1:4, :5], pixels[1:4, 7:12])
    np.testing.assert_array_equal(pixels[6:10, :5], pixels[6:10, 7:12])
    assert (pixels[:4, 5:7] == 255).all() and (pixels[4:6] == 255).all()
    valid = np.ones((2, 4, 5), bool)
    valid[0, 1, 1] = False
    views = tile_views(images, images, images, valid)
    assert views[1, 15].tolist() == [40, 60, 110]
