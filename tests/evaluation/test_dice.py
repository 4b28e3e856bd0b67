import numpy as np
import pytest

from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.evaluation.dice import dice_per_class, soft_dice_per_class, summarise


def loop_dice(prediction, label, num_classes):
    """Dice by counting voxel after voxel."""
    result = []
    for c in range(num_classes):
        both = in_prediction = in_label = 0
        for p, y in zip(prediction.ravel(), label.ravel(), strict=True):
            if y == UNLABELLED:
                continue
            both += int(p == c and y == c)
            in_prediction += int(p == c)
            in_label += int(y == c)
        total = in_prediction + in_label
        result.append(2 * both / total if total else np.nan)
    return np.asarray(result)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("num_classes", [2, 4, 30])
def test_dice_equals_a_loop_over_voxels(seed, num_classes):
    """Counting through the confusion matrix changes nothing, for uint8 labels too."""
    random = np.random.default_rng(seed)
    prediction, label = random.integers(0, num_classes, (2, 5, 6, 3)).astype(np.uint8)
    label[random.random(label.shape) < 0.1] = UNLABELLED
    np.testing.assert_allclose(
        dice_per_class(prediction, label, num_classes=num_classes),
        loop_dice(prediction, label, num_classes),
        rtol=1e-15,
    )


def test_dice_of_a_case_worked_by_hand():
    """Two of three voxels right, one too many: 2 * 2 / (3 + 3)."""
    label = np.array([[1, 1, 1, 0, 0]])
    prediction = np.array([[1, 1, 0, 1, 0]])
    dice = dice_per_class(prediction, label, num_classes=3)
    np.testing.assert_allclose(dice, [2 * 1 / (2 + 2), 2 * 2 / (3 + 3), np.nan])


def test_dice_is_one_for_the_label_and_zero_for_its_opposite():
    """The bounds are reached: a perfect mask scores 1, a disjoint one 0."""
    label = np.array([0, 0, 1, 1])
    np.testing.assert_array_equal(dice_per_class(label, label, num_classes=2), [1, 1])
    np.testing.assert_array_equal(
        dice_per_class(1 - label, label, num_classes=2), [0, 0]
    )


def test_dice_tells_absent_from_missed():
    """A class in neither is NaN; a class in one of the two alone scores 0."""
    dice = dice_per_class(np.array([0, 2]), np.array([0, 1]), num_classes=4)
    np.testing.assert_array_equal(dice, [1, 0, 0, np.nan])


def test_dice_is_symmetric_and_counts_the_volume_as_one():
    """It is 3D: order of arguments and of voxels change nothing, slices do not part."""
    random = np.random.default_rng(0)
    a, b = random.integers(0, 4, (2, 6, 6, 4))
    dice = dice_per_class(a, b, num_classes=4)
    np.testing.assert_array_equal(dice, dice_per_class(b, a, num_classes=4))
    order = random.permutation(a.size)
    np.testing.assert_array_equal(
        dice, dice_per_class(a.ravel()[order], b.ravel()[order], num_classes=4)
    )
    by_slice = [dice_per_class(a[..., i], b[..., i], num_classes=4) for i in range(4)]
    assert not np.allclose(dice, np.mean(by_slice, axis=0))


def test_dice_without_any_label_is_nan():
    """Where nothing was labelled there is no score, and no warning."""
    label = np.full((3, 3), UNLABELLED, np.uint8)
    assert np.isnan(dice_per_class(np.zeros((3, 3), int), label, num_classes=4)).all()


def test_dice_refuses_what_cannot_be_compared():
    """Another shape or an unknown class is an error that says which."""
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        dice_per_class(np.zeros(2, int), np.zeros(3, int), num_classes=2)
    with pytest.raises(ValueError, match=r"prediction.* 0 to 4"):
        dice_per_class(np.array([0, 4]), np.array([0, 1]), num_classes=4)
    with pytest.raises(ValueError, match=r"label.* -1 to 1"):
        dice_per_class(np.array([0, 1]), np.array([-1, 1]), num_classes=4)


def test_soft_dice_equals_a_loop_over_voxels():
    """Products and sums of probabilities, voxel after voxel; ignored ones are out."""
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(3), (5, 4, 2))
    label = random.integers(0, 3, (5, 4, 2)).astype(np.uint8)
    label[0] = UNLABELLED
    both, total = np.zeros(3), np.zeros(3)
    for p, y in zip(probabilities.reshape(-1, 3), label.ravel(), strict=True):
        for c in range(3):
            if y != UNLABELLED:
                both[c] += p[c] * (y == c)
                total[c] += p[c] + (y == c)
    np.testing.assert_allclose(
        soft_dice_per_class(probabilities, label), 2 * both / total, rtol=1e-12
    )


def test_soft_dice_of_certain_predictions_is_dice():
    """With probabilities of 0 and 1 the two agree, in what they leave out as well."""
    random = np.random.default_rng(1)
    prediction, label = random.integers(0, 3, (2, 6, 5))
    certain = np.eye(4)[prediction]
    hard = dice_per_class(prediction, label, num_classes=4)
    np.testing.assert_allclose(soft_dice_per_class(certain, label), hard)
    assert np.isnan(hard[3])
    with pytest.raises(ValueError, match="the label"):
        soft_dice_per_class(certain, label[:3])


def test_summary_of_a_case_worked_by_hand():
    """Means over volumes, then over structures; the absent class is left out."""
    scores = np.array([[1.0, 0.5, 0.6, 0.7], [0.8, np.nan, 0.2, 0.5]])
    summary = summarise(scores, classes=("BG", "RV", "MYO", "LV"))
    assert summary.num_volumes == 2
    expected = {"BG": 0.9, "RV": 0.5, "MYO": 0.4, "LV": 0.6}
    expected["mean"] = (0.9 + 0.5 + 0.4 + 0.6) / 4
    expected["mean_foreground"] = (0.5 + 0.4 + 0.6) / 3
    assert summary.mean == pytest.approx(expected)
    # By hand: the volumes' own averages are 0.7 and 0.5, without background 0.6
    # and 0.35; the deviation of two numbers is half their distance.
    expected = {"BG": 0.1, "RV": 0.0, "MYO": 0.2, "LV": 0.1}
    assert summary.std == pytest.approx(
        expected | {"mean": 0.1, "mean_foreground": 0.125}
    )


def test_summary_equals_numpy_where_nothing_is_absent():
    """Without NaN it is the plain mean and standard deviation over volumes."""
    scores = np.random.default_rng(0).random((7, 4))
    summary = summarise(scores, classes=("BG", "RV", "MYO", "LV"))
    assert summary.mean["MYO"] == pytest.approx(scores[:, 2].mean())
    assert summary.std["MYO"] == pytest.approx(scores[:, 2].std())
    assert summary.mean["mean"] == pytest.approx(scores.mean())
    assert summary.mean["mean_foreground"] == pytest.approx(scores[:, 1:].mean())
    assert summary.std["mean"] == pytest.approx(scores.mean(1).std())
    assert summary.std["mean_foreground"] == pytest.approx(scores[:, 1:].mean(1).std())


def test_summary_of_a_class_that_no_volume_has_is_nan():
    """It is NaN itself, and the averages are over the others, with no warning."""
    scores = np.array([[1.0, np.nan, 0.5], [1.0, np.nan, 0.7]])
    summary = summarise(scores, classes=("BG", "A", "B"))
    assert np.isnan(summary.mean["A"])
    assert np.isnan(summary.std["A"])
    assert summary.mean["mean"] == pytest.approx(0.8)
    assert summary.mean["mean_foreground"] == pytest.approx(0.6)


def test_summary_refuses_another_number_of_classes():
    """Three columns are not four classes."""
    with pytest.raises(ValueError, match=r"\(2, 3\).* 4\]"):
        summarise(np.ones((2, 3)), classes=("BG", "RV", "MYO", "LV"))
