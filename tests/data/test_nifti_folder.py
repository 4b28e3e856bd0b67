"""A plain folder of NIfTI scans: which files, whose they are, what is refused."""

import logging

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data.checks import shared_patients_note
from pix2rep_jax.data.nifti_folder import list_volumes
from pix2rep_jax.errors import InputError


@pytest.fixture
def root(tmp_path):
    """Two scans of one patient and one of another; one has a mask."""
    for name in (
        "images/P2_visit1.nii.gz",
        "images/P1_late.nii",
        "images/P1_early.nii.gz",
        "labels/P1_late.nii.gz",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"never read here")
    return tmp_path


def refuse(root, match, **options):
    """The one sentence with which a folder is refused."""
    with pytest.raises(InputError, match=match) as caught:
        list_volumes(root, **options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 450


def test_scans_are_listed_with_their_masks(root):
    """In the order of their names; a mask may be compressed where its scan is not."""
    volumes = list_volumes(str(root))
    images, labels = root / "images", root / "labels"
    assert [
        (each.volume_id, each.patient, each.image_path, each.label_path)
        for each in volumes
    ] == [
        ("P1_early", "P1", images / "P1_early.nii.gz", None),
        ("P1_late", "P1", images / "P1_late.nii", labels / "P1_late.nii.gz"),
        ("P2_visit1", "P2", images / "P2_visit1.nii.gz", None),
    ]
    for each in volumes:
        assert (each.subset, each.phase, each.group) == ("training", "", "")
        assert each.frame is None


def test_masks_are_optional(root):
    """A folder of scans alone pretrains."""
    (root / "labels" / "P1_late.nii.gz").unlink()
    (root / "labels").rmdir()
    assert [each.label_path for each in list_volumes(root)] == [None] * 3


def test_labels_that_lead_nowhere_are_not_missing(root):
    """A broken link would pretrain on the patients of the test."""
    (root / "labels").rename(root / "masks")
    (root / "labels").symlink_to("none")
    refuse(root, "labels")
    (root / "labels").unlink()
    (root / "labels").write_text("")
    refuse(root, "labels")


def test_other_files_are_passed_over(root):
    """Hidden files, such as macOS leaves, and foreign ones are no scans."""
    for name in ("._P1_early.nii.gz", "notes.txt", "P3.nii.json", "P4.nifti", "P5.gz"):
        (root / "images" / name).write_text("")
        (root / "labels" / name).write_text("")
    assert len(list_volumes(root)) == 3


@pytest.mark.parametrize(
    ("pattern", "patients"),
    [
        (r"^[^_]+", ["P1", "P1", "P2"]),  # all that matches
        (r"_(.+)", ["early", "late", "visit1"]),  # its first group
        (r"P(\d)_(\w+)", ["1", "1", "2"]),  # the first of two
        (r"^.*$", ["P1_early", "P1_late", "P2_visit1"]),  # each its own
        (r"\d$|P(?:1)", ["P1", "P1", "1"]),  # a group that is not captured
    ],
)
def test_expression_says_whose_a_scan_is(root, pattern, patients):
    """It reads the name without its suffix, from anywhere in it."""
    volumes = list_volumes(root, patient_regex=pattern)
    assert [each.patient for each in volumes] == patients


def test_scans_that_count_as_one_patients_are_said(root):
    """Names such as liver_001 have a part before the _ that is nobody's; who has two
    scans a patient is told the same, and who has one is told nothing."""
    note = shared_patients_note(list_volumes(root))
    assert "3 scans" in note and "2 patient(s)" in note
    assert all(name in note for name in ("'P1'", "P1_early", "P1_late"))
    assert shared_patients_note(list_volumes(root, patient_regex=".+")) == ""
    assert "--config.data.patient_regex='.+'" in note


@pytest.mark.parametrize("pattern", [r"visit", r"P1|(x)", r"(x)?P", r"\.nii", r"y*"])
def test_expression_that_finds_nobody_is_said(root, pattern):
    """No match, an empty one and a group without part in it; the scan is named."""
    refuse(
        root,
        r"data\.patient_regex=.*P1_early\.nii\.gz",
        patient_regex=pattern,
    )


def test_expression_that_is_none_is_said(root):
    """What is wrong with it comes from Python."""
    refuse(
        root,
        r"data\.patient_regex='\(P'.*\(missing \)",
        patient_regex="(P",
    )


def test_folder_without_scans_is_shown_the_layout(root):
    """A missing folder, one without images/ and an empty one."""
    for empty in (root / "nowhere", root / "images", root / "labels"):
        refuse(empty, rf"{empty}/images.*data\.root")


def test_mask_without_a_scan_is_said(root):
    """A slip of the pen in a name would cost the mask in silence."""
    (root / "labels" / "P2_visit.nii.gz").write_bytes(b"")
    refuse(root, r"labels/P2_visit\.nii\.gz .*images")


@pytest.mark.parametrize("folder", ["images", "labels"])
def test_two_files_of_one_name_are_said(root, folder):
    """Compressed and not, either could be meant."""
    for suffix in (".nii", ".nii.gz"):
        (root / folder / f"P1_late{suffix}").write_bytes(b"")
    refuse(root, rf"{folder}/P1_late\.nii .*P1_late\.nii\.gz")


def test_home_is_expanded(root, monkeypatch):
    """A root that begins with ~ is the user's folder."""
    monkeypatch.setenv("HOME", str(root.parent))
    assert len(list_volumes(f"~/{root.name}")) == 3


@pytest.mark.parametrize("masks", ["Labels", "LABELS"])
def test_folders_in_capitals_are_found(root, masks):
    """As some file systems and programs write them."""
    (root / "labels").rename(root / masks)
    (root / "images").rename(root / "Images")
    late = next(each for each in list_volumes(root) if each.volume_id == "P1_late")
    assert late.label_path == root / masks / "P1_late.nii.gz"
    assert late.image_path == root / "Images" / "P1_late.nii"


def test_suffixes_pairs_and_folders_like_scans_are_read(root):
    """In scans and masks alike, whatever the suffix of the other."""
    images, labels = root / "images", root / "labels"
    (images / "P1_late.nii").rename(images / "P1_late.NII")
    (images / "P1_early.nii.gz").rename(images / "P1_early.hdr")
    (images / "P1_early.img").touch()
    (images / "P3_x.nii").mkdir()
    (images / "P3_x.nii" / "P3_x.nii").touch()
    (labels / "P3_x.nii.gz").mkdir()
    (labels / "P3_x.nii.gz" / "P3_x.nii.gz").touch()
    found = {each.volume_id: each for each in list_volumes(root)}
    assert list(found) == ["P1_early", "P1_late", "P2_visit1", "P3_x"]
    assert found["P1_early"].image_path == images / "P1_early.img"
    assert found["P1_late"].image_path == images / "P1_late.NII"
    assert found["P1_late"].label_path is not None
    assert found["P3_x"].image_path == images / "P3_x.nii" / "P3_x.nii"
    assert found["P3_x"].label_path == labels / "P3_x.nii.gz" / "P3_x.nii.gz"


def test_own_masks_among_the_scans_are_left_out_and_counted(root, caplog):
    """As predict leaves them; a scan that is only named so stays."""
    images = root / "images"
    grey = np.random.default_rng(0).random((8, 6, 3), np.float32)
    for name in ("P1_early.nii.gz", "P2_visit1.nii.gz", "P2_visit1_seg.nii.gz"):
        nib.save(nib.Nifti1Image(grey, np.eye(4)), images / name)
    mask = (grey > 0.5).astype(np.uint8)
    nib.save(nib.Nifti1Image(mask, np.eye(4)), images / "P1_early_seg.nii.gz")
    nib.save(nib.Nifti1Image(mask, np.eye(4)), images / "P9_seg.nii.gz")
    with caplog.at_level(logging.WARNING, "pix2rep_jax"):
        names = [each.volume_id for each in list_volumes(root)]
    assert names == ["P1_early", "P1_late", "P2_visit1", "P2_visit1_seg", "P9_seg"]
    (note,) = caplog.messages
    assert "1 mask" in note and "P1_early_seg.nii.gz" in note


def test_what_is_not_read_is_counted(root, caplog):
    """Folders below images/ and other files; hidden ones are not told."""
    (root / "images" / "more").mkdir()
    for name in (".DS_Store", "a.dcm", "b.dcm", "notes.txt"):
        (root / "images" / name).touch()
    with caplog.at_level(logging.WARNING, "pix2rep_jax"):
        assert len(list_volumes(root)) == 3
    (note,) = caplog.messages
    assert all(part in note for part in ("more", "3 other files", ".dcm", ".txt"))
    assert ".DS_Store" not in note


def test_folder_without_images_is_said_to_hold_others(tmp_path):
    """What lies there tells a slip of the pen from a wrong folder."""
    (tmp_path / "Bilder").mkdir()
    refuse(tmp_path, r"data\.root.*Bilder")


def test_layout_of_nnunet_is_known(tmp_path):
    """What to link is said; and so is a name with the number of its channel."""
    for name in ("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"):
        path = tmp_path / name
        path.parent.mkdir()
        path.touch()
    refuse(tmp_path, r"imagesTr/NAME_0000.*labelsTr.*data\.patient_regex")
    (tmp_path / "imagesTr").rename(tmp_path / "images")
    (tmp_path / "labelsTr").rename(tmp_path / "labels")
    refuse(tmp_path, r"labels/a\.nii\.gz .*a_0000")


def test_other_formats_are_to_be_converted(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.dcm").touch()
    refuse(tmp_path, r"DICOM")
