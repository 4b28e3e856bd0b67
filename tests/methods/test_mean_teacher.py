"""Mean Teacher: who teaches whom, how much it counts, and what is never seen."""

import functools
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from configs.pix2rep import get_config
from pix2rep_jax.inference.predict import make_predict
from pix2rep_jax.inference.segmenter import Segmenter
from pix2rep_jax.methods.downstream import mean_teacher, supervised
from pix2rep_jax.methods.downstream.teacher import make_extra, networks_of_state
from pix2rep_jax.models.build import make_segmentation_net
from pix2rep_jax.modes import finetune
from pix2rep_jax.modes.train_segmenter import Segmentation
from pix2rep_jax.runs.checkpoint_reader import restore_model
from pix2rep_jax.runs.checkpoint_writer import Checkpoints
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.training.sharding import place
from pix2rep_jax.training.state import ModelState, create_state
from pix2rep_jax.training.step import compile_step, make_train_step
from tests.support.motions import STILL
from tests.support.program import lines, refused, start, succeed
from tests.training.test_step import (
    INTENSITY,
    MESHES,
    SCHEDULE,
    SEGMENTATION,
    SPATIAL,
    assert_close,
    assert_same,
    draw_variables,
    make_data,
    make_feed,
    run,
)

SUPERVISED = {
    "cross_entropy_weight": 1.0,
    "dice_weight": 1.0,
    "include_background": True,
    "spatial": SPATIAL,
    "intensity": INTENSITY,
    "batch_norm": "train",
}
SEMI = {
    "num_steps": 6,
    "ema_decay": 0.6,
    "consistency_weight": 4.0,
    "start_fraction": 0.0,
    "ramp_up_fraction": 1.0,
    "noise_std": 0.1,
    "noise_clip": 0.2,
}
TX = optax.sgd(0.05)
RATES = {"backbone": 0.05, "head": 0.05}
DATA = {"labeled": make_data(5), "unlabeled": {"image": make_data(9, seed=1)["image"]}}


def make_loss(**changes):
    return mean_teacher.make_loss(SEGMENTATION, **SUPERVISED, **(SEMI | changes))


def begin(*, devices=1, budget_mb=100):
    """A state, a step, and its batches of 4 labelled and 8 unlabelled slices."""
    params, batch_stats = draw_variables(SEGMENTATION)
    state = create_state(
        params,
        batch_stats,
        TX,
        jax.random.key(7),
        trainable=tuple(RATES),
        extra=make_extra(params),
    )
    update = make_train_step(make_loss(), TX, SCHEDULE, learning_rates=RATES)
    step = compile_step(update, mesh=MESHES[devices])
    feed = make_feed(
        DATA,
        mesh=MESHES[devices],
        batch_size={"labeled": 4, "unlabeled": 8},
        budget_mb=budget_mb,
    )
    return place(state, MESHES[devices]), step, feed


@functools.cache
def four_steps(devices=1):
    return run(*begin(devices=devices), num_steps=4)


def first_batch():
    return {name: jax.tree.map(lambda x: x[:4], part) for name, part in DATA.items()}


# --- the parts ---------------------------------------------------------------------


def test_the_ramp_has_its_values():
    """exp(-5), exp(-5/4) and 1 at the beginning, in the middle and at the end, and 1
    ever after; a ramp of no length is over at once."""
    values = [mean_teacher.ramp_up(t, num_steps=30) for t in (0, 15, 30, 99)]
    expected = np.exp([-5.0, -1.25, 0.0, 0.0])
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert mean_teacher.ramp_up(1, num_steps=0) == 1


def test_consistency_is_the_squared_difference_of_probabilities(key):
    """It is zero where both agree, up to a constant in the logits, and the formula's
    value in float64 elsewhere."""
    a, b = 3 * jax.random.normal(key, (2, 3, 5, 4, 6))
    softmax = lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)  # noqa: E731
    wide = [softmax(np.asarray(x, np.float64)) for x in (a, b)]
    expected = ((wide[0] - wide[1]) ** 2).mean()
    np.testing.assert_allclose(mean_teacher.consistency(a, b), expected, rtol=1e-5)
    assert mean_teacher.consistency(a, a) == 0
    np.testing.assert_allclose(mean_teacher.consistency(a, a + 2.0), 0, atol=1e-12)


def test_the_teacher_follows_the_student_after_every_update():
    """After each of some steps the network to be scored is the recursion
    T = d T + (1 - d) S with d = min(1 - 1/(step + 1), decay), from the student after
    that very step, in a NumPy loop: the first is the student itself."""
    config = get_config()
    config.finetune.method = "mean_teacher"
    config.finetune.mean_teacher.ema_decay = SEMI["ema_decay"]
    states, _ = four_steps()
    expected = draw_variables(SEGMENTATION)[0]
    for step, state in enumerate(states):
        decay = min(1 - 1 / (step + 1), 0.6)
        expected = jax.tree.map(
            lambda t, s, d=decay: d * np.float64(t) + (1 - d) * np.float64(s),
            expected,
            state.params,
        )
        networks = networks_of_state(config, state.params, state.model_state)
        assert list(networks) == ["teacher", "student"]
        assert_close(networks["teacher"]["params"], expected, rtol=1e-5, atol=1e-7)
        assert_same(networks["student"]["params"], state.params)
        assert_same(*(networks[name]["batch_stats"] for name in networks))
    # The average's first element is the student after the first step.
    first = networks_of_state(config, states[0].params, states[0].model_state)
    assert_same(first["teacher"]["params"], states[0].params)
    config.finetune.mean_teacher.result = "student"
    assert next(iter(networks_of_state(config, *draw_teacher()))) == "student"


def draw_teacher():
    """Parameters of a student, and a model state with a teacher of its own."""
    params, batch_stats = draw_variables(SEGMENTATION)
    other, _ = draw_variables(SEGMENTATION, seed=1)
    return params, ModelState(batch_stats, {"teacher": other, "step": jnp.int32(3)})


def at_step(model_state, step):
    """The same model state after so many updates."""
    return model_state._replace(extra=model_state.extra | {"step": jnp.int32(step)})


# --- the loss ----------------------------------------------------------------------


def test_the_loss_is_supervised_loss_plus_weighted_consistency(key):
    """Both parts equal those of student and teacher applied by hand to the same pixels:
    with all augmentation off, and with noise that the clipping fixes in size."""
    loss_fn = mean_teacher.make_loss(
        SEGMENTATION,
        **(SUPERVISED | {"spatial": STILL, "intensity": {}}),
        **(SEMI | {"noise_std": 1e6, "ema_decay": 0.25}),
    )
    params, model_state = draw_teacher()
    batch = first_batch()
    value, (after, metrics) = jax.jit(loss_fn)(params, model_state, batch, key)
    image = np.concatenate([batch[x]["image"] for x in ("labeled", "unlabeled")])
    apply = jax.jit(
        functools.partial(SEGMENTATION.apply, train=True, mutable=["batch_stats"])
    )
    student_stats = model_state.batch_stats
    logits, updated = apply({"params": params, "batch_stats": student_stats}, image)
    teacher = model_state.extra["teacher"]
    mean = jax.tree.map(lambda t, s: 0.25 * t + 0.75 * s, teacher, params)
    sign = jnp.sign(jax.random.normal(jax.random.split(key)[1], image[4:].shape))
    target, _ = apply(
        {"params": mean, "batch_stats": student_stats}, image[4:] + 0.2 * sign
    )
    alone = supervised.losses.segmentation_loss(
        logits[:4],
        batch["labeled"]["label"],
        cross_entropy_weight=1.0,
        dice_weight=1.0,
        include_background=True,
    )
    apart = ((jax.nn.softmax(logits[4:]) - jax.nn.softmax(target)) ** 2).mean()
    weight = 4.0 * np.exp(-5 * (1 - 3 / 6) ** 2)
    expected = {
        "supervised_loss": float(alone),
        "consistency": float(apart),
        "consistency_weight": weight,
    }
    assert jax.tree.map(float, metrics) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(value, alone + weight * apart, rtol=1e-4)
    assert_close(after.batch_stats, updated["batch_stats"])
    assert_close(after.extra["teacher"], mean)
    assert set(after.extra) == {"teacher", "step"}
    assert after.extra["step"] == 4


def test_no_gradient_reaches_the_teacher(key, monkeypatch):
    """The gradient is that of a loss whose targets come from fixed numbers, though the
    teacher is made of the student's own parameters; were they let through, it would
    be another."""
    params, model_state = draw_teacher()
    model_state = at_step(model_state, 1)  # the teacher is the student
    options = {"consistency_weight": 100.0, "noise_std": 1.0, "noise_clip": 1.0}
    loss_fn = make_loss(**options, ramp_up_fraction=0.0)

    def gradient(constant):
        value = lambda x: loss_fn(x, model_state, constant, key)[0]  # noqa: E731
        return jax.jit(jax.grad(value))(params)

    ours = gradient(first_batch())
    extra = model_state.extra | {"teacher": params}
    monkeypatch.setattr(mean_teacher, "update_teacher", lambda *_, **__: extra)
    assert_close(ours, gradient(first_batch()), rtol=1e-3, atol=1e-4)
    monkeypatch.undo()
    monkeypatch.setattr(jax.lax, "stop_gradient", lambda x: x)
    leaking = gradient(first_batch())
    apart = optax.tree.norm(jax.tree.map(jnp.subtract, ours, leaking))
    assert apart > 0.1 * optax.tree.norm(ours)


def test_consistency_does_not_count_before_its_time(key):
    """Within the first steps its weight is zero, and then the ramp's."""
    params, model_state = draw_teacher()
    loss_fn = jax.jit(make_loss(num_steps=30, start_fraction=0.1))
    weights = []
    for step in (0, 2, 3, 30):
        model_state = at_step(model_state, step)
        _, (_, metrics) = loss_fn(params, model_state, first_batch(), key)
        weights.append(float(metrics["consistency_weight"]))
    expected = [0.0, 0.0, 4 * np.exp(-5 * 0.9**2), 4.0]
    np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_student_and_teacher_see_the_same_view(key):
    """Without noise, two equal networks agree on augmented slices bit for bit."""
    params, batch_stats = draw_variables(SEGMENTATION)
    loss_fn = mean_teacher.make_loss(
        SEGMENTATION,
        **(SUPERVISED | {"batch_norm": "frozen"}),
        **(SEMI | {"noise_std": 0.0}),
    )
    model_state = ModelState(batch_stats, make_extra(params))
    _, (after, metrics) = jax.jit(loss_fn)(params, model_state, first_batch(), key)
    np.testing.assert_allclose(metrics["consistency"], 0, atol=1e-12)
    assert_same(after.batch_stats, batch_stats)


# --- the step ----------------------------------------------------------------------


def test_one_device_and_four_compute_the_same():
    """Parameters and statistics of both networks after four steps; so the orders of
    both sets are those of one device, and the noise as well."""
    (*_, one), one_metrics = four_steps(1)
    (*_, four), four_metrics = four_steps(4)
    for a, b in zip(one_metrics, four_metrics, strict=True):
        assert a == pytest.approx(b, rel=1e-3)
    assert_close(one.params, four.params, rtol=1e-3, atol=1e-4)
    assert_close(one.model_state, four.model_state, rtol=1e-3, atol=1e-4)


def test_a_checkpoint_goes_on_bit_for_bit(tmp_path):
    """From the second of four steps, also with the data on the host: student, teacher,
    counter and optimiser end as those of an unbroken run do."""
    whole, whole_metrics = four_steps()
    state, step, feed = begin()
    for _, batch in zip(range(2), feed(state), strict=False):
        state, _ = step(state, batch)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state)
    fresh, step, feed = begin(budget_mb=0)
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore_latest(fresh)
    rest, metrics = run(restored, step, feed, num_steps=2)
    assert_same(rest[-1], whole[-1])
    assert metrics == whole_metrics[2:]


# --- what is never seen ------------------------------------------------------------


def test_masks_of_other_slices_are_never_seen(monkeypatch, tmp_path):
    """All slices of pretraining are unlabelled ones, the labelled ones among them, and
    whatever the masks of the others hold, the training sees the same data."""
    images = make_data(10)["image"]
    split = SimpleNamespace(train_slices=[2, 5], pretrain_slices=[0, 2, 3, 5, 8])
    config = get_config()
    config.finetune.update(method="mean_teacher", batch_size=4)
    config.finetune.mean_teacher.unlabeled_batch_size = 8
    found = []
    monkeypatch.setattr(
        finetune, "train_and_score", lambda *given, **_: found.append(given[3].data)
    )
    for seed in range(2):
        labels = np.random.default_rng(seed).integers(0, 4, images.shape[:3])
        labels[split.train_slices] = 1
        dataset = SimpleNamespace(images=images, labels=labels)
        start = Segmentation(
            SimpleNamespace(dataset=dataset, split=split, backbone=None),
            SEGMENTATION,
            *draw_variables(SEGMENTATION),
            jax.random.key(0),
        )
        monkeypatch.setattr(
            finetune, "load_segmentation", lambda *_, start=start: start
        )
        finetune.run(config, tmp_path)
    assert_same(*found)
    data = found[0]
    assert set(data["unlabeled"]) == {"image"}
    np.testing.assert_array_equal(
        data["unlabeled"]["image"], images[split.pretrain_slices]
    )
    assert (data["labeled"]["label"] == 1).all()


# --- the program -------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(workdir, cache, tmp_path_factory):
    """A run from scratch, and one from the pretraining."""
    folder = tmp_path_factory.mktemp("mean-teacher")
    # Scored at the end alone: after the first step both networks are still one.
    semi = {"finetune__method": "mean_teacher", "log__validate_every": 0}
    for name, origin in (("scratch", "none"), ("pretrained", workdir)):
        succeed(
            start("finetune", folder / name, cache, init__checkpoint=origin, **semi)
        )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scratch", "pretrained"])
def test_both_networks_are_scored_and_the_result_stands_at_the_top(runs, name):
    """The teacher by default, with the student beside it in the same layout; what was
    logged says how much the consistency counted."""
    folder = runs / name / "finetune"
    result = json.loads((folder / "evaluation.json").read_text())
    assert result["scored"] == "teacher"
    own = {"mode", "scored", "student", "uses_ground_truth", "initialised_from"}
    own |= {"labeled_patients", "test_patients", "kept", "scored_step"}
    own |= {"pretrained_steps", "pretrained_digest"}
    assert set(result["student"]) == set(result) - own
    assert result["num_volumes"] == result["student"]["num_volumes"] == 4
    assert set(result["dice"]) == set(result["student"]["dice"])
    assert result["dice"] != result["student"]["dice"]
    weights = [x["consistency_weight"] for x in lines(folder) if "loss" in x]
    expected = [np.exp(-5 * (1 - t / 4) ** 2) for t in (1, 3)]
    assert weights == pytest.approx(expected, rel=1e-4)
    assert all("val_dice_student" in x for x in lines(folder) if "val_dice" in x)


@pytest.mark.slow
def test_prediction_uses_the_network_that_was_scored(runs, cache, tmp_path):
    """The masks of --mode predict, and the evaluation of --mode evaluate, are the
    teacher's; the student's are others."""
    folder = runs / "scratch"
    scan = min(next(cache.glob("phantom-*")).glob("testing/*/*_frame01.nii.gz"))
    paths = (f"--input={scan}", f"--output={tmp_path}")
    predicting = start("predict", folder, cache, *paths)
    whole = {"predict__largest_component": False}  # as the run's own scores are
    evaluating = start("evaluate", folder, cache, **whole)
    succeed(predicting)
    succeed(evaluating)
    (mask,) = tmp_path.glob("*_seg.nii.gz")
    segmenter = Segmenter.load(folder)
    # More devices round otherwise: a few pixels in thousands.
    agree = np.asarray(nib.load(mask).dataobj) == segmenter.predict(scan)
    assert agree.mean() > 0.999
    config = ConfigDict(read_config(folder / "finetune"))
    networks = networks_of_state(
        config, *restore_model(folder / "finetune", keep="last")
    )
    images = np.random.default_rng(0).random((8, 32, 32, 1), np.float32)
    apply = make_predict(make_segmentation_net(config, scratch=True))
    found = segmenter.predict_network(images)
    for name in ("teacher", "student"):
        apart = np.abs(found - apply(networks[name], images)).max()
        assert (apart < 1e-5) == (name == "teacher")
    ours, theirs = (
        json.loads((folder / mode / "evaluation.json").read_text())
        for mode in ("evaluate", "finetune")
    )
    assert ours["scored"] == "teacher"
    assert ours["dice"] == pytest.approx(theirs["dice"], abs=1e-3)
    assert ours["student"]["dice"] == pytest.approx(theirs["student"]["dice"], abs=1e-3)


def test_unknown_names_are_refused(tmp_path, cache):
    """Before a folder is made, and the settings are named."""
    method = start("finetune", tmp_path, cache, finetune__method="teacher")
    assert "finetune.method is" in refused(method)
    result = start("finetune", tmp_path, cache, finetune__mean_teacher__result="both")
    assert "finetune.mean_teacher.result is" in refused(result)
    assert not list(tmp_path.iterdir())
