"""Which layout a folder of scans has, and which files are scans, masks and channels."""

import json

import pytest

from pix2rep_jax.data.layout.known_layouts import LAYOUTS
from pix2rep_jax.data.layout.recognise import recognise
from pix2rep_jax.errors import InputError


def make(root, *names, **files):
    """Empty files, which are told apart by their names alone."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    for name, content in files.items():
        (root / f"{name}.json").write_text(json.dumps(content))
    return root


def listed(scans):
    return {name: [path.name for path in paths] for name, paths in scans.items()}


def masks_of(layout):
    root = layout.root
    return {name: str(path.relative_to(root)) for name, path in layout.masks.items()}


def test_nnunet_has_one_file_per_channel(tmp_path):
    """Names, whatever their capitals; dataset.json names classes and channels."""
    found = recognise(
        make(
            tmp_path,
            *(f"imagesTR/c_{i}_000{c}.nii.gz" for i in (1, 2) for c in (0, 1)),
            "labelstr/c_1.nii.gz",
            "ImagesTs/c_3_0000.nii.gz",
            "imagesTs/c_3_0001.nii.gz".replace("images", "Images"),
            dataset={
                "channel_names": {"0": "T1", "1": "T2"},
                "labels": {"background": 0, "tumour": 2, "oedema": 1},
                "file_ending": ".nii.gz",
            },
        )
    )
    assert found.name == "nnunet" and found.num_channels == 2
    assert listed(found.scans) == {
        "c_1": ["c_1_0000.nii.gz", "c_1_0001.nii.gz"],
        "c_2": ["c_2_0000.nii.gz", "c_2_0001.nii.gz"],
    }
    assert listed(found.test_scans) == {"c_3": ["c_3_0000.nii.gz", "c_3_0001.nii.gz"]}
    assert masks_of(found) == {"c_1": "labelstr/c_1.nii.gz"}
    assert found.facts.channels == ("T1", "T2")
    assert list(found.facts.classes.items()) == [
        ("background", 0),
        ("oedema", 1),
        ("tumour", 2),
    ]


def test_a_missing_channel_is_said(tmp_path):
    make(tmp_path, "imagesTr/a_0000.nii", "imagesTr/a_0001.nii", "imagesTr/b_0000.nii")
    with pytest.raises(InputError, match="b "):
        recognise(tmp_path)


@pytest.mark.parametrize("with_list", [True, False])
def test_decathlon_lists_scans_without_channels(tmp_path, with_list):
    """Also where a name ends in four digits, as its mask's does."""
    lists = {
        "training": [
            {"image": "./imagesTr/p_0001.nii.gz", "label": "./labelsTr/p_0001.nii.gz"}
        ],
        "test": ["./imagesTs/p_0002.nii.gz"],
    }
    found = recognise(
        make(
            tmp_path,
            "imagesTr/p_0001.nii.gz",
            "labelsTr/p_0001.nii.gz",
            "imagesTs/p_0002.nii.gz",
            dataset={
                "modality": {"0": "CT"},
                "labels": {"0": "background", "1": "liver"},
                **(lists if with_list else {}),
            },
        )
    )
    assert found.name == "decathlon"
    assert listed(found.scans) == {"p_0001": ["p_0001.nii.gz"]}
    assert masks_of(found) == {"p_0001": "labelsTr/p_0001.nii.gz"}
    assert listed(found.test_scans) == {"p_0002": ["p_0002.nii.gz"]}
    assert found.facts.channels == ("CT",)
    assert found.facts.classes == {"background": 0, "liver": 1}


def test_lists_of_an_earlier_nnunet_are_not_its_files(tmp_path):
    """They leave the channel's number out."""
    image = {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}
    make(tmp_path, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
    found = recognise(make(tmp_path, dataset={"training": [image]}))
    assert found.name == "nnunet"
    assert listed(found.scans) == {"a": ["a_0000.nii.gz"]}


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images", "labels"),
        ("Images", "Labels"),
        ("IMAGES", "masks"),
        ("images", "Segmentation"),
        ("images", "gt"),
        ("images", "annotations"),
        ("image", ""),
    ],
)
def test_images_and_labels_in_any_letters(tmp_path, images, labels):
    make(tmp_path, f"{images}/a.nii.gz", f"{images}/b.nii", "notes.txt")
    if labels:
        make(tmp_path, f"{labels}/b.nii.gz", labels={"BG": 0, "LIVER": 1})
    found = recognise(tmp_path)
    assert found.name == "images"
    assert listed(found.scans) == {"a": ["a.nii.gz"], "b": ["b.nii"]}
    assert masks_of(found) == ({"b": f"{labels}/b.nii.gz"} if labels else {})
    assert found.facts.classes == ({"BG": 0, "LIVER": 1} if labels else {})


def test_flat_folder_has_masks_beside_scans(tmp_path):
    """Endings count only where there is a scan of that name."""
    found = recognise(
        make(tmp_path, "a.nii.gz", "a_Seg.nii.gz", "b_gt.nii.gz", "c.NII", "c_mask.nii")
    )
    assert found.name == "flat"
    assert listed(found.scans) == {
        "a": ["a.nii.gz"],
        "b_gt": ["b_gt.nii.gz"],
        "c": ["c.NII"],
    }
    assert masks_of(found) == {"a": "a_Seg.nii.gz", "c": "c_mask.nii"}


def test_trees_have_one_scan_per_folder(tmp_path):
    """The first folder is the patient; a mask lies beside it or in derivatives/."""
    found = recognise(
        make(
            tmp_path,
            "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
            "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz",
            "sub-02/anat/sub-02_T1w.nii.gz",
            "sub-02/anat/sub-02_dseg.nii.gz",
            "derivatives/manual/sub-01/ses-2/anat/sub-01_ses-2_dseg.nii.gz",
            "participants.tsv",
        )
    )
    assert found.name == "tree"
    assert found.patients == {
        "sub-01_ses-1_anat": "sub-01",
        "sub-01_ses-2_anat": "sub-01",
        "sub-02_anat": "sub-02",
    }
    assert masks_of(found) == {
        "sub-01_ses-2_anat": "derivatives/manual/sub-01/ses-2/anat/"
        "sub-01_ses-2_dseg.nii.gz",
        "sub-02_anat": "sub-02/anat/sub-02_dseg.nii.gz",
    }


def test_plain_names_in_trees(tmp_path):
    """Every folder may hold files of the same names."""
    found = recognise(
        make(tmp_path, *(f"p{i}/{name}.nii" for i in (1, 2) for name in ("t1", "seg")))
    )
    assert listed(found.scans) == {"p1": ["t1.nii"], "p2": ["t1.nii"]}
    assert masks_of(found) == {"p1": "p1/seg.nii", "p2": "p2/seg.nii"}


def test_acdc_is_told_by_its_info(tmp_path):
    root = make(
        tmp_path,
        "training/patient001/Info.cfg",
        "training/patient001/patient001_frame01.nii.gz",
        "training/patient001/patient001_frame01_gt.nii.gz",
        "testing/patient101/Info.cfg",
        "testing/patient101/patient101_frame02.nii.gz",
    )
    found = recognise(root)
    assert found.name == "acdc"
    assert list(found.scans) == list(found.masks) == ["patient001_frame01"]
    assert list(found.test_scans) == ["patient101_frame02"]


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("readme.txt",),
        ("study/images/a.nii.gz", "study/labels/a.nii.gz"),
        ("p1/t1.nii", "p1/t2.nii", "p2/t1.nii", "p2/t2.nii"),
        ("p1/1.dcm", "p2/1.dcm"),
    ],
)
def test_other_folders_are_answered_by_the_layouts(tmp_path, names):
    """One tree of three lines for each."""
    make(tmp_path, *names)
    with pytest.raises(InputError) as caught:
        recognise(tmp_path)
    message = str(caught.value)
    assert all(tree.count("\n") == 2 for tree in LAYOUTS.values())
    assert all(
        line in message for tree in LAYOUTS.values() for line in tree.split("\n")
    )
    if names and names[0].startswith("study"):
        assert f"data.root={tmp_path / 'study'}" in message
    if names and names[0].endswith("dcm"):
        assert "dcm2niix" in message


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="none"):
        recognise(tmp_path / "none")


def test_the_shared_sets_are_recognised(acdc_root):
    """By their own names, with nothing left over."""
    acdc = recognise(acdc_root)
    assert acdc.name == "acdc" and len(acdc.scans) == len(acdc.masks) == 200
    hippocampus = acdc_root.parent / "Hippocampus"
    if not hippocampus.is_dir():
        pytest.skip(f"Hippocampus is not at {hippocampus}")
    found = recognise(hippocampus)
    assert found.name == "nnunet" and len(found.scans) == len(found.masks) == 60
    assert list(found.facts.classes) == ["background", "anterior", "posterior"]


def test_masks_alone_are_not_taken_for_scans(tmp_path):
    """Neither where the folder of masks lies, nor in it."""
    root = make(tmp_path, *(f"labelsTr/p{i}.nii.gz" for i in range(3)))
    with pytest.raises(InputError) as error:
        recognise(root)
    assert "--config.data.root=" not in str(error.value)
    with pytest.raises(InputError, match=r"data(\.|__)root"):
        recognise(root / "labelsTr")


def test_a_mask_among_the_channels_is_named_after_its_scan(tmp_path):
    """What predict has written there does not change what the scans are called."""
    make(tmp_path, "imagesTr/p1_0000.nii", "imagesTr/p1_0000_seg.nii.gz")
    make(tmp_path, "imagesTr/p2_0000.nii", "imagesTr/p2_seg.nii.gz", "labelsTr/p1.nii")
    found = recognise(tmp_path)
    assert found.name == "nnunet" and masks_of(found) == {"p1": "labelsTr/p1.nii"}
    assert listed(found.scans) == {
        "p1": ["p1_0000.nii"],
        "p2": ["p2_0000.nii"],
        "p1_seg": ["p1_0000_seg.nii.gz"],
        "p2_seg": ["p2_seg.nii.gz"],
    }


def test_a_loose_first_channel_is_found_by_its_mask(tmp_path):
    """Beside scans that have no number."""
    make(tmp_path, "images/a_0000.nii", "images/b.nii", "images/c_0000.nii")
    make(tmp_path, "labels/a.nii", "labels/c_0000_seg.nii")
    found = recognise(tmp_path)
    assert listed(found.scans) == {
        "a": ["a_0000.nii"],
        "b": ["b.nii"],
        "c_0000": ["c_0000.nii"],
    }
    assert masks_of(found) == {"a": "labels/a.nii", "c_0000": "labels/c_0000_seg.nii"}


def test_what_predict_wrote_beside_scans_is_not_an_experts(tmp_path):
    """Its volumes.csv tells; without that file a note is all there can be."""
    make(tmp_path, "p1.nii.gz", "p1_seg.nii.gz", "p2.nii.gz")
    assert masks_of(recognise(tmp_path)) == {"p1": "p1_seg.nii.gz"}
    make(tmp_path, "volumes.csv")
    with pytest.raises(InputError, match=r"volumes\.csv"):
        recognise(tmp_path)


@pytest.mark.parametrize(
    ("scan", "mask"),
    [
        ("volume-0.nii", "segmentation-0.nii"),
        ("ISIC_0000000.png", "ISIC_0000000_segmentation.png"),
        ("img_0000.png", "mask_0000.png"),
        ("IMAGE-3.nii.gz", "Labels-3.nii.gz"),
        ("ct_1001_image.nii.gz", "ct_1001_label.nii.gz"),
        *((f"p{i}.nii", f"p{i}_{x}.nii") for i, x in enumerate(("manual", "ROI"))),
        ("p1.nii", "annotation_p1.nii"),
    ],
)
def test_the_usual_words_make_a_mask(tmp_path, scan, mask):
    """At the end or the beginning, beside the scan or in folders of their own."""
    other = f"other_{scan}"
    make(tmp_path / "flat", scan, mask, other)
    found = recognise(tmp_path / "flat")
    assert found.name == "flat" and len(found.scans) == 2
    assert masks_of(found) == {scan.partition(".")[0]: mask}
    make(tmp_path / "two", f"images/{scan}", f"labels/{mask}")
    found = recognise(tmp_path / "two")
    assert masks_of(found) == {scan.partition(".")[0]: f"labels/{mask}"}


def test_words_of_masks_may_be_parts_of_scans(tmp_path):
    """Without a scan for them, and where two scans would fit."""
    flat = make(tmp_path / "flat", "a_roi.nii", "b_manual.nii", "img_1.nii")
    make(flat, "volume-1.nii", "mask_1.nii")
    assert len(recognise(flat).scans) == 5
    tree = make(tmp_path / "tree", "p1/roi.nii", "p2/x_manual.nii")
    assert listed(recognise(tree).scans) == {"p1": ["roi.nii"], "p2": ["x_manual.nii"]}


def test_one_scan_and_one_mask_per_folder(tmp_path):
    for i in (1, 2):
        make(tmp_path, f"p{i}/image.nii.gz", f"p{i}/segmentation.nii.gz")
    found = recognise(tmp_path)
    assert listed(found.scans) == {"p1": ["image.nii.gz"], "p2": ["image.nii.gz"]}
    assert masks_of(found)["p2"] == "p2/segmentation.nii.gz"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ("anat/a_T1w", "anat/a_T2w", "anat/a_dseg"),
            ("anat", "a_T1w, a_T2w", "_0001"),
        ),
        (("a_t1", "a_flair", "a_seg"), ("a_flair, a_t1", "_0000")),
        (("image", "seg", "mask"), ("mask, seg",)),
        (("seg",), ("seg",)),
    ],
)
def test_the_folder_that_holds_too_much_is_named(tmp_path, names, expected):
    """With what it holds, before the list of the layouts."""
    make(tmp_path, *(f"sub-0{i}/{name}.nii.gz" for i in (1, 2) for name in names))
    with pytest.raises(InputError) as caught:
        recognise(tmp_path)
    first = str(caught.value).partition("\n")[0]
    assert "sub-01" in first and "sub-02/" not in first
    assert all(part in first for part in expected)
