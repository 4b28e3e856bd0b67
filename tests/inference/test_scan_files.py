"""What a folder holds to segment, what of it is left out, and where masks go."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from pix2rep_jax.data.files.nifti_paths import NiftiPath
from pix2rep_jax.data.layout.known_layouts import LAYOUTS
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.found_scans import find_scans
from pix2rep_jax.inference.scan_files import (
    channels_note,
    join_channels,
    pair_with_masks,
)

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


def test_the_table_of_pixel_sizes_is_not_left_out(tmp_path):
    """It is used; a table of something else is counted."""
    Image.fromarray(MASK[..., 0]).save(tmp_path / "a.png")
    for name in ("pixel_sizes.csv", "patients.csv"):
        (tmp_path / name).touch()
    assert find_scans(tmp_path).left_out == ["1 other file (.csv)"]


def test_masks_are_left_out_and_counted(tmp_path):
    """By their names and values, beside their scans or alone, and in labels/."""
    save(tmp_path, "a.nii", "images/b.nii", "c_seg.nii", "Labels/own.nii")
    save(tmp_path, "a_seg.nii", "b_gt.nii.gz", "Labels/b.nii", array=MASK)
    assert names(tmp_path) == ["a", "c_seg", "images/b"]
    assert find_scans(tmp_path).left_out == ["4 masks (Labels/, _gt, _seg)"]
    save(tmp_path / "other", "labels/d.nii")  # not beside a folder images
    assert "other/labels/d" in names(tmp_path)
    refuse(lambda: find_scans(tmp_path / "Labels"), "--input.*2 masks")


ROOTS = {
    "acdc": (
        ["training/patient001/patient001_frame01", "testing/patient101/patient101_4d"],
        [
            "training/patient001/patient001_frame01_gt",
            "testing/patient101/patient101_frame01_gt",
        ],
    ),
    "nnunet": (
        ["imagesTs/c_0000", "imagesTs/c_0001"],
        ["labelsTr/a", "labelsTr/b", "labelsTs/c"],
    ),
    "decathlon": (["imagesTr/a", "imagesTr/b"], ["labelsTr/a", "labelsTr/b"]),
    "images": (["Images/a", "Images/b"], ["Masks/a_seg", "Masks/b_seg"]),
    "flat": (["a", "b_0000"], ["a_label", "b_mask"]),
    "tree": (
        ["sub-01/anat/T1", "sub-02/anat/T1"],
        ["sub-01/anat/T1_dseg", "sub-02/anat/seg"],
    ),
}
"""Scans and masks in the root of each layout."""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_root_of_a_layout_gives_its_scans(tmp_path, layout):
    """Whatever the masks hold; nnU-Net's scans for testing come before the others."""
    scans, masks = ROOTS[layout]
    save(tmp_path, *(f"{name}.nii.gz" for name in (*scans, *masks)))
    if layout == "acdc":
        (tmp_path / "training/patient001/Info.cfg").touch()
    if layout == "nnunet":
        save(tmp_path, *(f"imagesTr/{case}_000{c}.nii" for case in "ab" for c in "01"))
    found = find_scans(tmp_path)
    assert [each.name for each in found.scans] == sorted(scans)
    left_out = f"{len(masks)} mask"
    assert found.left_out[0].startswith(left_out)
    if layout == "nnunet":
        assert "4 files" in found.left_out[1] and "imagesTr" in found.left_out[1]
        (case,) = join_channels(found.scans, 2)
        assert case.name == "imagesTs/c"
        assert len(join_channels(find_scans(tmp_path / "imagesTr").scans, 2)) == 2
        refuse(lambda: find_scans(tmp_path / "labelsTr"), "--input.*2 masks")
    if layout == "decathlon":
        save(tmp_path, "imagesTs/c.nii")
        assert names(tmp_path) == ["imagesTs/c"]


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


@pytest.mark.parametrize(
    ("names", "files", "cases"),
    [
        (["a_0000", "a_0001", "b_0000", "b_0001", "c"], 1, 2),
        (["sub/a_0000", "other/a_0001"], 1, 0),  # two folders, two cases
        (["a_0000", "b_0000"], 1, 0),
        (["a_0000", "a_0001"], 2, 0),  # they are joined
        (["a_1", "a_2"], 1, 0),  # not nnU-Net's four digits
    ],
)
def test_channels_that_would_be_segmented_one_by_one_are_counted(names, files, cases):
    note = channels_note([NiftiPath(name, Path(name)) for name in names], files)
    assert bool(note) == bool(cases)
    if note:
        assert f"{cases} case" in note and "a_0000" in note


def test_masks_of_all_usual_names_are_left_out(tmp_path):
    """In folders without a layout too; values tell a mask from another scan."""
    save(tmp_path, "x/volume-0.nii", "x/deep/img_1.nii", "x/c.nii", "x/c_roi.nii")
    save(tmp_path, "x/segmentation-0.nii", "x/deep/mask_1.nii", array=MASK)
    assert names(tmp_path) == ["x/c", "x/c_roi", "x/deep/img_1", "x/volume-0"]
    assert find_scans(tmp_path).left_out[0].startswith("2 masks")
