"""The configurations: the paper's recipe, and what the sizes change of it."""

import importlib
import math
import re

import jax
import numpy as np
import pytest

from configs import ablation, pix2rep, study, worth
from pix2rep_jax.methods.pretraining import load_method, make_recipe
from pix2rep_jax.runtime.config_checks import walk
from pix2rep_jax.views import affine


def test_the_base_is_the_papers_recipe():
    """The numbers that section 4 of the paper gives."""
    config = pix2rep.get_config("paper")
    assert config.variant == "paper" and config.data.size == 128
    assert config.model.num_features == 1024
    assert config.model.scratch_num_features == 128
    assert config.model.channels[-5:] == (128, 256, 512, 1024, 2048)
    pretrain, finetune = config.pretrain, config.finetune
    assert (pretrain.num_points, pretrain.num_epochs) == (1000, 200)
    assert (pretrain.batch_size, pretrain.learning_rate) == (8, 5e-4)
    assert (config.probe.learning_rate, config.probe.num_epochs) == (1e-2, 100)
    assert finetune.backbone_learning_rate == 5e-5
    assert (finetune.head_learning_rate, finetune.num_epochs) == (1e-2, 100)


@pytest.mark.parametrize("size", pix2rep.SIZES)
def test_all_sizes_have_the_same_settings_of_the_same_types(size):
    """A size changes values; it adds no setting and drops none."""
    paper = dict(walk(pix2rep.get_config("paper")))
    own = dict(walk(pix2rep.get_config(size)))
    assert list(own) == list(paper)
    for name, values in (
        ("data.spacing_mm", ("auto", 1.4, 2.5)),
        ("spatial.upright", ("auto", False)),
        ("augment.spatial.upright", ("auto", False)),
    ):  # each may be a word
        assert own.pop(name) in values
        del paper[name]
    assert {n: type(x) for n, x in own.items()} == {
        n: type(x) for n, x in paper.items()
    }


@pytest.mark.parametrize("size", pix2rep.SIZES)
def test_a_size_means_one_number_of_pretraining_steps(size):
    """In a run by hand as in a study's row; 7,000 at `small`, as published."""
    sections = ("pretrain", "simclr", "byol", "barlow_twins", "chaitanya")
    alone, planned = pix2rep.get_config(size), study.get_config(size)
    assert [alone[x].num_steps for x in sections] == [
        planned[x].num_steps for x in sections
    ]
    assert ablation.get_config(size).pretrain.num_steps == alone.pretrain.num_steps
    if size == "small":
        assert alone.pretrain.num_steps == 7000


def test_medium_is_small_with_the_papers_pixels():
    """One more level, and nothing else of the network."""
    small, medium = (pix2rep.get_config(size) for size in ("small", "medium"))
    assert medium.data.size == pix2rep.get_config("paper").data.size == 128
    assert medium.model.channels == (*small.model.channels, 256)
    for name in ("num_features", "last_hidden", "dtype"):
        assert medium.model[name] == small.model[name]
    assert medium.projection.to_dict() == small.projection.to_dict()
    assert study.get_config("medium").data.spacing_mm == 1.4


@pytest.mark.parametrize("size", pix2rep.SIZES)
def test_rows_with_a_question_of_their_own_run_where_they_are_named(size):
    """Each has a probed row too; the wide one has the published settings."""
    config = study.get_config(size).study
    for name in ("mae", "v2_wide"):
        assert {name, f"{name}_probe"} <= {*config.rows}
        assert not {name, f"{name}_probe"} & {*config.methods}
        assert config.rows[name].pretraining == config.rows[f"{name}_probe"].pretraining
    wide = config.rows.v2_wide.pretraining
    assert wide.projection.features == 256
    assert wide.pretrain.off_diagonal_weight == 0.005


SHIFTS = {
    "pix2rep": (6.0, 6.0, 12.0, 63.5),
    "simclr": (6.0, 6.0, 12.0, 63.5),
    "byol": (6.0, 6.0, 12.0, 63.5),
    "barlow_twins": (6.0, 6.0, 12.0, 63.5),
    "chaitanya": (31.5, 31.5, 63.5, 63.5),
    "mae": (6.0, 6.0, 12.0, 63.5),
    "augment": (6.0, 6.0, 12.0, 12.0),
}
"""The largest shift in px at each of `SIZES`, before any override."""


def draw_motions(spatial, side):
    """Shifts `[draws, 2]` (px) and extents `[draws, 1]` of 2,000 draws."""
    options = {x: y for x, y in spatial.items() if not x.startswith("elastic")}
    draw = lambda key: affine.sample_pull_matrix(  # noqa: E731
        key, height=side, width=side, **options
    )
    keys = jax.random.split(jax.random.key(0), 2000)
    matrix = np.asarray(jax.jit(jax.vmap(draw))(keys), np.float64)
    extent = np.sqrt(np.abs(np.linalg.det(matrix[:, :, :2])))
    return np.abs(matrix[:, :, 2]), extent[:, None]


@pytest.mark.parametrize("method", SHIFTS)
@pytest.mark.parametrize("size", pix2rep.SIZES)
def test_another_image_size_brings_its_own_shifts(size, method):
    """Overriding `data.size` alone scales the shifts, and regions stay inside."""
    config = pix2rep.get_config(size)
    reach = SHIFTS[method][pix2rep.SIZES.index(size)]
    for factor in (1, 2):
        side = factor * pix2rep.get_config(size).data.size
        config.data.size = side
        if method == "augment":
            spatial = config.augment.spatial
        else:
            config.pretrain.method = method
            load_method(config)  # and nothing is refused
            spatial = make_recipe(config).get("spatial", config.spatial)
        shift, extent = draw_motions(spatial.to_dict(), side)
        expected = factor * reach
        if spatial.shift_inside:
            expected = (side - 1) / 2
            room = expected * (1 - extent)  # what the region leaves of the frame
            assert (shift <= room + 1e-3).all()
            shift = expected * shift / room
        assert 0.99 * expected < shift.max() <= expected + 1e-2


def test_no_other_setting_is_a_number_of_the_images_pixels(monkeypatch):
    """A length in px would stay at the old size when `data.size` is overridden."""
    monkeypatch.syspath_prepend("docs")
    hooks = importlib.import_module("hooks")
    names = [name for name, _ in walk(pix2rep.get_config())]
    comments = hooks.read_comments(names)
    in_px = {x for x in names if re.search(r"\bpx\b", comments.get(x, ""))}
    # The blur belongs to a pixel, and the pixel's size does not change.
    lengths = {name for name in in_px if not name.startswith("data.")}
    blurs = {"intensity.max_blur", "finetune.unimatch.intensity.max_blur"}
    assert lengths == {*blurs, "chaitanya.spatial.extent"}
    chaitanya = pix2rep.get_config().chaitanya.spatial
    assert max(chaitanya.extent) < 1  # a share
    for size in pix2rep.SIZES:  # 0: as many as data.size
        assert pix2rep.get_config(size).data.crop_px == 0


@pytest.mark.parametrize(
    ("size", "turn", "extent", "flips"),
    [
        ("quick", math.pi / 6, (0.8, 1.1), 0.0),
        ("small", math.pi, (0.7, 1.2), 0.15),
        ("medium", math.pi, (0.7, 1.2), 0.15),
        ("paper", math.pi, (0.7, 1.2), 0.15),
    ],
)
def test_labelled_slices_have_an_augmentation_of_their_own(size, turn, extent, flips):
    """No override of the pretraining's views reaches it."""
    config = pix2rep.get_config(size)
    config.spatial.update(max_rotation=0.0, extent=(1.0, 1.0), max_shift=(0.0, 0.0))
    config.intensity.update(max_noise=0.0, grey_levels=7.0)
    spatial, intensity = config.augment.spatial, config.augment.intensity
    assert (spatial.max_rotation, spatial.extent) == (turn, extent)
    assert (spatial.flip_probability, spatial.elastic_probability) == (flips, 0.0)
    assert intensity.max_noise > 0 and intensity.grey_levels in (1.0, 180.0)
    assert intensity.reversal_probability == 0
    assert config.augment.recipe == "default"
    # A training image is seen at a test image's scale, and on both sides of it.
    assert spatial.extent[0] < 1 < spatial.extent[1] and not spatial.shift_inside


@pytest.mark.parametrize("file", [pix2rep, study, ablation, worth])
def test_another_size_is_refused_with_those_that_there_are(file):
    """The sentence is what the command line prints."""
    name = file.__name__.rpartition(".")[2]
    with pytest.raises(ValueError, match=rf"'huge'.*{name}\.py:small"):
        file.get_config("huge")


def test_the_number_of_points_is_a_number_or_a_word():
    """At every size, though the sizes set it anew."""
    for size in pix2rep.SIZES:
        config = pix2rep.get_config(size)
        config.pretrain.num_points = "all"
        assert config.pretrain.num_points == "all"
