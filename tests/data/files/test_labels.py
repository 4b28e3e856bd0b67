"""Pixels and slices that nobody has labelled: how they are told, and how read."""

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data.files.labels import UNLABELLED, describe_empty, mark_slices
from pix2rep_jax.data.files.mask import label_values, read_label
from pix2rep_jax.errors import InputError

BOTH = ("background", "unannotated")


def stack(drawn: str) -> np.ndarray:
    """`[3, 4, slices]`: "x" has a structure, "." is empty, "?" has no label at all."""
    label = np.zeros((3, 4, len(drawn)), np.uint8)
    for index, kind in enumerate(drawn):
        label[1, 2, index] = {"x": 2, ".": 0, "?": 0}[kind]
        if kind == "?":
            label[..., index] = UNLABELLED
    return label


@pytest.mark.parametrize(
    ("drawn", "auto"),
    [
        ("..xxx.", "..xxx."),  # above and below a structure
        ("x..x..x", "x??x??x"),  # every third
        (".x.x.", "?x?x?"),  # nobody looked at the ends either
        ("..x..", "..x.."),
        (".....", "....."),  # a patient without the structure
        ("xxx", "xxx"),
        (".x?x.", ".x?x."),  # what the file marks says nothing of the empty ones
    ],
)
def test_empty_slices_are_what_their_place_or_the_flag_says(drawn, auto):
    """The flag decides in every mask that shows a structure."""
    label = stack(drawn)
    np.testing.assert_array_equal(mark_slices(label, "auto"), stack(auto))
    assert mark_slices(label, "background") is label
    every = drawn.replace(".", "?") if "x" in drawn else drawn
    np.testing.assert_array_equal(mark_slices(label, "unannotated"), stack(every))


def test_what_empty_slices_became_is_named():
    """For the note: nothing is said of masks without a structure, or without a gap."""
    for drawn, found in (
        (".x", {"empty_background"}),
        ("?x", {"empty_unannotated"}),
        ("?x.", {"empty_background", "empty_unannotated"}),
        ("xx", set()),
        ("..", set()),
    ):
        assert {*describe_empty(stack(drawn))} == found


def save(path, array):
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return path


@pytest.mark.parametrize("values", [(0, 1, 2), (7, 300, 5)])
@pytest.mark.parametrize("ignore", [(255,), (-1,), (255, 9)])
def test_ignored_values_become_unlabelled(tmp_path, values, ignore):
    """A loop over the voxels, for classes of any values."""
    random = np.random.default_rng(0)
    array = random.choice([*values, *ignore], (6, 5, 4)).astype(np.int16)
    array[..., 2] = ignore[0]
    path = save(tmp_path / "mask.nii", array)
    read = {"shape": array.shape, "num_classes": 3, "values": values}
    got = read_label(path, **read, ignore=ignore)
    for index, value in np.ndenumerate(array):
        expected = UNLABELLED if value in ignore else values.index(value)
        assert got[index] == expected
    assert got.dtype == np.uint8
    with pytest.raises(InputError, match=str(path)):
        read_label(path, **read)
    assert label_values([path], ignore=ignore) == tuple(sorted({0, *values}))


def test_the_flag_for_an_unknown_value_is_named(tmp_path):
    """Of a mask that may be a full one with another value it is not."""
    array = np.zeros((4, 4, 2), np.uint8)
    array[0, 0], array[1], array[2] = 1, 2, 255
    read = {"shape": array.shape, "num_classes": 3}
    with pytest.raises(InputError, match=r"--config\.data(\.|__)ignore=255"):
        read_label(save(tmp_path / "sparse.nii", array), **read)
    array[:2] = 0
    with pytest.raises(InputError) as refused:
        read_label(save(tmp_path / "binary.nii", array), **read)
    assert "data.ignore" not in str(refused.value)


@pytest.mark.acdc
def test_acdcs_empty_slices_stay_background(acdc_root):
    """All 61 lie above or below the heart, so no number changes."""
    empty = slices = 0
    for path in sorted((acdc_root / "training").glob("*/*_gt.nii.gz")):
        label = np.asarray(nib.load(path).dataobj).astype(np.uint8)
        assert mark_slices(label, "auto") is label
        empty += (~label.any((0, 1))).sum()
        slices += label.shape[2]
    assert (empty, slices) == (61, 1902)


def test_zero_is_the_background_even_beside_a_smaller_value(tmp_path):
    """The first value has the name of the background."""
    array = np.array([[[-1, 2, 0], [3, 2, -1]]], np.int16)
    assert label_values([save(tmp_path / "mask.nii", array)]) == (0, -1, 2, 3)
