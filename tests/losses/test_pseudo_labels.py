"""Pseudo-labels and the Dice over confident pixels, against plain loops."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2rep_jax.losses.pseudo_labels import (
    confident_cross_entropy,
    confident_dice,
    confident_loss,
    hard_dice,
    make_pseudo_labels,
)

SHAPE = (2, 3, 5)
CLASSES = 4


def draw_logits(seed=0):
    return 3 * np.random.default_rng(seed).normal(size=(*SHAPE, CLASSES))


def softmax(values):
    return [math.exp(x) / sum(map(math.exp, values)) for x in values]


def test_a_pseudo_label_is_the_likeliest_class_with_its_probability():
    """Pixel by pixel in float64; large logits do not overflow."""
    logits = draw_logits()
    label, confidence = make_pseudo_labels(logits)
    for place in np.ndindex(SHAPE):
        p = softmax(logits[place])
        assert label[place] == p.index(max(p))
        assert confidence[place] == pytest.approx(max(p), rel=1e-5)
    large = make_pseudo_labels(jnp.full((1, 3), 900.0))[1]
    np.testing.assert_allclose(large, 1 / 3, rtol=1e-6)


def test_no_gradient_passes_through_a_pseudo_label():
    """Neither through the class nor through its probability."""
    value = lambda logits: make_pseudo_labels(logits)[1].sum()  # noqa: E731
    assert not np.asarray(jax.grad(value)(jnp.asarray(draw_logits()))).any()


def dice_by_hand(logits, labels, confident):
    """Per class, with squares in the denominator, over the confident pixels."""
    losses = []
    for index in range(CLASSES):
        both = p_square = y_square = 0.0
        for place in np.ndindex(SHAPE):
            if not confident[place]:
                continue
            p, y = softmax(logits[place])[index], float(labels[place] == index)
            both, p_square, y_square = both + p * y, p_square + p * p, y_square + y * y
        losses.append(1 - (2 * both + 1e-5) / (p_square + y_square + 1e-5))
    return sum(losses) / CLASSES


@pytest.mark.parametrize("share", [1.0, 0.6, 0.05])
def test_the_dice_is_a_loop_over_confident_pixels(share):
    """All four classes count; what is not confident changes neither value nor
    gradient, even if it is far off."""
    generator = np.random.default_rng(1)
    logits, labels = draw_logits(), generator.integers(0, CLASSES, SHAPE)
    confident = generator.random(SHAPE) < share
    found = float(confident_dice(logits, labels, confident))
    assert found == pytest.approx(dice_by_hand(logits, labels, confident), rel=1e-4)
    other = np.where(confident[..., None], logits, 50 * draw_logits(seed=2))
    assert confident_dice(other, labels, confident) == pytest.approx(found, rel=1e-5)
    gradient = jax.grad(confident_dice)(jnp.asarray(logits), labels, confident)
    assert not np.asarray(gradient)[~confident].any()
    assert not confident.any() or np.asarray(gradient)[confident].any()


@pytest.mark.parametrize("share", [1.0, 0.6, 0.05, 0.0])
def test_the_cross_entropy_is_a_loop_over_confident_pixels(share):
    """The others count as 0, and change nothing even if they are far off."""
    generator = np.random.default_rng(2)
    logits, labels = draw_logits(), generator.integers(0, CLASSES, SHAPE)
    confident = generator.random(SHAPE) < share
    total = 0.0
    for place in zip(*confident.nonzero(), strict=True):
        values = np.exp(np.asarray(logits[place], np.float64))
        total -= math.log(values[labels[place]] / values.sum())
    found = float(confident_cross_entropy(logits, labels, confident))
    assert found == pytest.approx(total / confident.size, rel=1e-5)
    other = np.where(confident[..., None], logits, 50 * draw_logits(seed=2))
    assert confident_cross_entropy(other, labels, confident) == pytest.approx(found)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_both_losses_of_confident_pixels_share_one(share):
    generator = np.random.default_rng(4)
    logits, labels = draw_logits(), generator.integers(0, CLASSES, SHAPE)
    arguments = logits, labels, generator.random(SHAPE) < 0.6
    dice, cross_entropy = (
        confident_dice(*arguments),
        confident_cross_entropy(*arguments),
    )
    found = confident_loss(*arguments, cross_entropy_share=share)
    expected = share * cross_entropy + (1 - share) * dice
    assert found == pytest.approx(float(expected), rel=1e-6)


def test_without_a_confident_pixel_there_is_nothing_to_learn():
    """Loss and gradient are zero."""
    nothing = np.zeros(SHAPE, bool)
    arguments = jnp.asarray(draw_logits()), np.zeros(SHAPE, int), nothing
    value, gradient = jax.value_and_grad(confident_dice)(*arguments)
    assert value == pytest.approx(0, abs=1e-6) and not np.asarray(gradient).any()


def test_the_logged_dice_is_that_of_the_known_pixels():
    """The mean over the classes that occur, without background; null if none does."""
    generator = np.random.default_rng(3)
    predicted, true = generator.integers(0, 3, (2, *SHAPE))
    known = generator.random(SHAPE) < 0.7
    a, b = predicted[known], true[known]
    expected = [
        2 * ((a == i) & (b == i)).sum() / ((a == i).sum() + (b == i).sum())
        for i in (1, 2)
    ]
    found = hard_dice(predicted, true, known, num_classes=CLASSES)
    assert found == pytest.approx(np.mean(expected), rel=1e-5)
    assert np.isnan(hard_dice(predicted, true, ~np.ones(SHAPE, bool), num_classes=3))
