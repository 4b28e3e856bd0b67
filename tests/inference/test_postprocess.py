"""Test-time options: each against a plain loop over what it stands for."""

import numpy as np
import pytest
import scipy.ndimage

from configs.pix2rep import get_config
from pix2rep_jax.data.one_piece import OnePiece
from pix2rep_jax.inference.postprocess import (
    SETTINGS,
    Motion,
    Pieces,
    average_motions,
    choose_components,
    choose_motions,
    keep_largest,
    known_motions,
    read_options,
    shared_pieces,
)
from tests.support.run_folder import make_run_record, make_split_of

IMAGES = np.random.default_rng(0).random((2, 8, 8, 1), np.float32)
STILL = Motion(False, 0)


def spatial(**changes):
    config = get_config("small").to_dict()
    config["augment"]["spatial"] |= {"upright": False, **changes}
    return config


@pytest.mark.parametrize(
    "changes, number",
    [
        ({}, 8),
        ({"flip_probability": 0.0}, 4),
        ({"rotation_probability": 0.0}, 3),
        ({"max_rotation": 0.35}, 3),
        ({"max_rotation": np.pi / 2, "flip_probability": 0.0}, 3),
        ({"max_rotation": 0.35, "flip_probability": 0.0}, 1),
        ({"upright": True}, 1),
    ],
)
def test_only_motions_that_training_knew_are_used(changes, number):
    """Mirrored once of rows or of columns; turned as far as the largest rotation."""
    motions = known_motions(spatial(**changes), "finetune")
    assert len(set(motions)) == len(motions) == number and motions[0] == STILL


def test_what_never_moved_slices_knows_no_motion():
    """Probing, and the released recipe."""
    config = spatial()
    assert known_motions(config, "probe") == (STILL,)
    config["augment"]["recipe"] = "released"
    assert known_motions(config, "finetune") == (STILL,)


def test_each_motion_of_a_square_is_another_one():
    """All eight: as NumPy's flips and turns make them."""
    seen = []
    average_motions(
        lambda x: seen.append(x) or x, known_motions(spatial(), "finetune")
    )(IMAGES)
    expected = [
        np.rot90(each, turns, axes=(1, 2))
        for each in (IMAGES, IMAGES[:, ::-1])
        for turns in range(4)
    ]
    assert len(seen) == 8
    for one in expected:
        assert sum(np.array_equal(one, other) for other in seen) == 1


@pytest.mark.parametrize("shape", [(2, 8, 8, 1), (2, 6, 8, 1)])
def test_every_copy_is_moved_back(shape):
    """So a network that treats each pixel on its own gives the same. Slices that are
    not square keep their shape."""
    images = np.random.default_rng(1).random(shape, np.float32)
    shapes = set()

    def predict(images):
        shapes.add(images.shape)
        return np.concatenate([1 - images, images], -1)

    averaged = average_motions(predict, known_motions(spatial(), "finetune"))
    np.testing.assert_allclose(averaged(images), predict(images), atol=1e-6)
    assert shapes == {shape}


def test_the_mean_is_that_of_the_probabilities():
    """Of a network that sees the upper left corner alone."""

    def predict(images):
        result = np.zeros_like(images)
        result[:, 0, 0] = images[:, 0, 0]
        return result

    found = average_motions(predict, [STILL, Motion(True, 0)])(IMAGES)
    expected = np.zeros_like(IMAGES)
    expected[:, 0, 0], expected[:, -1, 0] = IMAGES[:, 0, 0] / 2, IMAGES[:, -1, 0] / 2
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_setting_decides():
    """Mirroring is off by itself."""
    motions = known_motions(spatial(), "finetune")
    assert len(choose_motions(motions, True)) == 8
    assert [*choose_motions(motions, "auto")] == [*choose_motions(motions, False)]
    assert [*choose_motions(motions, False)] == [STILL]
    assert read_options({}).keys() == read_options(get_config()).keys() == {*SETTINGS}


LV, HEART = OnePiece(("LV",)), OnePiece(("LV",), foreground=True)
PARTS = OnePiece(("RV", "LV"), foreground=True)


@pytest.mark.parametrize(
    "patients, one_piece, crop, method, wanted, expected",
    [
        (5, LV, "center", "supervised", "auto", Pieces((2,))),
        (5, HEART, "center", "supervised", "auto", Pieces((2,), foreground=True)),
        (4, LV, "center", "supervised", "auto", Pieces()),
        (4, HEART, "center", "supervised", "auto", Pieces()),
        (1, PARTS, "center", "supervised", "auto", Pieces((1, 2), foreground=True)),
        (5, OnePiece(), "center", "supervised", "auto", Pieces()),
        (1, LV, "whole", "supervised", "auto", Pieces((2,))),
        (1, OnePiece(), "whole", "supervised", "auto", Pieces()),
        (1, LV, "middle", "supervised", "auto", Pieces((2,))),
        (1, LV, "center", "unimatch", "auto", Pieces((2,))),
        (1, HEART, "center", "unimatch", "auto", Pieces((2,), foreground=True)),
        (1, OnePiece(), "center", "unimatch", "auto", Pieces()),
        (1, HEART, "center", "supervised", True, Pieces((1, 2))),
        (1, LV, "center", "supervised", "foreground", Pieces((1, 2), foreground=True)),
        (9, HEART, "whole", "unimatch", False, Pieces()),
    ],
)
def test_pieces_are_dropped_where_enough_masks_have_one(
    patients, one_piece, crop, method, wanted, expected
):
    """Or several classes make one, or where patches train, or after UniMatch."""
    split = make_split_of(labeled_patients=("p",) * patients)
    record = make_run_record(split=split)._replace(one_piece=one_piece)
    data = {"classes": ("BG", "RV", "LV"), "crop": crop}
    config = {"data": data, "finetune": {"method": method}}
    assert choose_components(config, record, wanted) == expected


def test_a_probe_beside_unimatch_keeps_every_piece():
    """Its configuration has the section of fine-tuning, by which it was not trained."""
    config = {"data": {"classes": ("BG", "LV"), "crop": "center"}}
    config["finetune"] = {"method": "unimatch"}
    split = make_split_of(labeled_patients=("p",))
    for trained, expected in ((("head",), ()), (("backbone", "head"), (1,))):
        record = make_run_record(split=split, trained=trained)
        record = record._replace(one_piece=LV)
        assert choose_components(config, record, "auto").classes == expected


def test_the_largest_piece_is_kept():
    """Of the classes that are named, in each frame on its own; corners join."""
    labels = np.random.default_rng(2).integers(0, 3, (9, 10, 4, 2)).astype(np.uint8)
    labels[labels == 1] *= np.random.default_rng(3).random((labels == 1).sum()) < 0.3
    labels[-1, -1, -1, :] = 1
    labels[-2, -2, -2, :] = 1
    expected = labels.copy()
    for frame in range(2):
        pieces, count = scipy.ndimage.label(
            labels[..., frame] == 1, scipy.ndimage.generate_binary_structure(3, 3)
        )
        sizes = [(pieces == number + 1).sum() for number in range(count)]
        assert count > 1
        kept = pieces == int(np.argmax(sizes)) + 1
        expected[..., frame][(pieces > 0) & ~kept] = 0
    found = keep_largest(labels.copy(order="F"), Pieces((1,)))
    np.testing.assert_array_equal(found, expected)
    assert (expected != labels).any()
    np.testing.assert_array_equal(keep_largest(labels.copy(), Pieces()), labels)
    nothing = np.zeros((3, 3, 1), np.uint8)
    np.testing.assert_array_equal(
        keep_largest(nothing.copy(), Pieces((1, 2), True)), nothing
    )


def test_a_structure_is_looked_for_in_the_largest_piece_of_all_classes():
    """The false blob has more voxels than class 1, and fewer than both classes."""
    labels = np.zeros((20, 20, 3), np.uint8)
    labels[2:7, 2:7], labels[7:9, 2:7] = 2, 1
    blob = np.zeros(labels.shape, bool)
    blob[15:, 15:] = True
    both = np.where(blob, 1, labels).astype(np.uint8)
    both[0, 19, 1] = 3
    alone = keep_largest(both.copy(), Pieces((1, 2)))
    assert (alone[blob] == 1).all() and not (alone[7:9, 2:7] == 1).any()
    assert alone[0, 19, 1] == 3
    for classes in ((), (1, 2)):
        found = keep_largest(both.copy(), Pieces(classes, foreground=True))
        np.testing.assert_array_equal(found, labels)


def test_an_ensemble_keeps_what_every_network_does():
    both = [Pieces((1, 2), foreground=True), Pieces((2, 3), foreground=True)]
    assert shared_pieces(both) == Pieces((2,), foreground=True)
    assert shared_pieces([*both, Pieces((2,))]) == Pieces((2,))


@pytest.mark.parametrize(
    "pieces, expected",
    [
        (Pieces(), ""),
        (Pieces((1, 2)), "the largest piece of RV, LV"),
        (Pieces((), foreground=True), "the largest piece of the foreground"),
    ],
)
def test_what_is_kept_is_named(pieces, expected):
    assert pieces.describe(("BG", "RV", "LV")) == expected
    both = pieces._replace(foreground=True).describe(("BG", "RV", "LV"))
    assert both.endswith("the largest piece of the foreground") and expected in both
