"""Which of a header's voxel sizes and transforms count."""

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data.files.nifti import read_volume
from pix2rep_jax.data.files.nifti_writer import write_mask
from pix2rep_jax.data.scan_notes import NOTES, count_notes
from pix2rep_jax.errors import InputError

SHAPE = (10, 12, 5)
TRUE_MM = (1.25, 1.25, 8.0)
NAN = np.full((4, 4), np.nan)


def write(path, *, pixdim=TRUE_MM, sform=None, qform=None, shape=SHAPE):
    """A scan whose header holds just these numbers; transforms as voxel sizes."""
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.int16)
    if sform is not None:
        matrix = np.diag([*sform, 1.0]) if np.ndim(sform) == 1 else sform
        header["sform_code"] = 1
        for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
            header[name] = matrix[row]
    if qform is not None:
        header["qform_code"] = 1
        header["quatern_b"], header["qoffset_x"] = qform
    header["pixdim"] = (1, *pixdim, 0, 0, 0, 0)
    header["vox_offset"] = 352
    values = np.arange(np.prod(shape), dtype="<i2")
    path.write_bytes(header.binaryblock + bytes(4) + values.tobytes())
    return path


OTHER = (2.0, 2.5, 8.0)


@pytest.mark.parametrize(
    "pixdim, sform, spacing_mm, notes",
    [
        (TRUE_MM, None, TRUE_MM, ()),
        (TRUE_MM, TRUE_MM, TRUE_MM, ()),
        # pixdim says nothing, or nonsense
        ((0, 0, 0), OTHER, OTHER, ("size_by_affine",)),
        ((1.25, 0, 8), OTHER, OTHER, ("size_by_affine",)),
        ((1, 1, 1), OTHER, OTHER, ("size_by_affine",)),
        ((1, 1, 1), (1, 1, 1), (1, 1, 1), ()),
        ((1, 1, 1), None, (1, 1, 1), ()),
        ((np.nan, 1, 1), OTHER, OTHER, ("size_by_affine",)),
        ((1.25, np.inf, 8), OTHER, OTHER, ("size_by_affine",)),
        ((1e20, 1e20, 1e20), OTHER, OTHER, ("size_by_affine",)),
        ((1e-4, 1e-4, 1e-4), OTHER, OTHER, ("size_by_affine",)),
        ((-1.25, 1.25, -8), TRUE_MM, TRUE_MM, ()),  # a size has no sign
        # the affine does
        (TRUE_MM, (0, 0, 0), TRUE_MM, ("form_ignored",)),
        (TRUE_MM, (np.nan, 1, 1), TRUE_MM, ("form_ignored",)),
        (TRUE_MM, (1e20, 1, 1), TRUE_MM, ("form_ignored",)),
        (TRUE_MM, (1.25, 1e-4, 8), TRUE_MM, ("form_ignored",)),
        ((1, 1, 1), (np.inf, 1, 1), (1, 1, 1), ("form_ignored",)),
        # both are possible
        (TRUE_MM, (1, 1, 1), TRUE_MM, ()),  # the affine says directions alone
        (TRUE_MM, (1, 1, 1.5), TRUE_MM, ("sizes_differ",)),
        (TRUE_MM, OTHER, TRUE_MM, ("sizes_differ",)),
        (TRUE_MM, (1.26, 1.25, 8), TRUE_MM, ()),
        (TRUE_MM, (1.27, 1.25, 8), TRUE_MM, ("sizes_differ",)),
    ],
)
def test_the_voxel_size_that_can_be_true_counts(
    tmp_path, pixdim, sform, spacing_mm, notes
):
    """pixdim, unless only the affine can be right."""
    path = write(tmp_path / "scan.nii", pixdim=pixdim, sform=sform)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.spacing_mm, spacing_mm, rtol=1e-6)
    assert volume.notes == notes
    # A mask has no size or transform that could not be used.
    write_mask(tmp_path / "mask.nii", volume.array.astype(np.uint8), volume)
    again = read_volume(tmp_path / "mask.nii")
    np.testing.assert_allclose(again.spacing_mm, spacing_mm, rtol=1e-6)
    np.testing.assert_array_equal(again.affine, volume.affine)
    assert "form_ignored" not in again.notes


@pytest.mark.parametrize("sform", [None, NAN, (0, 1, 1)])
@pytest.mark.parametrize(
    "pixdim", [(0, 0, 0), (np.nan, 1, 1), (1e20, 1, 1), (1e-4,) * 3]
)
def test_without_any_size_a_scan_is_refused(tmp_path, pixdim, sform):
    """One sentence that names the file and the field."""
    path = write(tmp_path / "scan.nii", pixdim=pixdim, sform=sform)
    with pytest.raises(InputError, match="pixdim") as caught:
        read_volume(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_an_axis_of_length_1_needs_no_size(tmp_path):
    """Pictures have no third axis, and headers of theirs say 0 there."""
    for shape in ((10, 12), (10, 12, 1)):
        path = write(tmp_path / "scan.nii", pixdim=(0.5, 0.5, 0), shape=shape)
        volume = read_volume(path)
        assert volume.spacing_mm == (0.5, 0.5, 1.0) and volume.notes == ()
    path = write(tmp_path / "scan.nii", pixdim=(1, 1, 0), sform=OTHER, shape=(10, 12))
    assert read_volume(path).spacing_mm == (2.0, 2.5, 8.0)


SINGULAR = np.array([[1.25, 1.25, 0, 0], [0, 0, 0, 0], [0, 0, 8, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("broken", [NAN, SINGULAR, np.zeros((4, 4))])
def test_a_broken_sform_leaves_it_to_the_qform(tmp_path, broken):
    """And the mask has the qform alone."""
    path = write(tmp_path / "scan.nii", sform=broken, qform=(1.0, 7.0))
    volume = read_volume(path)
    expected = np.diag([1.25, -1.25, -8.0, 1.0])
    expected[0, 3] = 7
    np.testing.assert_allclose(volume.affine, expected, atol=1e-6)
    assert volume.notes == ("form_ignored",)
    write_mask(tmp_path / "mask.nii", volume.array.astype(np.uint8), volume)
    mask = nib.load(tmp_path / "mask.nii")
    np.testing.assert_allclose(mask.affine, expected, atol=1e-6)
    assert not mask.header["sform_code"]


@pytest.mark.parametrize("longer", [0, 1e-7, 1e-6, 1e-5, 5e-4])
def test_a_quaternion_may_be_longer_than_one_by_its_rounding(tmp_path, longer):
    """Half a turn about the first axis: rows run as before, and the others back."""
    path = write(tmp_path / "scan.nii", qform=(1 + longer, 3.0))
    volume = read_volume(path)
    expected = np.diag([TRUE_MM[0], -TRUE_MM[1], -TRUE_MM[2], 1])
    expected[0, 3] = 3.0
    np.testing.assert_allclose(volume.affine, expected, atol=1e-5)
    assert volume.notes == ()
    write_mask(tmp_path / "mask.nii", np.zeros(SHAPE, np.uint8), volume)
    np.testing.assert_allclose(nib.load(tmp_path / "mask.nii").affine, expected)


@pytest.mark.parametrize("quaternion, offset", [(np.nan, 0), (0.5, np.inf), (3.0, 0)])
def test_a_broken_qform_leaves_it_to_the_sform(tmp_path, quaternion, offset):
    """A quaternion that turns nothing, or a place that is nowhere."""
    path = write(tmp_path / "scan.nii", sform=TRUE_MM, qform=(quaternion, offset))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.affine, np.diag([*TRUE_MM, 1]))
    assert volume.notes == ("form_ignored",)
    only = write(tmp_path / "scan.nii", qform=(quaternion, offset))
    assert read_volume(only).spacing_mm == TRUE_MM


@pytest.mark.parametrize(
    "pixdim, notes",
    [
        ((0.0015, 0.0015, 0.008), ("metres",)),
        ((1500, 1500, 800), ()),  # absurd: refused below
        ((900, 900, 900), ("micrometres",)),
        ((0.02, 0.02, 0.5), ()),
        ((20, 20, 20), ()),
        ((5, 5, 40), ()),  # the distance of slices may be larger
    ],
)
def test_sizes_that_no_scanner_has_are_said(tmp_path, pixdim, notes):
    """With the unit that they may be in; a pixel, not the distance of slices."""
    path = write(tmp_path / "scan.nii", pixdim=pixdim)
    if max(pixdim) > 1000:
        with pytest.raises(InputError, match="1500"):
            read_volume(path)
        return
    assert read_volume(path).notes == notes


def test_notes_are_one_sentence_for_all_scans():
    """It counts them, and names the first."""
    scans = [("a", ()), ("b", ("sizes_differ",)), ("c", ("metres", "sizes_differ"))]
    differ, metres = count_notes(scans)
    assert "2 of 3" in differ and " b)" in differ
    assert "1 of 3" in metres and " c)" in metres
    assert count_notes([("a", ())]) == count_notes([]) == []
    assert len(count_notes([("a", tuple(NOTES))])) == len(NOTES)


def test_a_fault_of_pixdim_is_one_note(tmp_path):
    """A qform has its voxel size from pixdim, so it is unusable where pixdim is."""
    path = write(tmp_path / "scan.nii", pixdim=(0, 0, 0), sform=OTHER, qform=(1.0, 7.0))
    volume = read_volume(path)
    assert volume.spacing_mm == OTHER and volume.notes == ("size_by_affine",)
