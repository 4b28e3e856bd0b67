"""UniMatch: who teaches whom, by which statistics, and what is never seen."""

import functools
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.pix2rep import get_config
from pix2rep_jax import losses
from pix2rep_jax.errors import InputError
from pix2rep_jax.losses.pseudo_labels import confident_dice, dice_of_probabilities
from pix2rep_jax.losses.similarity import (
    class_prototypes,
    propagate_classes,
    prototype_loss,
)
from pix2rep_jax.methods.downstream import unimatch
from pix2rep_jax.methods.downstream.finetuning import (
    check_finetuning,
    make_finetuning,
    read_similarity,
    settle_recipe,
)
from pix2rep_jax.methods.downstream.similarity_terms import NO_TERMS, Similarity
from pix2rep_jax.methods.downstream.teacher import make_extra, networks_of_state
from pix2rep_jax.methods.downstream.unimatch_views import (
    HIDDEN,
    PARTNER,
    draw_views,
    drop_complementary,
    drop_features,
    with_truth,
)
from pix2rep_jax.modes import finetune
from pix2rep_jax.modes.train_segmenter import Segmentation
from pix2rep_jax.runs.checkpoint_writer import Checkpoints
from pix2rep_jax.runs.dependencies import changed_settings
from pix2rep_jax.training.sharding import place
from pix2rep_jax.training.state import ModelState, create_state
from pix2rep_jax.training.step import compile_step, make_train_step
from pix2rep_jax.views.patches import PatchOptions
from tests.methods.test_mean_teacher import SUPERVISED
from tests.support.motions import STILL
from tests.support.program import lines, refused, start, succeed
from tests.training.test_step import (
    INTENSITY,
    MESHES,
    SCHEDULE,
    SEGMENTATION,
    SIZE,
    SPATIAL,
    assert_close,
    assert_same,
    draw_variables,
    make_data,
    make_feed,
    run,
)

OPTIONS = SUPERVISED | {
    "teacher": "self",
    "ema_decay": 0.6,
    "threshold": 0.5,
    "supervised_weight": 0.25,
    "unlabeled_weight": 0.5,
    "feature_share": 0.5,
    "strong_intensity": INTENSITY,
    "cutmix_probability": 0.5,
    "cutmix_area": (0.1, 0.4),
    "cutmix_aspect": (0.3, 3.3),
}
QUIET = {"spatial": STILL, "intensity": {}}
TX = optax.sgd(0.05)
RATES = {"backbone": 0.05, "head": 0.05}
UNLABELED = make_data(17, seed=1)
DATA = {
    "labeled": make_data(5),
    "unlabeled": {
        "image": UNLABELED["image"],
        HIDDEN: UNLABELED["label"].astype(np.uint8),
    },
}
TERMS = Similarity(
    affinity_weight=0.5,
    affinity_blocks=SIZE // 2,
    prototype_weight=0.25,
    prototype_temperature=0.1,
)
TEACHERS = pytest.mark.parametrize("teacher", unimatch.TEACHERS)
KINDS = pytest.mark.parametrize("teacher", [*unimatch.TEACHERS, "self with terms"])


def make_loss(**changes):
    return unimatch.make_loss(SEGMENTATION, **(OPTIONS | changes))


def extra_of(teacher, params, batch_stats):
    """The initial extra state."""
    return make_extra(params, batch_stats=batch_stats) if teacher == "ema" else {}


def begin(teacher, *, devices=1, budget_mb=100, data=DATA):
    """A state, a step, and its batches of 4 labelled and 8 unlabelled slices, which
    with a teacher "self" are 4 and their partners."""
    params, batch_stats = draw_variables(SEGMENTATION)
    state = create_state(
        params,
        batch_stats,
        TX,
        jax.random.key(7),
        trainable=tuple(RATES),
        extra=extra_of(teacher, params, batch_stats),
    )
    name, _, further = teacher.partition(" with ")
    loss_fn = make_loss(teacher=name, similarity=TERMS if further else NO_TERMS)
    update = make_train_step(loss_fn, TX, SCHEDULE, learning_rates=RATES)
    feed = make_feed(
        data,
        mesh=MESHES[devices],
        batch_size={"labeled": 4, "unlabeled": 8},
        budget_mb=budget_mb,
    )
    step = compile_step(update, mesh=MESHES[devices])
    return place(state, MESHES[devices]), step, feed


@functools.cache
def four_steps(teacher, devices=1):
    return run(*begin(teacher, devices=devices), num_steps=4)


def first_batch(number=8):
    return {
        "labeled": jax.tree.map(lambda x: x[:4], DATA["labeled"]),
        "unlabeled": jax.tree.map(lambda x: x[:number], DATA["unlabeled"]),
    }


def apply(params, batch_stats, image, *, train=True, perturb=None, features=False):
    """Logits, or logits and features, and the statistics after the pass."""
    logits, updated = SEGMENTATION.apply(
        {"params": params, "batch_stats": batch_stats},
        image,
        train=train,
        perturb=perturb,
        with_features=features,
        mutable=["batch_stats"],
    )
    return logits, updated["batch_stats"]


def pseudo(logits):
    p = np.asarray(jax.nn.softmax(logits), np.float64)
    return p.argmax(-1), p.max(-1)


def supervised(logits, label):
    weights = {"cross_entropy_weight": 1.0, "dice_weight": 1.0}
    return losses.segmentation_loss(logits, label, include_background=True, **weights)


def learnt(logits, label, confident, share):
    """The Dice and, with a share, the cross-entropy of the confident pixels."""
    dice = float(confident_dice(logits, label, confident))
    chosen = np.take_along_axis(
        np.asarray(jax.nn.log_softmax(logits)), label[..., None], -1
    )
    cross_entropy = -(chosen[..., 0] * confident).mean()
    return share * cross_entropy + (1 - share) * dice


def strong_by_hand(logits, box, own, partner, threshold=0.5, share=0.0):
    """Half the sum of both views' losses, with labels pasted pixel by pixel."""
    total = 0.0
    for view in (0, 1):
        label, confidence = own[0].copy(), own[1].copy()
        for at in np.argwhere(np.asarray(box[view])):
            label[tuple(at)] = partner[0][tuple(at)]
            confidence[tuple(at)] = partner[1][tuple(at)]
        one = logits[view * len(label) : (view + 1) * len(label)]
        total += learnt(one, label, confidence >= threshold, share) / 2
    return total


def views_of(key, batch, *, has_partners):
    """The views that the loss draws, by its own key."""
    return draw_views(
        jax.random.split(key, 3)[1],
        batch["unlabeled"],
        batch["labeled"]["image"],
        batch["labeled"]["label"],
        has_partners=has_partners,
        spatial=STILL,
        intensity=INTENSITY,
        cutmix={"probability": 1.0, "area": (0.1, 0.4), "aspect": (0.3, 3.3)},
    )


# --- the loss ----------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_the_loss_is_its_formula_with_the_passes_of_the_published_code(key, share):
    """(supervised + 1/4 strong + 1/4 strong + 1/2 features) / 2, where supervised is
    half of cross-entropy and Dice: labels of the partners by the running statistics,
    labels of the slices by the pass over labelled and weak images, strong views by
    their own batch; the running statistics take in both passes, in that order."""
    batch = first_batch()
    params, batch_stats = draw_variables(SEGMENTATION)
    loss_fn = make_loss(**QUIET, cutmix_probability=1.0, cross_entropy_share=share)
    state = ModelState(batch_stats, {})
    value, (after, metrics) = jax.jit(loss_fn)(params, state, batch, key)

    views = views_of(key, batch, has_partners=True)
    weak, partner = np.split(batch["unlabeled"]["image"], 2)
    np.testing.assert_allclose(views.weak, weak, atol=1e-5)
    np.testing.assert_allclose(views.partner, partner, atol=1e-5)
    partner_logits, _ = apply(params, batch_stats, partner, train=False)
    drop = drop_features(jax.random.split(key, 3)[2], first=4)
    image = np.concatenate([batch["labeled"]["image"], weak])
    logits, stats = apply(params, batch_stats, image, perturb=drop)
    strong = views.strong.reshape(8, SIZE, SIZE, 1)
    strong_logits, stats = apply(params, stats, strong)

    own = pseudo(logits[4:8])
    alone = supervised(logits[:4], batch["labeled"]["label"])
    other = pseudo(partner_logits)
    strong_loss = strong_by_hand(strong_logits, views.box, own, other, share=share)
    feature_loss = learnt(logits[8:], own[0], own[1] >= 0.5, share)
    expected = {
        "supervised_loss": float(alone),
        "strong_loss": strong_loss,
        "feature_loss": float(feature_loss),
        "confident_share": (own[1] >= 0.5).mean(),
    }
    assert 0.05 < expected["confident_share"] < 0.95
    found = {name: float(metrics[name]) for name in expected}
    assert found == pytest.approx(expected, rel=1e-3)
    total = (alone / 2 + strong_loss / 2 + feature_loss / 2) / 2
    np.testing.assert_allclose(value, total, rtol=1e-3)
    assert_close(after.batch_stats, stats, rtol=1e-3, atol=1e-4)
    assert after.extra == {}
    hidden = batch["unlabeled"][HIDDEN][:4]
    for name, counts in (("all", True), ("confident", own[1] >= 0.5)):
        dice = [
            2
            * (counts & (own[0] == i) & (hidden == i)).sum()
            / max(1, (counts & (own[0] == i)).sum() + (counts & (hidden == i)).sum())
            for i in (1, 2, 3)
            if (counts & ((own[0] == i) | (hidden == i))).any()
        ]
        assert metrics[f"hidden_dice_{name}"] == pytest.approx(np.mean(dice), rel=1e-3)


def test_an_average_of_parameters_may_teach(key):
    """The labels come from the average's pass in training mode, whose running averages
    are its own. The partner is the batch turned round. There is no stream of dropped
    features, but both strong views lose opposite channels."""
    batch = first_batch()
    params, batch_stats = draw_variables(SEGMENTATION)
    old, old_stats = draw_variables(SEGMENTATION, seed=1)
    loss_fn = make_loss(**QUIET, cutmix_probability=1.0, teacher="ema", ema_decay=0.25)
    extra = {"teacher": old, "step": jnp.int32(3), "batch_stats": old_stats}
    state = ModelState(batch_stats, extra)
    value, (after, metrics) = jax.jit(loss_fn)(params, state, batch, key)

    views = views_of(key, batch, has_partners=False)
    mean = jax.tree.map(lambda t, s: 0.25 * t + 0.75 * s, old, params)
    assert_close(after.extra["teacher"], mean)
    assert after.extra["step"] == 4
    weak = batch["unlabeled"]["image"]
    weak_logits, own_stats = apply(mean, old_stats, weak)
    assert_close(after.extra["batch_stats"], own_stats)
    own = pseudo(weak_logits)
    partner = tuple(x[::-1] for x in own)
    logits, stats = apply(params, batch_stats, batch["labeled"]["image"])
    drop = drop_complementary(jax.random.split(key, 3)[2], number=8)
    strong = views.strong.reshape(16, SIZE, SIZE, 1)
    strong_logits, stats = apply(params, stats, strong, perturb=drop)
    strong_loss = strong_by_hand(strong_logits, views.box, own, partner)
    alone = supervised(logits, batch["labeled"]["label"])
    assert "feature_loss" not in metrics
    assert metrics["strong_loss"] == pytest.approx(strong_loss, rel=1e-3)
    np.testing.assert_allclose(value, (alone / 2 + strong_loss) / 2, rtol=1e-3)
    assert_close(after.batch_stats, stats, rtol=1e-3, atol=1e-4)


@TEACHERS
def test_further_terms_compare_features(key, teacher):
    """The propagated classes of a strong view learn those of its weak view, with the
    boxes of the partner's, and its features the prototypes of the labelled slices."""
    batch = first_batch()
    params, batch_stats = draw_variables(SEGMENTATION)
    is_own = teacher == "self"
    state = ModelState(batch_stats, extra_of(teacher, params, batch_stats))
    options = {**QUIET, "cutmix_probability": 1.0, "teacher": teacher}
    plain, (after, _) = jax.jit(make_loss(**options))(params, state, batch, key)
    loss_fn = jax.jit(make_loss(**options, similarity=TERMS))
    value, (after_too, metrics) = loss_fn(params, state, batch, key)
    assert_close(after_too.batch_stats, after.batch_stats)

    views = views_of(key, batch, has_partners=is_own)
    number, drop_key = len(views.weak), jax.random.split(key, 3)[2]
    image = batch["labeled"]["image"]
    run_on = functools.partial(apply, params, features=True)
    if is_own:
        partner, _ = run_on(batch_stats, views.partner, train=False)
        both = jnp.concatenate([image, views.weak])
        drop = drop_features(drop_key, first=4)
        (logits, features), stats = run_on(batch_stats, both, perturb=drop)
        weak = logits[4 : 4 + number], features[4 : 4 + number]
        strong_drop = None
    else:
        weak, _ = run_on(batch_stats, views.weak)
        partner = [x[::-1] for x in weak]
        (_, features), stats = run_on(batch_stats, image)
        strong_drop = drop_complementary(drop_key, number=number)
    strong = views.strong.reshape(2 * number, SIZE, SIZE, 1)
    (logits, strong_features), _ = run_on(stats, strong, perturb=strong_drop)

    def spread(logits, features):
        p = jax.nn.softmax(logits)
        return propagate_classes(p, features, temperature=1.0, stride=2)

    targets = [x.argmax(-1) for x in (spread(*weak), spread(*partner))]
    own, other = pseudo(weak[0]), pseudo(partner[0])
    affinity, labels, counts = 0.0, [], []
    for view, found in enumerate(jnp.split(spread(logits, strong_features), 2)):
        box = views.box[view]
        counts.append(jnp.where(box, other[1], own[1]) >= 0.5)
        labels.append(jnp.where(box, other[0], own[0]))
        target = jnp.where(box, targets[1], targets[0])
        affinity += float(dice_of_probabilities(found, target, counts[-1])) / 2
    prototypes = class_prototypes(
        features[:4], batch["labeled"]["label"], num_classes=4
    )
    prototype = prototype_loss(
        strong_features,
        jnp.concatenate(labels),
        jnp.concatenate(counts),
        *prototypes,
        temperature=0.1,
    )
    assert affinity > 0.1 and prototype > 0.1
    assert metrics["affinity_loss"] == pytest.approx(affinity, rel=1e-3)
    assert metrics["prototype_loss"] == pytest.approx(float(prototype), rel=1e-3)
    further = 0.5 * (0.5 * affinity + 0.25 * float(prototype))
    assert float(value) == pytest.approx(float(plain) + further, rel=1e-3)
    gradient = jax.jit(jax.grad(lambda x: loss_fn(x, state, batch, key)[0]))(params)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))


def test_strong_views_are_views_of_the_weak_ones():
    """Outside the box each is a change of its weak view's intensities, and inside one
    of the partner's; the two views differ."""
    batch, reverse = first_batch(), {"reversal_probability": 1.0}
    for has_partners in (True, False):
        views = draw_views(
            jax.random.key(1),
            batch["unlabeled"],
            batch["labeled"]["image"],
            batch["labeled"]["label"],
            has_partners=has_partners,
            spatial=SPATIAL,
            intensity=reverse,
            cutmix={"probability": 1.0, "area": (0.1, 0.4), "aspect": (0.3, 3.3)},
        )
        number = 4 if has_partners else 8
        assert (
            views.box.shape == (2, number, SIZE, SIZE) and views.box.any((2, 3)).all()
        )
        box = np.asarray(views.box)[..., None]
        expected = np.where(box, 1 - views.partner, 1 - views.weak)
        np.testing.assert_allclose(views.strong, expected, atol=1e-6)
        assert (box[0] != box[1]).any() and views.hidden.shape == (number, SIZE, SIZE)
        if not has_partners:
            np.testing.assert_array_equal(views.partner, views.weak[::-1])


def test_patches_of_whole_slices_lie_where_no_mask_decides():
    """Image and mask move together; a mask that would draw patches does not."""
    side, rng = 8, np.random.default_rng(0)
    label = rng.integers(0, 4, (6, 24, 24)).astype(np.uint8)
    labeled = first_batch()["labeled"]

    def draw(hidden):
        return draw_views(
            jax.random.key(1),
            {
                "image": (label / 4)[..., None].astype(np.float16),
                "box": np.tile(np.int32([[0, 23, 0, 23]]), (6, 1)),
                HIDDEN: hidden,
            },
            labeled["image"][:, :side, :side],
            labeled["label"][:, :side, :side],
            has_partners=True,
            spatial=STILL,
            intensity={},
            cutmix={"probability": 0.0, "area": (0.1, 0.4), "aspect": (0.3, 3.3)},
            patch=PatchOptions(side, foreground_share=1.0),
        )

    views = draw(label)
    assert views.weak.shape == (3, side, side, 1) and views.box.shape[2:] == (8, 8)
    np.testing.assert_allclose(4 * views.weak[..., 0], views.hidden, atol=1e-3)
    np.testing.assert_allclose(views.strong[0], views.weak, atol=1e-6)
    corner = np.zeros_like(label)
    corner[:, 0, 0] = 1  # drawn for, every patch would hold it
    np.testing.assert_array_equal(draw(corner).weak, views.weak)


@TEACHERS
def test_a_patch_as_large_as_its_slice_is_that_slice(teacher):
    """The loss of whole slices is then the loss of crops."""
    params, batch_stats = draw_variables(SEGMENTATION)
    extra = extra_of(teacher, params, batch_stats)
    state, batch = ModelState(batch_stats, extra), first_batch()
    boxed = {
        name: dict(each)
        | {"box": np.tile(np.int32([[0, SIZE - 1] * 2]), (len(each["image"]), 1))}
        for name, each in batch.items()
    }
    values = [
        make_loss(teacher=teacher, patch=patch, **QUIET)(
            params, state, given, jax.random.key(2)
        )[0]
        for patch, given in ((None, batch), (PatchOptions(SIZE, 1 / 3), boxed))
    ]
    assert float(values[1]) == pytest.approx(float(values[0]), rel=1e-5)


@pytest.mark.parametrize("probability", [0.5, 1.0])
def test_labelled_slices_may_be_pasted_with_their_masks(probability):
    """Pixel by pixel: a box holds the slice and its labels, or the partner; a pixel
    without an expert's label teaches nothing."""
    batch = first_batch()
    label = np.array(batch["labeled"]["label"])
    label[:, 0] = 255
    views = draw_views(
        jax.random.key(1),
        batch["unlabeled"],
        batch["labeled"]["image"],
        label,
        has_partners=True,
        paste_probability=probability,
        spatial=STILL,
        intensity={},
        cutmix={"probability": 1.0, "area": (0.3, 0.6), "aspect": (0.3, 3.3)},
    )
    views = jax.tree.map(np.asarray, views)
    strong, truth = views.strong, views.truth
    pasted = (truth != PARTNER).all((2, 3))
    assert pasted.mean() == probability or 0 < pasted.mean() < probability + 0.4
    pseudo_label = np.full(label.shape, 3), np.full(label.shape, 0.7)
    for view, index in np.ndindex(2, 4):
        source = (index + view) % 4
        found = with_truth(truth[view, index], *(x[0] for x in pseudo_label))
        found = [np.asarray(each) for each in found]
        for at in np.ndindex(SIZE, SIZE):
            one, known = views.weak[index], pasted[view, index]
            if views.box[view, index][at]:
                one = (
                    batch["labeled"]["image"][source] if known else views.partner[index]
                )
            np.testing.assert_allclose(
                strong[view, index][at], np.asarray(one)[at], atol=1e-5
            )
            expected = (label[source][at], float(label[source][at] != 255))
            expected = expected if known else (3, 0.7)
            assert (found[0][at], found[1][at]) == pytest.approx(expected)


def test_dropped_features_are_half_of_the_channels_at_every_level(key):
    """The batch itself stays; what is added is zero or double, channel by channel."""
    drop = drop_features(key, first=2)
    chosen = []
    for level in range(3):
        features = 1.0 + np.random.default_rng(0).random((5, 4, 4, 64))
        found = np.asarray(drop(level, jnp.asarray(features)))
        np.testing.assert_allclose(found[:5], features, rtol=1e-6)
        factor = found[5:] / features[2:]
        assert set(np.round(np.unique(factor), 4)) == {0, 2}
        assert (np.ptp(factor, axis=(1, 2)) < 1e-4).all()  # whole channels
        assert 0.35 < (factor > 1).mean() < 0.65
        chosen.append(factor[:, 0, 0])
    assert (chosen[0] != chosen[1]).any() and (chosen[0][0] != chosen[0][1]).any()


def test_two_views_of_an_image_lose_opposite_channels(key):
    """Half of the images lose nothing, the same ones at every level."""
    drop = drop_complementary(key, number=6)
    whole = []
    for level in range(3):
        factor = np.asarray(drop(level, jnp.ones((12, 2, 2, 32))))[:, 0, 0]
        np.testing.assert_array_equal(factor[:6] + factor[6:], 2)
        whole.append((factor[:6] == 1).all(1))
        assert set(np.unique(factor[:6][~whole[-1]])) == {0, 2}
    assert whole[0].sum() == 3
    np.testing.assert_array_equal(whole[0], whole[2])


@TEACHERS
def test_frozen_statistics_stay(key, teacher):
    """Every pass normalises by them."""
    params, batch_stats = draw_variables(SEGMENTATION)
    state = ModelState(batch_stats, extra_of(teacher, params, batch_stats))
    loss_fn = make_loss(teacher=teacher, batch_norm="frozen")
    _, (after, _) = jax.jit(loss_fn)(params, state, first_batch(), key)
    assert_same(after.batch_stats, batch_stats)
    if teacher == "ema":
        assert_same(after.extra["batch_stats"], batch_stats)


# --- the step ----------------------------------------------------------------------


@KINDS
def test_one_device_and_four_compute_the_same(teacher):
    """Parameters, statistics and teacher after four steps, and all that is logged."""
    (*_, one), one_metrics = four_steps(teacher)
    (*_, four), four_metrics = four_steps(teacher, 4)
    for a, b in zip(one_metrics, four_metrics, strict=True):
        assert a == pytest.approx(b, rel=1e-2)
    assert_close(one.params, four.params, rtol=1e-3, atol=1e-4)
    assert_close(one.model_state, four.model_state, rtol=1e-3, atol=1e-4)


@KINDS
def test_a_checkpoint_goes_on_bit_for_bit(tmp_path, teacher):
    """From the second of four steps, also with the data on the host."""
    whole, whole_metrics = four_steps(teacher)
    state, step, feed = begin(teacher)
    for _, batch in zip(range(2), feed(state), strict=False):
        state, _ = step(state, batch)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state)
    fresh, step, feed = begin(teacher, budget_mb=0)
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore_latest(fresh)
    rest, metrics = run(restored, step, feed, num_steps=2)
    assert_same(rest[-1], whole[-1])
    assert metrics == whole_metrics[2:]


def test_the_teacher_follows_the_parameters_and_keeps_its_statistics():
    """T = d T + (1 - d) S with d = min(1 - 1/(t + 1), decay), in a NumPy loop."""
    config = get_config()
    config.finetune.method = "unimatch"
    config.finetune.unimatch.update(teacher="ema", ema_decay=0.6)
    states, _ = four_steps("ema")
    expected, _ = draw_variables(SEGMENTATION)
    for step, state in enumerate(states):
        decay = min(1 - 1 / (step + 1), 0.6)
        student = {"params": state.params, "batch_stats": state.batch_stats}
        expected = jax.tree.map(
            lambda t, s, d=decay: d * np.float64(t) + (1 - d) * np.float64(s),
            expected,
            state.params,
        )
        networks = networks_of_state(config, state.params, state.model_state)
        assert list(networks) == ["teacher", "student"]
        teacher = networks["teacher"]
        assert_close(teacher["params"], expected, rtol=1e-5, atol=1e-6)
        assert_same(teacher["batch_stats"], state.model_state.extra["batch_stats"])
        assert_same(networks["student"], student)
    config.finetune.unimatch.result = "student"
    found = networks_of_state(config, states[0].params, states[0].model_state)
    assert next(iter(found)) == "student"


def test_a_teacher_of_an_earlier_version_is_still_read():
    """Its statistics were averaged as its parameters were."""
    config = get_config()
    config.finetune.method = "unimatch"
    config.finetune.unimatch.update(teacher="ema", ema_decay=0.75)
    names = ("params", "batch_stats")
    student, old = (
        dict(zip(names, draw_variables(SEGMENTATION, seed=seed), strict=True))
        for seed in (0, 1)
    )
    extra = {"teacher": old, "step": jnp.int32(9)}
    state = ModelState(student["batch_stats"], extra)
    found = networks_of_state(config, student["params"], state)
    mean = jax.tree.map(lambda t, s: 0.75 * t + 0.25 * s, old, student)
    assert_close(found["teacher"], mean)


# --- what is never seen ------------------------------------------------------------


@TEACHERS
def test_hidden_masks_change_nothing_but_the_log(teacher):
    """With other masks every parameter is the same to the bit, and without any it is
    the same up to what another program rounds otherwise."""
    (*_, expected), metrics = four_steps(teacher)
    wrong = DATA["unlabeled"] | {HIDDEN: np.ones((17, SIZE, SIZE), np.uint8)}
    (*_, found), other = run(
        *begin(teacher, data=DATA | {"unlabeled": wrong}), num_steps=4
    )
    assert_same(found, expected)
    changed = {
        name
        for a, b in zip(metrics, other, strict=True)
        for name in a
        if a[name] != b[name]
    }
    # A network may be right nowhere, whatever the masks.
    hidden = {"hidden_dice_all", "hidden_dice_confident"}
    assert "hidden_dice_all" in changed and changed <= hidden
    without = {"image": DATA["unlabeled"]["image"]}
    (*_, found), other = run(
        *begin(teacher, data=DATA | {"unlabeled": without}), num_steps=4
    )
    assert_close(found.params, expected.params, rtol=1e-4, atol=1e-5)
    assert set(metrics[0]) - set(other[0]) == hidden


def test_only_masks_of_training_patients_are_held_and_only_for_the_log(
    monkeypatch, tmp_path
):
    """Slices of other patients are not there at all, and the labelled patients' are
    without their masks, since the network knows them."""
    images, labels = make_data(12)["image"], np.ones((12, SIZE, SIZE), np.uint8)
    labels[8] = 255  # a training slice without a mask
    split = SimpleNamespace(
        train_slices=[2, 5], val_slices=[3], pretrain_slices=np.array([0, 2, 3, 5, 8])
    )
    config = get_config()
    config.finetune.update(method="unimatch", batch_size=4)
    config.finetune.unimatch.teacher = "self"  # which mixes others in
    loaded = SimpleNamespace(
        dataset=SimpleNamespace(
            images=images,
            labels=labels,
            is_annotated=lambda: (labels != 255).any((1, 2)),
        ),
        split=split,
        backbone=None,
    )
    found = []
    monkeypatch.setattr(
        finetune, "train_and_score", lambda *given, **_: found.append(given[3])
    )
    variables = draw_variables(SEGMENTATION)
    begun = Segmentation(loaded, SEGMENTATION, *variables, jax.random.key(0))
    monkeypatch.setattr(finetune, "load_segmentation", lambda *_: begun)
    finetune.run(config, tmp_path)
    unlabeled = found[0].data["unlabeled"]
    assert set(unlabeled) == {"image", HIDDEN}
    np.testing.assert_array_equal(unlabeled["image"], images[split.pretrain_slices])
    known = (unlabeled[HIDDEN] != 255).all((1, 2))
    np.testing.assert_array_equal(known, [True, False, False, False, False])
    assert found[0].batch_size == {"labeled": 4, "unlabeled": 16}  # 8 partners
    labels[0] = 255  # now no other patient has a mask
    finetune.run(config, tmp_path)
    assert set(found[1].data["unlabeled"]) == {"image"}


# --- the program -------------------------------------------------------------------


def test_the_section_is_what_the_loss_takes():
    """In every size, for both teachers; the sizes are those that devices share."""
    for size in ("quick", "small", "paper"):
        for teacher, number in (("self", 16), ("ema", 8)):
            config = get_config(size)
            config.finetune.method = "unimatch"
            config.finetune.unimatch.teacher = teacher
            made = make_finetuning(
                config,
                SEGMENTATION,
                *draw_variables(SEGMENTATION),
                labeled={},
                unlabeled={},
                num_steps=4,
            )
            assert made.batch_size == {"labeled": 8, "unlabeled": number}
            assert set(made.extra) == (
                {"teacher", "step", "batch_stats"} if teacher == "ema" else set()
            )
    sizes = check_finetuning(config.finetune)
    assert sizes["finetune.unimatch.unlabeled_batch_size"] == 8


def test_the_terms_are_those_of_the_section():
    """Without settings of them, as in earlier runs, and with blocks that do not fill an
    image."""
    own = get_config().finetune.unimatch.to_dict()
    assert read_similarity(own, size=64) == NO_TERMS
    assert not {*Similarity._fields} & {*own}
    assert read_similarity({}, size=64) == NO_TERMS
    found = read_similarity({"prototype_weight": 0.5}, size=64)
    assert found == Similarity(prototype_weight=0.5)
    with pytest.raises(InputError, match="affinity_blocks"):
        read_similarity({"affinity_weight": 1.0, "affinity_blocks": 3}, size=64)


@pytest.mark.parametrize(
    ("method", "pretrained", "own", "rates", "share"),
    [
        ("supervised", True, (3e-3, 0.05), (1e-4, 1e-2), 0.01),
        ("supervised", False, (3e-3, 0.05), (2e-3, 2e-3), 0.01),
        ("mean_teacher", True, (3e-3, 0.05), (1e-4, 1e-2), 0.01),
        ("unimatch", True, (3e-3, 0.05), (3e-3, 3e-3), 0.05),
        ("unimatch", True, (3e-3, 0.0), (3e-3, 3e-3), 0.01),
        ("unimatch", True, (0.0, 0.0), (1e-4, 1e-2), 0.01),
        ("unimatch", True, None, (1e-4, 1e-2), 0.01),
        ("unimatch", False, (3e-3, 0.05), (2e-3, 2e-3), 0.01),
    ],
)
def test_pretrained_weights_have_rates_of_the_method(
    method, pretrained, own, rates, share
):
    """And the rates of `finetune` where it has none, as in earlier runs."""
    recipe = get_config().finetune
    recipe.update(method=method, warmup_share=0.01, scratch_learning_rate=2e-3)
    recipe.update(backbone_learning_rate=1e-4, head_learning_rate=1e-2)
    names = "pretrained_learning_rate", "pretrained_warmup_share"
    if own is None:
        with recipe.unlocked():
            for name in names:
                del recipe.unimatch[name]
    else:
        recipe.unimatch.update(dict(zip(names, own, strict=True)))
    before = recipe.copy_and_resolve_references()
    found = settle_recipe(recipe, pretrained=pretrained)
    assert (found.backbone_learning_rate, found.head_learning_rate) == rates
    assert found.warmup_share == share
    assert recipe == before


@pytest.mark.slow
def test_own_rates_train_as_those_of_finetune_do(workdir, cache, tmp_path):
    """From a pretraining; the weights are the same to the last bit."""
    own = {
        "finetune__unimatch__pretrained_learning_rate": 2e-3,
        "finetune__unimatch__pretrained_warmup_share": 0.5,
    }
    given = {
        "finetune__backbone_learning_rate": 2e-3,
        "finetune__head_learning_rate": 2e-3,
        "finetune__warmup_share": 0.5,
    }
    logged = []
    for name, settings in (("own", own), ("given", given), ("neither", {})):
        settings = {**settings, "finetune__method": "unimatch"}
        settings |= {"init__checkpoint": workdir, "log__validate_every": 0}
        succeed(start("finetune", tmp_path / name, cache, **settings))
        found = [x for x in lines(tmp_path / name / "finetune") if "loss" in x]
        logged.append([each["loss"] for each in found])
    assert logged[0] == logged[1] != logged[2]


def test_runs_of_other_methods_do_not_know_the_section():
    """A run begun before there was a UniMatch goes on, and one with it does not go on
    with another threshold."""
    now = get_config()
    before = get_config().to_dict()
    del before["finetune"]["unimatch"], before["finetune"]["warmup_share"]
    assert changed_settings(before, now, "finetune") == []
    now.finetune.method = "unimatch"
    first = now.to_dict()
    later = ("paste_probability", "cross_entropy_share", *Similarity._fields)
    for name in (*later, "pretrained_learning_rate", "pretrained_warmup_share"):
        del first["finetune"]["unimatch"][name]
    (changed,) = changed_settings(first, now, "finetune")
    assert "cross_entropy_share" in changed
    now.finetune.unimatch.cross_entropy_share = 0.0  # as the first runs
    assert changed_settings(first, now, "finetune") == []
    with_terms = now.copy_and_resolve_references()
    with_terms.finetune.unimatch.prototype_weight = 0.5
    changed = " ".join(changed_settings(first, with_terms, "finetune"))
    assert "prototype_weight" in changed and "affinity" not in changed
    rates = now.copy_and_resolve_references()
    rates.finetune.unimatch.pretrained_learning_rate = 3e-3
    assert len(changed_settings(now, rates, "finetune")) == 1
    rates.init.checkpoint = "none"  # it says nothing about random weights
    assert changed_settings(now, rates, "finetune") == []
    other = now.copy_and_resolve_references()
    other.finetune.unimatch.threshold = 0.9
    (changed,) = changed_settings(now, other, "finetune")
    assert "finetune.unimatch.threshold" in changed
    with pytest.raises(InputError, match="unimatch"):
        del now.finetune.unimatch
        check_finetuning(now.finetune)


@pytest.mark.slow
@pytest.mark.parametrize("origin", ["none", "pretrained"])
def test_a_run_scores_its_networks_and_logs_its_terms(workdir, cache, tmp_path, origin):
    """From random weights by itself, and from a pretraining by an average; prediction
    and evaluation take the average's own statistics."""
    teacher = {"none": "self", "pretrained": "ema"}[origin]
    checkpoint = workdir if origin == "pretrained" else "none"
    settings = {
        "finetune__method": "unimatch",
        "finetune__unimatch__teacher": teacher,
        "finetune__unimatch__ema_decay": 0.5,
        "init__checkpoint": checkpoint,
        "log__validate_every": 0,
    }
    succeed(start("finetune", tmp_path, cache, **settings))
    folder = tmp_path / "finetune"
    result = json.loads((folder / "evaluation.json").read_text())
    assert ("student" in result) == (teacher == "ema")
    logged = [line for line in lines(folder) if "loss" in line]
    names = {"supervised_loss", "strong_loss", "confident_share", "hidden_dice_all"}
    assert all(names <= set(line) for line in logged)
    whole = {"predict__largest_component": False}  # as the run's own scores are
    succeed(start("evaluate", tmp_path, cache, **whole))
    again = json.loads((tmp_path / "evaluate" / "evaluation.json").read_text())
    assert again["dice"] == pytest.approx(result["dice"], abs=1e-3)


def test_unknown_names_are_refused(tmp_path, cache):
    """Before a folder is made, and the setting is named."""
    name = {"finetune__unimatch__teacher": "both"}
    result = start("finetune", tmp_path, cache, finetune__method="unimatch", **name)
    assert "finetune.unimatch.teacher is" in refused(result)
    assert not list(tmp_path.iterdir())
