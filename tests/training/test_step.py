"""The step: what it computes, on how many devices, from where, and how often traced."""

import collections
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError
from pix2rep_jax.methods.downstream import probe, supervised
from pix2rep_jax.methods.pretraining import load_method, pix2rep
from pix2rep_jax.models.heads import ProjectionHead, SegmentationHead
from pix2rep_jax.models.segmentation_net import SegmentationNet
from pix2rep_jax.models.unet import UNet
from pix2rep_jax.training.feed import batch_indices, compile_draw, make_batches
from pix2rep_jax.training.optimizer import make_optimizer, make_schedule
from pix2rep_jax.training.sharding import check_batch_size, make_mesh, place
from pix2rep_jax.training.state import ModelState, create_state
from pix2rep_jax.training.step import compile_step, make_train_step

SIZE = 16
SPATIAL = {
    "max_rotation": 3.0,
    "extent": (0.6, 1.1),
    "flip_probability": 0.5,
    "max_shift": (2 / SIZE, 2 / SIZE),
}
INTENSITY = {
    "max_blur": 1.0,
    "blur_probability": 0.5,
    "max_bias_field": 0.5,
    "bias_field_probability": 0.5,
    "max_noise": 0.1,
    "noise_probability": 0.5,
    "max_gamma": 0.3,
    "gamma_probability": 0.5,
    "max_contrast": 0.3,
    "contrast_probability": 0.5,
    "max_brightness": 0.2,
    "brightness_probability": 0.5,
    "reversal_probability": 0.35,
}
BACKBONE = UNet((4, 8), 6, last_hidden=4)
PIX2REP = pix2rep.Pix2RepNet(BACKBONE, ProjectionHead((8,), 5))
SEGMENTATION = SegmentationNet(BACKBONE, SegmentationHead(4))
RATES = {"backbone": 0.01, "projection": 0.02, "head": 0.03}
SCHEDULE = make_schedule("cosine", num_steps=8, warmup_steps=1)
MESHES = {n: Mesh(np.asarray(jax.devices()[:n]), ("data",)) for n in (1, 4)}


def draw_variables(net, seed=0):
    """Parameters from NumPy, so that golden values depend on no initialiser."""
    shapes = jax.eval_shape(
        lambda key: net.init(key, jnp.zeros((1, SIZE, SIZE, 1)), train=False),
        jax.random.key(0),
    )
    draw = np.random.default_rng(seed)

    def leaf(path, shape):
        if path[-1].key == "kernel":
            scale = (2 / np.prod(shape.shape[:-1])) ** 0.5
            return draw.normal(0, scale, shape.shape).astype(np.float32)
        low = 0.5 if path[-1].key in ("scale", "var") else -0.1
        return draw.uniform(low, low + 0.5, shape.shape).astype(np.float32)

    variables = jax.tree.map_with_path(leaf, shapes)
    return variables["params"], variables["batch_stats"]


def make_data(num_samples=10, seed=0):
    """Smooth images of a bright disc each, and its label."""
    draw = np.random.default_rng(seed)
    row, column = np.mgrid[:SIZE, :SIZE]
    centre = draw.uniform(5, 11, (2, num_samples, 1, 1))
    radius = draw.uniform(2, 5, (num_samples, 1, 1))
    distance = np.hypot(row - centre[0], column - centre[1])
    image = 1 / (1 + np.exp(distance - radius)) + 0.2 * np.sin(row / 2)
    label = (distance < radius).astype(np.int32) + (distance < radius / 2)
    box = np.tile(np.array([1, SIZE - 1, 0, SIZE - 3], np.int32), (num_samples, 1))
    return {
        "image": image[..., None].astype(np.float32),
        "box": box,
        "label": label,
    }


def pretrain_loss(loss, **changes):
    options = {
        "temperature": 0.2,
        "off_diagonal_weight": 0.005,
        "num_points": 24,
        "spatial": SPATIAL,
        "intensity": INTENSITY,
        "joint_batch_norm": True,
    } | changes
    return pix2rep.make_loss(PIX2REP, loss=loss, **options)


def finetune_loss(batch_norm="train"):
    return supervised.make_loss(
        SEGMENTATION,
        cross_entropy_weight=1.0,
        dice_weight=1.0,
        include_background=True,
        spatial=SPATIAL,
        intensity=INTENSITY,
        batch_norm=batch_norm,
    )


def probe_loss():
    return probe.make_loss(
        SEGMENTATION,
        cross_entropy_weight=1.0,
        dice_weight=1.0,
        include_background=True,
    )


LOSSES = {
    "info_nce": (PIX2REP, pretrain_loss("info_nce")),
    "cross_correlation": (PIX2REP, pretrain_loss("cross_correlation")),
    "sparse": (PIX2REP, pretrain_loss("info_nce", sparse_last_block=True)),
    "a pass a view": (PIX2REP, pretrain_loss("info_nce", joint_batch_norm=False)),
    "finetune": (SEGMENTATION, finetune_loss()),
}


def begin(
    net, loss_fn, *, tx=None, rates=None, mesh=MESHES[1], data=None, budget_mb=100
):
    """A state, a step, and a function that makes its batches of 4 from a state on;
    plain gradient descent if no optimiser is given."""
    params, batch_stats = draw_variables(net)
    rates = rates or {name: RATES[name] for name in params}
    parts = {
        name: optax.sgd(lambda t, rate=rate: rate * SCHEDULE(t))
        for name, rate in rates.items()
    }
    tx = tx or optax.multi_transform(parts, {name: name for name in rates})
    state = create_state(
        params, batch_stats, tx, jax.random.key(7), trainable=tuple(rates)
    )
    update = make_train_step(loss_fn, tx, SCHEDULE, learning_rates=rates)
    step = compile_step(update, mesh=mesh)
    feed = make_feed(data or make_data(), mesh=mesh, budget_mb=budget_mb)
    return place(state, mesh), step, feed


def make_feed(data, *, mesh, budget_mb=100, batch_size=4):
    """Makes the batches from a state's step on."""
    return lambda state: make_batches(
        data,
        key=state.key,
        first_step=int(state.step),
        mesh=mesh,
        batch_size=batch_size,
        budget_mb=budget_mb,
    )


def run(state, step, feed, num_steps=3):
    """The state after each of some steps, as numpy arrays, and its metrics."""
    states, metrics = [], []
    for _, batch in zip(range(num_steps), feed(state), strict=False):
        state, values = step(state, batch)
        plain = state.replace(key=jax.random.key_data(state.key))
        states.append(jax.tree.map(np.array, plain))
        metrics.append(jax.tree.map(float, values))
    return states, metrics


def count_traces(loss_fn):
    """The loss, and a list that grows each time Python runs through it."""
    traces = []

    def counted(*args):
        traces.append(None)
        return loss_fn(*args)

    return counted, traces


@functools.cache
def run_on(devices, loss):
    """Three steps, the last of which crosses from one epoch to the next. Their program
    is traced once."""
    net, loss_fn = LOSSES[loss]
    counted, traces = count_traces(loss_fn)
    result = run(*begin(net, counted, mesh=MESHES[devices]))
    assert len(traces) == 1
    return result


# --- golden values -----------------------------------------------------------------

# One step on fixed parameters, images and settings. Whoever changes the views, the
# losses or the network on purpose runs this test, makes sure that each changed number
# has a reason, and copies what was found; nothing else may change them. Under jax
# 0.7.2, 0.10.2 and 0.12.0 they differ by 1e-6 of themselves. The step is plain gradient
# descent: Adam divides gradients by their own size, so where one is zero but for
# rounding (a bias in front of a normalisation), it moves by rounding alone.
GOLDEN = {
    "info_nce": {
        "loss": 5.312994,
        "l2_grads": 1.467885,
        "alignment": 0.898721,
        "checksum": -3.166107,
    },
    "cross_correlation": {
        "loss": 5.181596,
        "l2_grads": 19.94042,
        "alignment": 0.898721,
        "checksum": -3.193796,
    },
}


def checksum(params):
    """A sum of all parameters, each with a weight of its own."""
    flat = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(params)])
    return float(flat.astype(float) @ np.cos(np.arange(flat.size)))


@pytest.mark.parametrize("loss", sorted(GOLDEN))
def test_golden_step_of_pretraining(loss):
    """Loss, gradient, alignment and parameters after one step are what they were."""
    (state, *_), (metrics, *_) = run_on(1, loss)
    found = {name: metrics[name] for name in ("loss", "l2_grads", "alignment")}
    found["checksum"] = checksum(state.params)
    assert found == pytest.approx(GOLDEN[loss], rel=2e-5)


# --- what a step is ----------------------------------------------------------------


def test_a_step_is_the_gradient_of_the_loss_of_its_batch():
    """Sample order, keys, gradient, update, norms and rates equal those of a step
    written out: the batch of `batch_indices`, the loss at the step's own key, a
    gradient of all moving parts, and the schedule's rate."""
    net, loss_fn = LOSSES["finetune"]
    data, (params, batch_stats) = make_data(), draw_variables(net)
    order_key, step_key = jax.random.split(jax.random.key(7))
    gradient = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    states, metrics = run_on(1, "finetune")
    for t in range(3):
        rows = batch_indices(order_key, jnp.int32(t), num_samples=10, batch_size=4)
        batch = {name: array[rows] for name, array in data.items()}
        (loss, ((batch_stats, _), _)), grads = gradient(
            params,
            ModelState(batch_stats, {}),
            batch,
            jax.random.fold_in(step_key, t),
        )
        rates = {name: RATES[name] * float(SCHEDULE(t)) for name in params}
        updates = {
            name: jax.tree.map(lambda g, rate=rate: -rate * g, grads[name])
            for name, rate in rates.items()
        }
        expected = {
            "loss": loss,
            "l2_grads": optax.tree.norm(grads),
            "l2_params": optax.tree.norm(params),
            "l2_updates": optax.tree.norm(updates),
            **{f"learning_rate_{name}": rate for name, rate in rates.items()},
        }
        assert metrics[t] == pytest.approx(jax.tree.map(float, expected), rel=1e-4)
        params = optax.apply_updates(params, updates)
    # The same sums, fused otherwise.
    assert_close(states[-1].params, params)
    assert_close(states[-1].batch_stats, batch_stats)
    assert int(states[-1].step) == 3


def test_a_gradient_that_is_not_a_number_shows_in_the_metrics():
    """One entry of it suffices, though the loss is finite: the loop looks there."""

    def loss_fn(params, model_state, batch, key):
        del batch, key
        entry = params["head"]["Dense_0"]["bias"][0]
        # sqrt has an infinite slope at 0, and 0 times it is NaN.
        return jnp.sqrt(0.0 * entry), (model_state, {})

    (_, (metrics,)) = run(*begin(SEGMENTATION, loss_fn), num_steps=1)
    assert np.isfinite(metrics["loss"])
    assert np.isnan(metrics["l2_grads"]) and np.isnan(metrics["l2_updates"])


def assert_close(a, b, *, rtol=1e-4, atol=1e-5):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b
    )


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_one_device_and_four_compute_the_same(loss):
    """Losses, gradients, parameters and BatchNorm's statistics after three steps are
    those of one device: statistics, negatives and means are of the global batch. If
    each device used its own share, they would differ in the first digit."""
    (*_, one), one_metrics = run_on(1, loss)
    (*_, four), four_metrics = run_on(4, loss)
    for a, b in zip(one_metrics, four_metrics, strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    # Four devices add up partial sums in another order: float32 rounding, which three
    # steps of plain gradient descent carry on but do not blow up.
    assert_close(one.params, four.params)
    assert_close(one.batch_stats, four.batch_stats)
    before, _ = draw_variables(LOSSES[loss][0])
    assert optax.tree.norm(jax.tree.map(jnp.subtract, one.params, before)) > 0.01


def test_data_on_the_host_and_on_the_device_give_the_same_bits():
    """Where the data lie changes nothing, also where a run goes on from a state in its
    middle and where batches cross from one epoch to the next; each program is traced
    once."""
    net, loss_fn = LOSSES["finetune"]
    expected, expected_metrics = run_on(4, "finetune")
    counted, traces = count_traces(loss_fn)
    _, step, feed = begin(net, counted, mesh=MESHES[4], budget_mb=0)
    middle = expected[0].replace(key=jax.random.key(7))
    found, metrics = run(place(middle, MESHES[4]), step, feed, num_steps=2)
    assert metrics == expected_metrics[1:]
    assert_same(found[-1], expected[-1])
    assert len(traces) == 1
    assert len({values["loss"] for values in expected_metrics}) == 3


# --- what stays as it is -----------------------------------------------------------


@pytest.mark.parametrize("given", ["image", "features"])
def test_probing_moves_the_head_alone(given):
    """Backbone and statistics keep every bit, the optimiser holds nothing of them, and
    the head moves alike on images and on features computed before."""
    params, batch_stats = draw_variables(SEGMENTATION)
    data = make_data()
    features = SEGMENTATION.apply(
        {"params": params, "batch_stats": batch_stats}, data["image"], method="features"
    )
    if given == "features":
        data = {"features": np.asarray(features), "label": data["label"]}
    rates = {"head": 0.1}
    tx = make_optimizer(rates, lambda step: 1.0)
    state, step, feed = begin(SEGMENTATION, probe_loss(), tx=tx, rates=rates, data=data)
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    assert sum(leaf.size for leaf in moments) == 2 * (6 * 4 + 4)
    (*_, after), metrics = run(state, step, feed, num_steps=5)
    assert_same(after.params["backbone"], params["backbone"])
    assert_same(after.batch_stats, batch_stats)
    moved = jax.tree.map(lambda a, b: (a != b).all(), after.params, params)["head"]
    assert all(jax.tree.leaves(moved))
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    if given == "features":
        start = begin(SEGMENTATION, probe_loss(), tx=tx, rates=rates)
        (*_, of_images), _ = run(*start, num_steps=5)
        assert_close(after.params, of_images.params, rtol=1e-3, atol=1e-4)


def test_frozen_statistics_stay_while_parameters_move():
    """With batch_norm "frozen" the statistics keep every bit, and normalise: the loss
    of a batch depends on its own images only."""
    net, loss_fn = SEGMENTATION, finetune_loss("frozen")
    params, batch_stats = draw_variables(net)
    (*_, after), _ = run(*begin(net, loss_fn))
    assert_same(after.batch_stats, batch_stats)
    moved = jax.tree.map(lambda a, b: (a != b).any(), after.params, params)
    assert all(jax.tree.leaves(moved))
    (*_, trained), _ = run_on(1, "finetune")
    changed = jax.tree.map(
        lambda a, b: (a != b).all(), trained.batch_stats, batch_stats
    )
    assert all(jax.tree.leaves(changed))


# --- what the devices exchange ------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_more_devices_do_not_talk_more_often(loss):
    """The sums and gathers of a compiled step are as many on 4 devices as on 2, and
    none stands in a loop; drawing its batch needs none."""

    def count(devices):
        net, loss_fn = LOSSES[loss]
        mesh = Mesh(np.asarray(jax.devices()[:devices]), ("data",))
        params, batch_stats = draw_variables(net)
        rates, tx = dict.fromkeys(params, 0.1), optax.sgd(0.1)
        state = create_state(
            params, batch_stats, tx, jax.random.key(0), trainable=tuple(rates)
        )
        train_step = make_train_step(loss_fn, tx, SCHEDULE, learning_rates=rates)
        draw = compile_draw(mesh=mesh, num_samples=10, batch_size=4)
        data = place(make_data(), mesh)
        text = draw.lower(state.key, state.step, data).compile().as_text()
        assert not re.search(r" (all|collective)-[a-z-]+\(", text)
        batch = draw(*place((state.key, state.step), mesh), data)
        assert batch["image"].sharding.shard_shape(batch["image"].shape)[0] == (
            4 // devices
        )
        step = compile_step(train_step, mesh=mesh)
        arguments = place(state, mesh), batch
        text = step.lower(*arguments).compile().as_text()
        found = re.findall(r" (all-reduce|all-gather|all-to-all)(?:-start)?\(", text)
        bodies = re.findall(r"body=%?([\w.-]+)", text)
        for name in bodies:
            body = text[text.index(f"%{name} ") :].partition("\n}")[0]
            assert not re.search(r" (all|collective)-[a-z-]+\(", body)
        return collections.Counter(found)

    assert count(2) == count(4) != collections.Counter()


@pytest.mark.parametrize("num_points", [257, 0, -1, 2.5, "most"])
def test_more_points_than_pixels_are_refused_before_anything_is_made(num_points):
    """An image of 16 x 16 px has 256."""
    config = ConfigDict(
        {"data": {"size": SIZE}, "pretrain": {"num_points": num_points}}
    )
    with pytest.raises(InputError, match=rf"num_points is {num_points!r}.*\b256\b"):
        load_method(config)


def test_an_unknown_way_of_normalising_is_refused():
    """It is not taken for the other of the two."""
    with pytest.raises(InputError, match=r"finetune(\.|__)batch_norm is 'eval'"):
        finetune_loss("eval")


def test_a_batch_that_cannot_be_shared_is_refused():
    """The error names the setting, its value and the number of devices."""
    check_batch_size(8, make_mesh(), name="pretrain.batch_size")
    for size in (6, 0, -4):
        with pytest.raises(
            InputError, match=rf"pretrain(\.|__)batch_size is {size}\b.*4"
        ):
            check_batch_size(size, make_mesh(), name="pretrain.batch_size")
