"""Data that are not there: masks that nobody found."""

import pytest

from configs.pix2rep import get_config
from pix2rep_jax.data.checks import check_masks, missing_masks
from pix2rep_jax.data.layout.nifti_folder import list_volumes
from pix2rep_jax.errors import InputError


def test_masks_that_are_not_found_are_said_with_the_place(tmp_path):
    """Where they were looked for, and what lies there instead."""
    for name in ("images/p1.nii", "images/p2.nii", "Outlines/p1.nii"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    data = get_config("quick").data
    data.update(name="nifti", root=str(tmp_path))
    with pytest.raises(InputError) as caught:
        check_masks(list_volumes(tmp_path), data)
    message = str(caught.value)
    assert str(tmp_path) in message and "Outlines" in message
    (tmp_path / "Outlines").rename(tmp_path / "LABELS")
    check_masks(list_volumes(tmp_path), data)
    note = missing_masks(list_volumes(tmp_path))
    assert "1 of 2" in note and "p2" in note
    (tmp_path / "LABELS" / "p2.nii").touch()
    assert missing_masks(list_volumes(tmp_path)) == ""
