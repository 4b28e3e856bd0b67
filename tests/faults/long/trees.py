"""Folders of scans in any order and disorder, and what is promised of them."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
from hypothesis import strategies as st

import configs.pix2rep
from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.data.fit.plan import plan_data
from pix2rep_jax.data.fit.settle import settle_data
from pix2rep_jax.data.splits import make_split, take_pretraining_slices
from tests.faults.long.drawn import is_refused

Tree = dict[str, str]
"""What lies in a folder: what each file holds, by its path."""

SHAPE = (9, 8, 3)

HOLDS = (
    *("scan", "scan", "mask", "mask 0 2", "mask 0 255", "empty mask", "frames"),
    *("other shape", "one slice", "empty", "junk", "half", "folder", "link to nothing"),
    *("link to itself", "json", "info"),
)

NAMES = (
    *("images/a.nii.gz", "labels/a.nii.gz", "imagesTr/b_0000.nii.gz", "labelsTr/b.nii"),
    *("imagesTr/b_0001.nii.gz", "imagesTs/c_0000.nii.gz", "a.nii.gz", "a_seg.nii.gz"),
    *("a_gt.nii.gz", "b.NII", "x.nii/x.nii", "Images/é.nii.gz", "images/p 1.nii.gz"),
    *("training/patient001/patient001_frame01.nii.gz", "dataset.json", "labels.json"),
    *("training/patient001/Info.cfg", "testing/patient101/Info.cfg", "split.csv"),
    *("training/patient001/patient001_frame01_gt.nii.gz", "readme.txt", "._a.nii.gz"),
    *("training/patient002", "images", "labels", "a.hdr", "a.img", "sub-01/anat/t.nii"),
    *("images/a_seg.nii.gz", "images/a.png", "labels/a.png", "images/a.txt"),
)


@st.composite
def drawing(draw) -> Tree:
    """Draws a good folder of a few patients, in which up to four files are changed."""
    tree = _good(
        draw(st.sampled_from(("folders", "nnunet", "flat", "acdc", "nothing"))),
        draw(st.integers(1, 5)),
        draw(st.integers(0, 5)),
    )
    for _ in range(draw(st.integers(0, 4))):
        names = st.sampled_from(sorted({*tree, *NAMES}))
        tree[draw(names)] = draw(st.sampled_from(HOLDS))
        if draw(st.integers(0, 3)) == 0 and tree:
            del tree[draw(st.sampled_from(sorted(tree)))]
    return tree


def _good(layout: str, scans: int, masks: int) -> Tree:
    """A folder of some layout, in which nothing is wrong."""
    tree: Tree = {}
    for number in range(scans if layout != "nothing" else 0):
        name = f"p{number}"
        if layout == "acdc":
            folder = f"training/patient{number + 1:03d}"
            name = f"{folder}/{Path(folder).name}_frame"
            tree[f"{folder}/Info.cfg"] = "info"
            places = [
                (f"{name}{x}.nii.gz", f"{name}{x}_gt.nii.gz") for x in ("01", "02")
            ]
        else:
            places = {
                "folders": [(f"images/{name}.nii.gz", f"labels/{name}.nii.gz")],
                "nnunet": [(f"imagesTr/{name}_0000.nii.gz", f"labelsTr/{name}.nii.gz")],
                "flat": [(f"{name}.nii.gz", f"{name}_seg.nii.gz")],
            }[layout]
        for scan, mask in places:
            tree[scan] = "scan"
            if number < masks:
                tree[mask] = "mask"
    return tree


def write(folder: Path, tree: Tree) -> None:
    """Writes what can be: a file may stand where another needs a folder."""
    noise = np.random.default_rng(0)
    for name, holds in tree.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, holds, noise)
        except OSError:
            continue


def _write(path: Path, holds: str, noise: np.random.Generator) -> None:
    shape = {
        "frames": (*SHAPE, 2),
        "other shape": (7, 9, 4),
        "one slice": SHAPE[:2],
    }.get(holds, SHAPE)
    if holds == "folder":
        path.mkdir()
    elif holds.startswith("link"):
        path.symlink_to("nowhere.nii.gz" if "nothing" in holds else path.name)
    elif holds in ("empty", "junk", "json", "info"):
        text = {
            "junk": "\x00\xff{[nothing",
            "json": '{"labels": {"BG": 0, "LV": 1}, "channel_names": {"0": "T1"}}',
            "info": "ED: 1\nES: 2\nGroup: NOR\nHeight: 184.0\nWeight: 95.0",
        }
        path.write_text(text.get(holds, ""), encoding="latin-1")
    elif path.name.endswith((".nii", ".nii.gz")):
        values = noise.integers(0, 200, shape).astype(np.int16)
        if "mask" in holds:
            values = (values > 120).astype(np.int16)
            values[values > 0] = int(holds.split()[-1]) if holds[-1].isdigit() else 1
            values *= holds != "empty mask"
        nib.save(nib.Nifti1Image(values, np.diag((1.5, 1.5, 8, 1))), path)
        if holds == "half":
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(noise.bytes(50))


def load(folder: Path, cache: Path):
    """Does what a pretraining does before it builds its network."""
    data = configs.pix2rep.get_config("quick").data
    data.update(name="auto", root=str(folder), cache_dir=str(cache), size=8)
    with data.ignore_type():
        data.update(classes=(), holdout_per_group="auto", spacing_mm="auto")
        data.update(crop="auto", crop_px=0, normalization="auto")
        data.update(settle_data(data).settings)
    data = plan_data(data)
    dataset = load_dataset(data, progress=False)
    splits = []
    for draw_labeled in (False, True):
        try:
            splits.append(make_split(dataset, data, draw_labeled=draw_labeled))
        except Exception as error:
            if not draw_labeled or not is_refused(error):
                raise
    return dataset, splits


def check(place: Path, tree: Tree) -> bool:
    """Loads a folder and divides it.

    Returns:
        Whether it was accepted: then its slices are numbers between 0 and 1, its labels
        are of the classes, and no patient is on two sides.
    """
    folder, cache = place / "tree", place / "cache"
    for each in (folder, cache):
        shutil.rmtree(each, ignore_errors=True)
    folder.mkdir()
    write(folder, tree)
    try:
        dataset, splits = load(folder, cache)
        slices = take_pretraining_slices(dataset, splits[0])
    except Exception as error:
        if not is_refused(error):
            raise
        return False
    assert len(slices["image"]) and np.isfinite(slices["image"]).all()
    assert dataset.images.min() >= 0 and dataset.images.max() <= 1
    assert dataset.images.shape[:3] == dataset.labels.shape
    known = dataset.labels[dataset.labels != UNLABELLED]
    assert known.max(initial=0) < 255
    for split in splits:
        assert not {*split.test_patients} & {*split.pretrain_patients}
        assert {*split.labeled_patients} <= {*split.pretrain_patients}
    again, _ = load(folder, cache)
    np.testing.assert_array_equal(dataset.images, again.images)
    return True
