"""The layouts that are known, as trees, and the answer to every other one."""

import shlex
from pathlib import Path

from pix2rep_jax.data.files.nifti_paths import CONVERT, list_folder
from pix2rep_jax.data.layout.scan_tree import explain_folder
from pix2rep_jax.errors import name_some

__all__ = ["LAYOUTS", "TITLES", "describe_root", "explain_unknown"]

LAYOUTS = {
    "acdc": """\
training/patient001/Info.cfg
training/patient001/patient001_frame01.nii.gz
training/patient001/patient001_frame01_gt.nii.gz""",
    "nnunet": """\
imagesTr/NAME_0000.nii.gz   one file per channel: _0000, _0001, ...
labelsTr/NAME.nii.gz
dataset.json""",
    "decathlon": """\
imagesTr/NAME.nii.gz
labelsTr/NAME.nii.gz
dataset.json                its "training" lists both""",
    "images": """\
images/NAME.nii.gz
labels/NAME.nii.gz          or masks/, segmentations/, gt/, annotations/
labels.json                 names the classes; optional""",
    "flat": """\
NAME1.nii.gz
NAME1_seg.nii.gz            or _mask, ..., or segmentation-1 beside volume-1
NAME2.nii.gz""",
    "tree": """\
sub-01/anat/NAME.nii.gz     one scan per folder
sub-01/anat/NAME_seg.nii.gz
sub-02/anat/NAME.nii.gz""",
}
"""Every layout, as a tree of three lines."""

MASK_FOLDERS = (
    *("labels", "label", "masks", "mask", "segmentations", "segmentation", "seg"),
    *("gt", "gts", "ground_truth", "groundtruth", "annotations", "annotation"),
)
"""Folders that hold masks beside one of scans, in any case of letters."""

TITLES = {
    "acdc": "ACDC's layout",
    "nnunet": "nnU-Net's layout",
    "decathlon": "the Decathlon's layout",
    "images": "images/ and labels/",
    "flat": "a folder of scans",
    "tree": "one scan per folder",
}


def explain_unknown(root: Path) -> str:
    """Says that a folder has no known layout, what it holds, and the layouts."""
    advice, folders = "", _folders(root)
    below = list_folder(root, deep=True)
    if below.others and not below.files:
        advice = f" {CONVERT[0].upper()}{CONVERT[1:]}."
    elif len(folders) == 1 and holds_masks(folders[0]):
        advice = f" {folders[0].name} holds masks, and their scans are missing."
    elif len(folders) == 1 and below.files:
        advice = f" Perhaps you mean --config.data.root={shlex.quote(str(folders[0]))}."
    elif (root / "Info.cfg").is_file() or any(root.glob("patient*/Info.cfg")):
        advice = (
            f" Perhaps you mean --config.data.root={shlex.quote(str(root.parent))}."
        )
    elif reason := explain_folder(below.files):
        advice = f" {reason}."
    trees = "\n".join(
        f"  {TITLES[name]}:\n    " + tree.replace("\n", "\n    ")
        for name, tree in LAYOUTS.items()
    )
    return (
        f"no layout was recognised in {root} ({describe_root(root)}).{advice} Lay it "
        f"out in one of these ways:\n{trees}"
    )


def holds_masks(folder: Path) -> bool:
    """Whether a folder's name says that it holds masks, not scans."""
    return folder.name.casefold() in (*MASK_FOLDERS, "labelstr", "labelsts")


def describe_root(root: str | Path) -> str:
    """Says what lies in a folder, such as "it holds images, Masks"."""
    try:
        names = sorted(each.name for each in Path(root).expanduser().iterdir())
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    shown = name_some((name for name in names if not name.startswith(".")), most=5)
    return f"it holds {shown or 'nothing'}"


def _folders(root: Path) -> list[Path]:
    entries = sorted(each for each in root.iterdir() if not each.name.startswith("."))
    return [each for each in entries if each.is_dir()]
