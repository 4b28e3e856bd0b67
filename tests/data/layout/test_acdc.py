"""ACDC's folders: which frame is which, what is missing, and the real split."""

import collections
import pathlib

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data.layout.acdc import list_volumes
from pix2rep_jax.errors import InputError

SHAPE = (6, 5, 2)


def write_scan(path: pathlib.Path, shape=SHAPE) -> None:
    nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4)), path)


def write_patient(
    root, patient, *, ed=1, es=3, group="NOR", subset="training", frames=0, suffix=".gz"
):
    """A patient as in the challenge's download, with a cine if it has frames."""
    folder = root / subset / patient
    folder.mkdir(parents=True)
    (folder / "Info.cfg").write_text(
        f"ED: {ed}\nES: {es}\nGroup: {group}\nHeight: 184.0\nNbFrame: 12\nWeight: 95.0"
    )
    for frame in (ed, es):
        write_scan(folder / f"{patient}_frame{frame:02d}.nii{suffix}")
        write_scan(folder / f"{patient}_frame{frame:02d}_gt.nii{suffix}")
    if frames:
        write_scan(folder / f"{patient}_4d.nii{suffix}", (*SHAPE, frames))
    return folder


def refuse(root, match, **options):
    """The one sentence with which a folder is refused."""
    with pytest.raises(InputError, match=match) as caught:
        list_volumes(root, **options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400


def test_phases_are_what_info_says(tmp_path):
    """End systole may come first among the files, and neither needs to be frame 1."""
    write_patient(tmp_path, "patient001", ed=1, es=12)
    write_patient(tmp_path, "patient002", ed=10, es=2, group="RV")
    folder = write_patient(tmp_path, "patient090", ed=4, es=11)
    for decoy in ("frame01", "frame01_gt"):
        write_scan(folder / f"patient090_{decoy}.nii.gz")
    volumes = list_volumes(tmp_path)
    names = [(each.volume_id, each.image_path.name) for each in volumes]
    assert names == [
        ("patient001_ED", "patient001_frame01.nii.gz"),
        ("patient001_ES", "patient001_frame12.nii.gz"),
        ("patient002_ED", "patient002_frame10.nii.gz"),
        ("patient002_ES", "patient002_frame02.nii.gz"),
        ("patient090_ED", "patient090_frame04.nii.gz"),
        ("patient090_ES", "patient090_frame11.nii.gz"),
    ]
    for each in volumes:
        stem = each.image_path.name.removesuffix(".nii.gz")
        assert each.label_path == each.image_path.with_name(f"{stem}_gt.nii.gz")
        assert each.volume_id == f"{each.patient}_{each.phase}"
        assert each.frame is None and each.subset == "training"
    assert [each.group for each in volumes[::2]] == ["NOR", "RV", "NOR"]


def test_info_may_be_untidy(tmp_path):
    """Spaces, Windows line ends, other encodings and other fields do no harm."""
    folder = write_patient(tmp_path, "patient001", ed=2, es=7)
    (folder / "Info.cfg").write_bytes(
        b"Site: M\xe9x: 1\r\n ES :  7 \r\nED:02\r\n\r\nno field\r\nGroup : DCM\r\n"
    )
    first, second = list_volumes(tmp_path)
    assert first.image_path.name == "patient001_frame02.nii.gz"
    assert second.image_path.name == "patient001_frame07.nii.gz"
    assert first.group == "DCM"


def test_testing_patients_come_after_and_may_lack_masks(tmp_path):
    """The subset is the publisher's; a mask that is not there is None."""
    write_patient(tmp_path, "patient101", subset="testing", suffix="")
    write_patient(tmp_path, "patient002")
    for path in tmp_path.glob("testing/*/*_gt.nii"):
        path.unlink()
    (tmp_path / "training" / "patient_list.txt").write_text("patient002")
    (tmp_path / "training" / "MANDATORY_CITATION.md").write_text("cite")
    volumes = list_volumes(str(tmp_path))
    assert [(each.patient, each.subset) for each in volumes] == [
        ("patient002", "training"),
        ("patient002", "training"),
        ("patient101", "testing"),
        ("patient101", "testing"),
    ]
    assert [each.label_path is None for each in volumes] == [False, False, True, True]
    assert volumes[2].image_path.name == "patient101_frame01.nii"


def test_home_is_expanded(tmp_path, monkeypatch):
    """A root that begins with ~ is the user's folder."""
    write_patient(tmp_path / "ACDC", "patient001")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(list_volumes("~/ACDC")) == 2


def test_folder_of_a_files_name_holds_the_file(tmp_path):
    """Copies unpacked by some programs wrap each scan in a folder of its name."""
    folder = write_patient(tmp_path, "patient001", frames=4)
    for name in ("frame03", "frame03_gt", "4d"):
        path = folder / f"patient001_{name}.nii.gz"
        content = path.read_bytes()
        path.unlink()
        path.mkdir()
        (path / path.name).write_bytes(content)
    volumes = list_volumes(tmp_path, all_frames=True)
    assert all(each.image_path.is_file() for each in volumes)
    assert volumes[1].label_path.parent.name == "patient001_frame03_gt.nii.gz"
    assert len(volumes) == 4
    # An empty one is no scan.
    (volumes[1].image_path).unlink()
    refuse(tmp_path, r"patient001_frame03\.nii\.gz.*Info\.cfg")


def test_names_in_capitals_and_pairs_are_found(tmp_path):
    """Suffixes in any case; a folder may hold its scan under another name."""
    folder = write_patient(tmp_path, "patient001")
    scan = folder / "patient001_frame01.nii.gz"
    scan.rename(folder / "patient001_frame01.NII.GZ")
    pair = nib.Nifti1Pair(np.zeros(SHAPE, np.uint8), np.eye(4))
    (folder / "patient001_frame03.nii.gz").unlink()
    nib.save(pair, folder / "patient001_frame03.img")
    mask = folder / "patient001_frame01_gt.nii.gz"
    content = mask.read_bytes()
    mask.unlink()
    mask.mkdir()
    (mask / "mask.nii.gz").write_bytes(content)
    first, second = list_volumes(tmp_path)
    assert first.image_path.name == "patient001_frame01.NII.GZ"
    assert first.label_path == mask / "mask.nii.gz"
    assert second.image_path.name == "patient001_frame03.img"


def test_all_frames_are_the_cines_others(tmp_path):
    """ED and ES keep their files and masks; every other frame of the cine is listed
    once, by its own number, with none."""
    write_patient(tmp_path, "patient001", ed=1, es=3)
    write_patient(tmp_path, "patient090", ed=4, es=2, group="RV", frames=5)
    assert len(list_volumes(tmp_path)) == 4
    volumes = list_volumes(tmp_path, all_frames=True)
    assert [each.volume_id for each in volumes] == [
        "patient001_ED",
        "patient001_ES",
        "patient090_ED",
        "patient090_ES",
        "patient090_frame01",
        "patient090_frame03",
        "patient090_frame05",
    ]
    assert [each.frame for each in volumes] == [None] * 4 + [0, 2, 4]
    for each in volumes[4:]:
        assert each.image_path.name == "patient090_4d.nii.gz"
        assert each.label_path is None and each.group == "RV"
        assert each.phase == each.volume_id.removeprefix("patient090_")


def test_missing_cines_are_said(tmp_path):
    """All frames of a download without any would silently be two a patient."""
    write_patient(tmp_path, "patient001")
    refuse(tmp_path, r"4d\.nii\.gz.*data\.all_frames", all_frames=True)


@pytest.mark.parametrize("damage", ["three axes", "cut off", "text"])
def test_damaged_cine_is_said(tmp_path, damage):
    """It is named, whatever is wrong with it."""
    folder = write_patient(tmp_path, "patient001", frames=4)
    path = folder / "patient001_4d.nii.gz"
    if damage == "three axes":
        write_scan(path)
        match = r"patient001_4d\.nii\.gz .*\(6, 5, 2\)"
    else:
        content = path.read_bytes()
        path.write_bytes(content[:30] if damage == "cut off" else b"no scan" * 99)
        match = r"patient001_4d\.nii\.gz .*NIfTI"
    refuse(tmp_path, match, all_frames=True)
    assert len(list_volumes(tmp_path)) == 2


def test_root_without_training_is_shown_the_layout(tmp_path):
    """A missing folder, the training folder itself and an empty one are each said."""
    layout = r"data\.root must hold training/patient001/\{Info\.cfg"
    refuse(tmp_path / "nowhere", rf"nowhere.training.*{layout}")
    write_patient(tmp_path / "ACDC", "patient001")
    refuse(tmp_path / "ACDC" / "training", layout)
    (tmp_path / "empty" / "training").mkdir(parents=True)
    refuse(tmp_path / "empty", rf"empty.training.*{layout}")
    (tmp_path / "file").write_text("")
    refuse(tmp_path / "file", layout)


def test_missing_info_is_said(tmp_path):
    """Without it nobody knows which frame is end-diastole."""
    folder = write_patient(tmp_path, "patient001")
    (folder / "Info.cfg").unlink()
    refuse(tmp_path, r"patient001.Info\.cfg .*No such file")


@pytest.mark.parametrize("line", ["", "ED:", "ED: first", "ED: 0", "ED: -1", "ED: 1.5"])
def test_info_without_a_frame_is_said(tmp_path, line):
    """The field, what it says and what it should say."""
    folder = write_patient(tmp_path, "patient001")
    (folder / "Info.cfg").write_text(f"{line}\nES: 3\nGroup: NOR\n")
    says = line.partition(":")[2].strip()
    refuse(tmp_path, rf"Info\.cfg .*ED .*'{says}'.*'ED: 1'")


def test_missing_scan_is_said_and_may_be_excluded(tmp_path):
    """The frame that Info.cfg names must be there, but for patients left out: these are
    listed as they would be, since the split counts them."""
    folder = write_patient(tmp_path, "patient001", ed=1, es=9)
    write_patient(tmp_path, "patient002")
    before = list_volumes(tmp_path)
    (folder / "patient001_frame09.nii.gz").unlink()
    refuse(
        tmp_path,
        r"patient001_frame09\.nii\.gz.*Info\.cfg.* ES.*data\.exclude=patient001",
    )
    refuse(tmp_path, "patient001_frame09", exclude=("patient002",))
    assert list_volumes(tmp_path, exclude=("patient001",)) == before


@pytest.mark.acdc
def test_real_split_is_as_published(acdc_root):
    """100 patients, 20 of each pathology, 200 volumes with masks, 1902 slices."""
    volumes = list_volumes(acdc_root)
    training = [each for each in volumes if each.subset == "training"]
    assert len(training) == 200
    patients = {each.patient: each.group for each in training}
    assert list(patients) == [f"patient{number:03d}" for number in range(1, 101)]
    assert collections.Counter(patients.values()) == dict.fromkeys(
        ("DCM", "HCM", "MINF", "NOR", "RV"), 20
    )
    slices = 0
    for each in training:
        image, label = (nib.load(path) for path in (each.image_path, each.label_path))
        assert image.shape == label.shape and len(image.shape) == 3
        slices += image.shape[2]
    assert slices == 1902
    paths = {each.volume_id: each.image_path.name for each in training}
    assert paths["patient090_ED"] == "patient090_frame04.nii.gz"
    assert paths["patient090_ES"] == "patient090_frame11.nii.gz"


@pytest.mark.acdc
def test_real_cine_has_its_labelled_frames(acdc_root):
    """patient090's frames of the cine are those of the single files: numbers from 1."""
    volumes = list_volumes(acdc_root, all_frames=True)
    own = [each for each in volumes if each.patient == "patient090"]
    assert [each.frame for each in own[2:]] == [0, 1, 2, 4, 5, 6, 7, 8, 9, 11]
    cine = nib.load(own[-1].image_path).dataobj
    for each, frame in zip(own[:2], (3, 10), strict=True):
        np.testing.assert_array_equal(
            nib.load(each.image_path).dataobj, cine[..., frame]
        )


def test_info_may_begin_with_a_byte_order_mark(tmp_path):
    """As editors on Windows write it."""
    path = write_patient(tmp_path, "patient001") / "Info.cfg"
    path.write_text("\ufeff" + path.read_text(), encoding="utf-8")
    assert {each.phase for each in list_volumes(tmp_path)} == {"ED", "ES"}
