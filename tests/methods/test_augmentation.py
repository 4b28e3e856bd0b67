"""What changes a labelled slice in fine-tuning and probing, by `augment.recipe`."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.pix2rep import get_config
from pix2rep_jax.losses.segmentation import loss_options
from pix2rep_jax.methods.downstream import augmentation
from pix2rep_jax.methods.downstream import probe as probing
from pix2rep_jax.methods.downstream.finetuning import make_finetuning
from pix2rep_jax.modes import probe
from pix2rep_jax.modes.train_segmenter import Segmentation
from pix2rep_jax.training.state import ModelState
from tests.support.views import augment
from tests.training.test_step import SEGMENTATION, draw_variables, make_data

REVERSED = {"reversal_probability": 1.0}


def configure(recipe, **intensity):
    """A configuration in which intensities change as given, and not otherwise."""
    config = get_config()
    config.augment.recipe = recipe
    for name in config.augment.intensity:
        if name.endswith("_probability"):
            config.augment.intensity[name] = intensity.get(name, 0.0)
    return config


def make_loss(config, method):
    """The loss of fine-tuning or probing, and the model state that it starts from."""
    params, batch_stats = draw_variables(SEGMENTATION)
    if method == "probe":
        options = augmentation.probing_options(config.augment)
        weights = loss_options(config.segmentation)
        loss_fn, extra = probing.make_loss(SEGMENTATION, **weights, **options), {}
    else:
        config.finetune.update(method=method, batch_norm="frozen")
        config.finetune.mean_teacher.consistency_weight = 0.0
        made = make_finetuning(
            config,
            SEGMENTATION,
            params,
            batch_stats,
            labeled={},
            unlabeled={},
            num_steps=4,
        )
        loss_fn, extra = made.loss_fn, made.extra
    state = ModelState(batch_stats, extra)
    return jax.jit(lambda batch, key: loss_fn(params, state, batch, key)[0])


def shape_batch(data, method):
    """A batch of slices, among them some without a mask for Mean Teacher."""
    if method != "mean_teacher":
        return data
    return {"labeled": data, "unlabeled": {"image": data["image"]}}


@pytest.mark.parametrize("method", ["supervised", "mean_teacher", "probe"])
def test_the_released_recipe_changes_intensities_only(method):
    """The loss is that of 1 - x with the labels where they were, whatever the key."""
    data = make_data(4)
    change = make_loss(configure("released", **REVERSED), method)
    found = [
        change(shape_batch(data, method), jax.random.key(seed)) for seed in range(3)
    ]
    plain = make_loss(configure("released"), method)
    other = data | {"image": 1.0 - data["image"]}
    expected = plain(shape_batch(other, method), jax.random.key(9))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    unchanged = plain(shape_batch(data, method), jax.random.key(9))
    assert abs(unchanged - expected) > 1e-3


@pytest.mark.parametrize("method", ["supervised", "mean_teacher"])
def test_the_default_recipe_moves_slices_in_finetuning(method):
    """Each key gives another loss, though no intensity changes."""
    loss = make_loss(configure("default"), method)
    batch = shape_batch(make_data(4), method)
    found = [float(loss(batch, jax.random.key(seed))) for seed in range(3)]
    assert len(set(found)) == 3


def test_the_default_recipe_leaves_slices_alone_in_probing():
    """The key has no effect, though intensities would change."""
    loss = make_loss(configure("default", **REVERSED), "probe")
    plain = make_loss(configure("released"), "probe")
    found = [loss(make_data(4), jax.random.key(seed)) for seed in range(2)]
    np.testing.assert_array_equal(found, plain(make_data(4), jax.random.key(9)))


def test_without_a_motion_labels_and_pixels_stay_where_they_are(key):
    """Labels to the bit, and images where no intensity changes."""
    data = {name: jnp.asarray(array) for name, array in make_data(3).items()}
    given = data["image"], data["label"]
    image, label = augment(key, *given, spatial=None, intensity={})
    np.testing.assert_array_equal(image, data["image"])
    np.testing.assert_array_equal(label, data["label"])
    image, label = augment(key, *given, spatial=None, intensity=REVERSED)
    np.testing.assert_array_equal(image, 1.0 - data["image"])
    np.testing.assert_array_equal(label, data["label"])


@pytest.mark.parametrize(
    ("recipe", "given"), [("default", "features"), ("released", "image")]
)
def test_probing_computes_features_anew_where_images_change(
    recipe, given, monkeypatch, tmp_path, capsys
):
    """The run says so, because it takes longer."""
    data = make_data(5)
    config = configure(recipe)
    dataset = SimpleNamespace(images=data["image"], labels=data["label"])
    start = Segmentation(
        SimpleNamespace(
            dataset=dataset, split=SimpleNamespace(train_slices=[0, 2, 3, 4])
        ),
        SEGMENTATION,
        *draw_variables(SEGMENTATION),
        jax.random.key(0),
    )
    tasks = []
    monkeypatch.setattr(probe, "load_segmentation", lambda *_, **__: start)
    monkeypatch.setattr(
        probe, "train_and_score", lambda *args, **_: tasks.append(args[3])
    )
    probe.run(config, tmp_path)
    assert set(tasks[0].data) == {given, "label"}
    assert ("augment.recipe" in capsys.readouterr().err) is (given == "image")
