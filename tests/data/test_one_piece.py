"""Classes that are one piece in the masks of training patients."""

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data.one_piece import find_one_piece
from pix2rep_jax.data.slices.volume import VolumeRecord
from pix2rep_jax.errors import InputError

CLASSES = ("BG", "A", "B", "C", "D")


def make_volume(folder, patient, labels):
    path = folder / f"{patient}.nii.gz"
    nib.save(nib.Nifti1Image(labels, np.eye(4)), path)
    return VolumeRecord(
        volume_id=patient,
        patient=patient,
        subset="training",
        phase="",
        group="",
        image_path=folder / f"{patient}_scan.nii.gz",
        label_path=path,
        shape=labels.shape,
    )


@pytest.fixture
def volumes(tmp_path):
    """A is one piece everywhere, B is two in p2, C never occurs, D is two in p3.

    A and B touch in p4 alone.
    """
    one = np.zeros((8, 8, 3), np.uint8)
    one[1:3, 1:3], one[3, 3, 0], one[6:, 6:, 1] = 1, 1, 2
    two, three = one.copy(), one.copy()
    two[0, 7, 1], two[1, 7, 0] = 2, 4
    three[0, 7, 0], three[0, 7, 2] = 4, 4
    four = one.copy()
    four[4:6, 4, 0], four[6, 5, 0] = 2, 2
    masks = {"p1": one, "p2": two, "p3": three, "p4": four}
    return [make_volume(tmp_path, name, labels) for name, labels in masks.items()]


@pytest.mark.parametrize(
    "patients, expected",
    [
        (["p1"], (("A", "B"), False)),
        (["p1", "p2"], (("A", "D"), False)),
        (["p1", "p3"], (("A", "B"), False)),
        (["p1", "p2", "p3"], (("A",), False)),
        (["p4"], (("A", "B"), True)),
        (["p1", "p4"], (("A", "B"), False)),
        ([], ((), False)),
    ],
)
def test_every_training_mask_counts(volumes, patients, expected):
    """And no other one; a class that does not occur is not named."""
    assert find_one_piece(volumes, patients, CLASSES) == expected


def test_a_mask_that_cannot_be_read_is_named(volumes):
    """As everywhere."""
    volumes[0].label_path.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"p1\.nii\.gz"):
        find_one_piece(volumes, ["p1"], CLASSES)
