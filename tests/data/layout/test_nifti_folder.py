"""A plain folder of NIfTI scans: which files, whose they are, what is refused."""

import logging

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data.layout.nifti_folder import list_volumes
from pix2rep_jax.data.layout.patients import patients_by_name, patients_note
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
    (root / "labels").rename(root / "experts")
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


def test_patients_are_shown_with_the_flag_that_finds_others(root):
    """Three examples; names without _ are told nothing."""
    note = patients_note(list_volumes(root))
    assert "3 scans" in note and "2 patients" in note
    assert all(name in note for name in ("'P1'", "'P2'", "P1_early", "P1_late"))
    assert "--config.data.patient_regex='.+'" in note
    note = patients_note(list_volumes(root, patient_regex=".+"))
    assert "3 patients" in note and "--config.data.patient_regex='^[^_]+'" in note
    (root / "images" / "P1_late.nii").unlink()
    (root / "labels" / "P1_late.nii.gz").unlink()
    for old, new in (("P1_early", "a"), ("P2_visit1", "b")):
        (root / "images" / f"{old}.nii.gz").rename(root / "images" / f"{new}.nii.gz")
    assert patients_note(list_volumes(root)) == ""


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        (["liver_1_a", "liver_1_b", "liver_2_a"], ["liver_1", "liver_1", "liver_2"]),
        (["a_1", "a_2", "b_1"], ["a", "a", "b"]),
        (["liver_1", "liver_2", "liver_3"], None),  # all together
        (["a_1", "b_1", "c_1"], None),  # each by itself
        (["a_1", "a_2", "b"], None),
    ],
)
def test_the_flag_that_a_note_names_tells_scans_together(tmp_path, names, patients):
    """Some of them; else nothing is said."""
    (tmp_path / "images").mkdir()
    for name in names:
        (tmp_path / "images" / f"{name}.nii").write_bytes(b"never read here")
    volumes = list_volumes(tmp_path)
    assert len({each.patient for each in volumes}) == len(names)
    note = patients_note(volumes)
    assert bool(note) == (patients is not None)
    if patients:
        regex = note.partition("patient_regex='")[2].partition("'")[0]
        found = list_volumes(tmp_path, patient_regex=regex)
        assert [each.patient for each in found] == patients


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        (["010_HC", "010_2HC", "011_HC"], ["010", "010", "011"]),
        (["hippocampus_001", "hippocampus_003"], None),  # one prefix
        (["liver_1", "spleen_2"], None),  # no digits
        (["p1_a", "p1_b"], None),  # one prefix with a digit
        (["p1_a", "p2_a", "control_1"], None),  # one of them holds none
        (["p1", "p2"], ["p1", "p2"]),
    ],
)
def test_prefixes_make_patients_if_several_occur_and_each_holds_a_digit(
    names, patients
):
    found = patients_by_name(dict.fromkeys(names))
    assert list(found.values()) == (patients or names)


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


def test_folder_without_scans_is_shown_the_layouts(root):
    """A missing folder, and an empty one."""
    (root / "empty").mkdir()
    for empty in (root / "nowhere", root / "empty"):
        with pytest.raises(InputError, match=rf"{empty}"):
            list_volumes(empty)


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


def test_scans_of_a_testing_subset_need_masks(root):
    """Without one they take no part; with one they are the test."""
    (root / "images").rename(root / "imagesTr")
    (root / "labels").rename(root / "labelsTr")
    for name in ("imagesTs/P7_a.nii.gz", "imagesTs/P8_a.nii.gz", "labelsTs/P8_a.nii"):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    volumes = list_volumes(root)
    assert [(each.volume_id, each.subset) for each in volumes][-2:] == [
        ("P2_visit1", "training"),
        ("P8_a", "testing"),
    ]


def test_channels_come_in_their_order(tmp_path):
    for name in ("a_0001.nii.gz", "a_0000.nii.gz"):
        (tmp_path / name).touch()
    (volume,) = list_volumes(tmp_path)
    assert volume.image_path == tmp_path / "a_0000.nii.gz"
    assert volume.more_channels == (tmp_path / "a_0001.nii.gz",)


def test_other_formats_are_to_be_converted(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.dcm").touch()
    with pytest.raises(InputError, match="dcm2niix"):
        list_volumes(tmp_path)


def test_a_note_is_given_once(root, caplog):
    """A mode lists the same folder several times."""
    (root / "images" / "once.json").touch()
    with caplog.at_level(logging.WARNING, "pix2rep_jax"):
        list_volumes(root)
        before = len(caplog.messages)
        list_volumes(root)
    assert before and len(caplog.messages) == before
