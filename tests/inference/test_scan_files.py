"""What a folder holds to segment, what of it is left out, and where masks go."""

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data.files.nifti_paths import NiftiPath
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.scan_files import find_scans, pair_with_masks

GREY = np.random.default_rng(0).random((8, 6, 3), np.float32)
MASK = (GREY > 0.5).astype(np.uint8)


def save(folder, *names, array=GREY):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return folder


def names(folder):
    return [each.name for each in find_scans(folder).scans]


def refuse(call, match):
    """The one sentence with which an input is refused."""
    with pytest.raises(InputError, match=match) as caught:
        call()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_scans_of_all_folders_are_found(tmp_path):
    """Suffixes in any case, pairs, linked folders and folders named like scans."""
    save(tmp_path / "store" / "p1", "b.nii.gz")
    study = save(tmp_path / "study", "a.nii.gz", "sub/c.nii", "u.nii.gz", "x.nii/x.nii")
    (study / "u.nii.gz").rename(study / "UPPER.NII.GZ")
    nib.save(nib.Nifti1Pair(GREY, np.eye(4)), study / "pair.img")
    (study / "p1").symlink_to(tmp_path / "store" / "p1")
    (tmp_path / "store" / "p1" / "up").symlink_to(study)
    found = find_scans(study)
    assert [each.name for each in found.scans] == [
        "UPPER",
        "a",
        "p1/b",
        "pair",
        "sub/c",
        "x",
    ]
    assert found.left_out == ["1 link to the same folders"] and not found.broken
    for scan in found.scans:
        assert nib.load(scan.path).shape == GREY.shape


def test_masks_are_left_out_and_counted(tmp_path):
    """By their names and values, beside their scans or alone, and in labels/."""
    save(tmp_path, "a.nii", "images/b.nii", "c_seg.nii", "Labels/own.nii")
    save(tmp_path, "a_seg.nii", "b_gt.nii.gz", "Labels/b.nii", array=MASK)
    assert names(tmp_path) == ["a", "c_seg", "images/b"]
    assert find_scans(tmp_path).left_out == ["4 masks (_gt, _seg, labels/)"]
    save(tmp_path / "other", "labels/d.nii")  # not beside a folder images
    assert "other/labels/d" in names(tmp_path)
    refuse(lambda: find_scans(tmp_path / "Labels"), "--input.*2 masks")


def test_what_is_no_scan_is_counted(tmp_path):
    """By suffix; links to nothing are told from what was left out on purpose."""
    save(tmp_path, "a.nii")
    for name in ("1.dcm", "2.dcm", "README", ".DS_Store"):
        (tmp_path / name).touch()
    (tmp_path / "annexed.nii.gz").symlink_to("none.nii.gz")
    found = find_scans(tmp_path)
    assert [each.name for each in found.scans] == ["a"]
    (others,) = found.left_out
    assert all(part in others for part in ("3 ", ".dcm", "README"))
    assert found.broken == [tmp_path / "annexed.nii.gz"]
    (tmp_path / "a.nii").unlink()
    refuse(lambda: find_scans(tmp_path), "--input.*3 other files.*annexed")


def test_one_file_is_taken_as_it_is(tmp_path):
    """Also one that is named like a mask; another kind of file is refused."""
    save(tmp_path, "a_seg.nii", array=MASK)
    path = tmp_path / "a_seg.nii"
    assert find_scans(path).scans == [NiftiPath("a_seg", path)]
    (tmp_path / "a.dcm").touch()
    refuse(lambda: find_scans(tmp_path / "a.dcm"), "--input.*DICOM")
    refuse(lambda: find_scans(tmp_path / "nowhere"), "--input")


def test_masks_lie_as_their_scans_do(tmp_path):
    """A folder named like its scan leaves no folder of that name."""
    save(tmp_path, "a.nii", "sub/b.nii.gz", "x.nii/x.nii")
    scans = find_scans(tmp_path).scans
    pairs = pair_with_masks(scans, input=tmp_path, output=tmp_path / "out")
    assert [str(mask.relative_to(tmp_path / "out")) for _, mask in pairs] == [
        "a_seg.nii.gz",
        "sub/b_seg.nii.gz",
        "x_seg.nii.gz",
    ]
    save(tmp_path, "a.nii.gz")
    scans = find_scans(tmp_path).scans
    refuse(
        lambda: pair_with_masks(scans, input=tmp_path, output=tmp_path / "out"),
        r"a\.nii.*a\.nii\.gz",
    )
