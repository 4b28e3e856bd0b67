"""Feature affinities and class prototypes, against plain loops in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2rep_jax.losses.similarity import (
    class_prototypes,
    propagate_classes,
    prototype_loss,
)

SHAPE, CLASSES, WIDTH = (2, 4, 8), 4, 5


def draw_features(seed=0):
    return np.random.default_rng(seed).normal(size=(*SHAPE, WIDTH))


def draw_classes(seed=1):
    return np.random.default_rng(seed).integers(0, CLASSES, SHAPE)


def draw_probabilities(seed=2):
    return np.random.default_rng(seed).dirichlet(np.ones(CLASSES), SHAPE)


def softmax(values):
    exponents = [np.exp(x) for x in values]
    return np.array([x / sum(exponents) for x in exponents])


def cosine(a, b):
    length = np.sqrt(sum(x * x for x in a)) * np.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / length


def blocks_by_hand(x, stride):
    """The means of the blocks of one image `[height, width, c]`, row after row."""
    height, width, _ = x.shape
    return [
        sum(x[row + i, column + j] for i in range(stride) for j in range(stride))
        / stride**2
        for row in range(0, height, stride)
        for column in range(0, width, stride)
    ]


@pytest.mark.parametrize(("stride", "temperature"), [(1, 1.0), (2, 1.0), (4, 0.1)])
def test_classes_are_propagated_as_in_a_loop_over_pairs(stride, temperature):
    """p + A p, halved, where each row of A is the softmax of the cosines; with blocks
    of one pixel these are all pairs of pixels."""
    p, z = draw_probabilities(), draw_features()
    found = propagate_classes(p, z, temperature=temperature, stride=stride)
    for image, row, column in np.ndindex(SHAPE):
        others = blocks_by_hand(z[image], stride)
        cosines = [cosine(z[image, row, column], other) for other in others]
        weights = softmax(np.array(cosines) / temperature)
        spread = sum(
            w * q
            for w, q in zip(weights, blocks_by_hand(p[image], stride), strict=True)
        )
        expected = (p[image, row, column] + spread) / 2
        np.testing.assert_allclose(found[image, row, column], expected, rtol=1e-4)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)


def prototypes_by_hand(z, labels):
    """Directions by quarter and class; of the whole image where a quarter has none."""
    sums = np.zeros((4, CLASSES, WIDTH))
    for image, row, column in np.ndindex(SHAPE):
        quarter = 2 * (row >= SHAPE[1] / 2) + (column >= SHAPE[2] / 2)
        if (value := labels[image, row, column]) != 255:
            vector = z[image, row, column]
            sums[quarter, value] += vector / np.linalg.norm(vector)
    for quarter, value in np.ndindex(4, CLASSES):
        if not sums[quarter, value].any():
            sums[quarter, value] = sums[:, value].sum(0)
    length = np.linalg.norm(sums, axis=-1, keepdims=True)
    return sums / np.where(length > 0, length, 1)


def draw_labeled():
    """Class 3 is nowhere, class 2 only in one quarter, and some pixels are unknown."""
    labels = draw_classes() % 2
    labels[0, :2, :4] = 2
    labels[1, 3, 2:5] = 255
    return labels


def test_prototypes_are_means_by_quarter_and_class():
    z, labels = draw_features(), draw_labeled()
    found, occurs = class_prototypes(
        jnp.asarray(z), jnp.asarray(labels), num_classes=CLASSES
    )
    np.testing.assert_array_equal(occurs, [True, True, True, False])
    np.testing.assert_allclose(found, prototypes_by_hand(z, labels), atol=1e-5)
    np.testing.assert_allclose(found[1, 2], found[0, 2], atol=1e-6)


def loss_by_hand(z, labels, confident, prototypes, *, temperature, present):
    total = weights = 0.0
    for place in np.ndindex(SHAPE):
        if not confident[place] or labels[place] not in present:
            continue
        each = []
        for quarter in range(4):
            cosines = [cosine(z[place], prototypes[quarter, c]) for c in present]
            each.append(softmax(np.array(cosines) / temperature))
        mean = sum(each) / 4
        weight = sum(q.argmax() == mean.argmax() for q in each) / 4
        total += weight * -np.log(mean[present.index(labels[place])])
        weights += weight
    return total / weights


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_the_loss_is_a_loop_over_confident_pixels(temperature):
    """What is not confident, and a class that no labelled slice shows, do not count."""
    labeled, labels = draw_features(seed=5), draw_classes()
    prototypes, occurs = class_prototypes(
        jnp.asarray(labeled), jnp.asarray(draw_labeled()), num_classes=CLASSES
    )
    z, confident = draw_features(), np.random.default_rng(6).random(SHAPE) < 0.6
    found = prototype_loss(
        z, labels, confident, prototypes, occurs, temperature=temperature
    )
    expected = loss_by_hand(
        z,
        labels,
        confident,
        prototypes_by_hand(labeled, draw_labeled()),
        temperature=temperature,
        present=[0, 1, 2],
    )
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("case", ["usual", "no confident pixel", "no labelled pixel"])
def test_gradients_are_finite(case):
    """Also with features of length zero, and where nothing counts: the loss is 0."""
    z = draw_features()
    z[0, 0, 0] = 0
    known = np.full(SHAPE, 255) if case == "no labelled pixel" else draw_labeled()
    confident = np.full(SHAPE, case != "no confident pixel")

    def value(z):
        prototypes, occurs = class_prototypes(z, known, num_classes=CLASSES)
        loss = prototype_loss(
            z, draw_classes(), confident, prototypes, occurs, temperature=0.1
        )
        spread = propagate_classes(draw_probabilities(), z, temperature=1.0, stride=2)
        return loss, (spread**2).sum()

    first, second = (
        jax.jit(jax.grad(lambda z, index=index: value(z)[index]))(jnp.asarray(z))
        for index in (0, 1)
    )
    assert np.isfinite(first).all() and np.isfinite(second).all()
    assert bool(np.asarray(first).any()) == (case == "usual")
    assert np.asarray(second).any()
    assert case == "usual" or value(jnp.asarray(z))[0] == 0


def test_the_matrix_of_all_pairs_is_never_in_memory():
    """An eighth of it at a time, also for the gradient."""
    number, side = 2, 32
    p, z = jnp.ones((number, side, side, 2)) / 2, jnp.ones((number, side, side, 3))
    value = lambda z: (  # noqa: E731
        propagate_classes(p, z, temperature=1.0, stride=1)[..., 0] ** 2
    ).sum()
    plan = jax.jit(jax.grad(value)).lower(z).compile().memory_analysis()
    assert plan.temp_size_in_bytes < 0.7 * 4 * number * side**4
