"""HD95 and ASSD against loops over boundary voxels, and cases worked by hand."""

import itertools

import numpy as np
import pytest

from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.evaluation.surface_distance import (
    directed_distances,
    surface_distances,
)

SPACING = (1.4, 1.7, 8.0)


def loop_surface(mask):
    """Voxels with a face towards something else, one after the other."""
    found = []
    for index in itertools.product(*map(range, mask.shape)):
        if not mask[index]:
            continue
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            near = list(index)
            near[axis] += step
            inside = 0 <= near[axis] < mask.shape[axis]
            if not (inside and mask[tuple(near)]):
                found.append(index)
                break
    return np.array(found, float)


def loop_distances(mask_a, mask_b, spacing):
    """Every surface voxel of a against every one of b."""
    a, b = loop_surface(mask_a), loop_surface(mask_b)
    return np.array([np.sqrt((((x - b) * spacing) ** 2).sum(1)).min() for x in a])


def blobs(seed, shape=(14, 12, 5)):
    """Labels of three classes in lumps, some at the edge of the volume."""
    random = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    grid = np.stack(np.indices(shape), -1)
    for value in (1, 2, 3):
        centre, radius = random.uniform(0, shape), random.uniform(2.5, 5)
        labels[((grid - centre) ** 2 * (1, 1, 4)).sum(-1) < radius**2] = value
    return labels


@pytest.mark.parametrize("seed", range(4))
def test_distances_equal_a_loop_over_boundary_voxels(seed):
    """With voxels of three different sides, for lumps that touch the volume's edge."""
    prediction, label = blobs(2 * seed), blobs(2 * seed + 1)
    got = surface_distances(prediction, label, num_classes=4, spacing_mm=SPACING)
    compared = 0
    for value in (1, 2, 3):
        masks = prediction == value, label == value
        if not all(mask.any() for mask in masks):
            assert np.isnan(got.hd95_mm[value])
            continue
        one = loop_distances(*masks, SPACING)
        other = loop_distances(*masks[::-1], SPACING)
        hd95 = max(np.percentile(one, 95), np.percentile(other, 95))
        assd = (one.sum() + other.sum()) / (len(one) + len(other))
        np.testing.assert_allclose(got.hd95_mm[value], hd95, rtol=1e-12)
        np.testing.assert_allclose(got.assd_mm[value], assd, rtol=1e-12)
        compared += 1
    assert compared >= 2


@pytest.mark.parametrize(
    ("value", "assd", "pooled"),
    [
        (1, 1.1726954452809353, 4.404543109109048),
        (2, 11.445525970118556, 15.241062955056645),
        (3, 11.065766586017387, 15.171713709863619),
    ],
)
def test_distances_are_medpys(value, assd, pooled):
    """As MedPy 0.5.2 gave them, whose HD95 is of both directions together."""
    prediction, label = blobs(2), blobs(3)
    got = surface_distances(prediction, label, num_classes=4, spacing_mm=SPACING)
    assert got.assd_mm[value] == pytest.approx(assd, rel=1e-12)
    both = directed_distances(prediction == value, label == value, spacing_mm=SPACING)
    assert np.percentile(np.concatenate(both), 95) == pytest.approx(pooled, rel=1e-12)
    assert got.hd95_mm[value] >= pooled


@pytest.mark.parametrize("axis", range(3))
def test_a_shift_by_one_voxel_is_one_spacing(axis):
    """Two single voxels side by side are as far apart as that axis says."""
    label = np.zeros((4, 4, 4), int)
    label[1, 1, 1] = 1
    got = surface_distances(
        np.roll(label, 1, axis), label, num_classes=2, spacing_mm=SPACING
    )
    assert got.hd95_mm[1] == got.assd_mm[1] == pytest.approx(SPACING[axis])


def test_equal_masks_touch_and_the_order_does_not_matter():
    """The distance to itself is 0; both measures are symmetric."""
    a, b = blobs(0), blobs(1)
    same = surface_distances(a, a, num_classes=4, spacing_mm=SPACING)
    np.testing.assert_array_equal(same.hd95_mm[np.unique(a)[1:]], 0)
    one, other = (
        surface_distances(*pair, num_classes=4, spacing_mm=SPACING)
        for pair in ((a, b), (b, a))
    )
    np.testing.assert_array_equal(one.hd95_mm, other.hd95_mm)
    np.testing.assert_allclose(one.assd_mm, other.assd_mm, rtol=1e-14)


def test_a_few_stray_voxels_do_not_decide():
    """One far voxel in a hundred moves the average, and not the 95th percentile."""
    label = np.zeros((60, 12, 1), int)
    label[:50, 0] = 1
    prediction = label.copy()
    prediction[20, 11] = 1
    got = surface_distances(prediction, label, num_classes=2, spacing_mm=(1, 1, 8))
    assert got.hd95_mm[1] == 0 and got.assd_mm[1] == pytest.approx(11 / 101)


def test_a_class_that_either_lacks_has_no_distance():
    """NaN without a warning: missed, invented, and absent from both; background too."""
    label = np.zeros((3, 3, 2), int)
    prediction = label.copy()
    label[0, 0, 0], prediction[2, 2, 1] = 1, 2
    got = surface_distances(prediction, label, num_classes=4, spacing_mm=SPACING)
    assert np.isnan(got.hd95_mm).all() and np.isnan(got.assd_mm).all()


def test_what_does_not_fit_is_refused():
    """Another shape, or a spacing of two axes for three."""
    one = np.ones((2, 2, 2), int)
    with pytest.raises(ValueError, match="spacing"):
        surface_distances(one, one[:1], num_classes=2, spacing_mm=SPACING)
    with pytest.raises(ValueError, match="spacing"):
        surface_distances(one, one, num_classes=2, spacing_mm=(1.0, 1.0))


def loop_known_surface(mask, known):
    """Voxels with a face towards a labelled voxel outside, or towards the edge."""
    found = []
    for index in itertools.product(*map(range, mask.shape)):
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            near = list(index)
            near[axis] += step
            inside = 0 <= near[axis] < mask.shape[axis]
            ends = not inside or (known[tuple(near)] and not mask[tuple(near)])
            if mask[index] and ends:
                found.append(index)
                break
    return np.array(found, float)


@pytest.mark.parametrize("seed", range(3))
def test_unlabelled_voxels_are_in_neither_mask_nor_at_its_surface(seed):
    """A loop in float64; what the network says there does not matter."""
    prediction, label = blobs(2 * seed + 2), blobs(2 * seed + 3)
    random = np.random.default_rng(seed)
    known = random.random(label.shape) < 0.8
    known[..., 1] = False  # a slice that nobody has annotated
    label[~known] = UNLABELLED
    got = surface_distances(prediction, label, num_classes=4, spacing_mm=SPACING)
    noise = np.where(known, prediction, random.integers(0, 4, label.shape))
    again = surface_distances(noise, label, num_classes=4, spacing_mm=SPACING)
    for one, other in zip(got, again, strict=True):
        np.testing.assert_array_equal(one, other)
    compared = 0
    for value in (1, 2, 3):
        a, b = (
            loop_known_surface((array == value) & known, known)
            for array in (prediction, label)
        )
        if not (len(a) and len(b)):
            assert np.isnan(got.hd95_mm[value])
            continue
        away = np.sqrt((((a[:, None] - b) * SPACING) ** 2).sum(-1))
        one, other = away.min(1), away.min(0)
        hd95 = max(np.percentile(one, 95), np.percentile(other, 95))
        np.testing.assert_allclose(got.hd95_mm[value], hd95, rtol=1e-12)
        assd = np.concatenate([one, other]).mean()
        np.testing.assert_allclose(got.assd_mm[value], assd, rtol=1e-12)
        compared += 1
    assert compared >= 2


def test_a_dot_has_no_surface():
    """All around it is unlabelled, so nobody knows where the structure ends."""
    label = np.full((5, 5, 3), UNLABELLED, np.uint8)
    label[2, 2, 1] = 1
    got = surface_distances(
        np.ones_like(label), label, num_classes=2, spacing_mm=SPACING
    )
    assert np.isnan(got.hd95_mm).all() and np.isnan(got.assd_mm).all()
