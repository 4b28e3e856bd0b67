"""Training in a named split, through main.py: who validates, what is reported."""

import json
import os

import pytest

from tests.support.nifti import make_image, make_label, save
from tests.support.patients import patient
from tests.support.program import refused, start, succeed

STEPS = {"last": "scored_step", "best": "best_step"}
"""What evaluation.json calls the step of each checkpoint, if the last one is kept."""


@pytest.fixture(scope="module")
def acdc(tmp_path_factory):
    """A folder like ACDC's: 100 patients, all with the same two scans."""
    root = tmp_path_factory.mktemp("acdc")
    image, label = root / "image.nii.gz", root / "label.nii.gz"
    save(image, make_image())
    save(label, make_label())
    for number in range(1, 101):
        folder = root / "training" / patient(number)
        folder.mkdir(parents=True)
        text = f"ED: 1\nES: 2\nGroup: {'NOR' if number % 2 else 'DCM'}\n"
        (folder / "Info.cfg").write_text(text)
        for frame in ("frame01", "frame02"):
            os.link(image, folder / f"{patient(number)}_{frame}.nii.gz")
            os.link(label, folder / f"{patient(number)}_{frame}_gt.nii.gz")
    return root


def read(folder):
    return json.loads((folder / "evaluation.json").read_text())


def test_both_checkpoints_are_scored(acdc, cache, tmp_path):
    """On the 40 test volumes: the last, and the one that ten other patients choose."""
    own = {"data__name": "acdc", "data__root": acdc, "data__split": "ssl4mis"}
    own |= {"data__num_labeled": 1, "init__checkpoint": "none"}
    output = succeed(start("finetune", tmp_path, cache, **own))
    assert "best validation step" in output
    folder = tmp_path / "finetune"
    split = json.loads((folder / "run.json").read_text())["split"]
    # 6 slices of one patient train, and 60 of ten patients validate.
    assert (len(split["train_slices"]), len(split["val_slices"])) == (6, 60)
    found = read(folder)
    assert found["labeled_patients"] == ["patient099"]
    assert len(found["val_patients"]) == 10 and found["num_volumes"] == 40
    assert (found["kept"], found["scored_step"]) == ("last", 4)
    assert found["best_step"] <= 4 and not {"scored", "last_step"} & {*found}
    assert {"dice", "hd95_mm", "network"} <= set(found["best"])
    for keep, expected in (("last", found), ("best", found["best"])):
        succeed(start("evaluate", tmp_path, cache, segmentation__keep=keep, **own))
        again = read(tmp_path / "evaluate")
        assert (again["kept"], again["scored_step"]) == (keep, found[STEPS[keep]])
        for metric in ("dice", "hd95_mm"):
            numbers = {name: x for name, x in again[metric].items() if x is not None}
            assert numbers
            ours = {name: expected[metric][name] for name in numbers}
            assert ours == pytest.approx(numbers, abs=1e-2)


def test_another_split_of_the_same_scans_is_refused(acdc, cache, tmp_path):
    """A network is not scored where its training patients would be tested."""
    own = {"data__name": "acdc", "data__root": acdc, "init__checkpoint": "none"}
    flags = {"data__split": "ssl4mis", "data__labeled": "patient003,", **own}
    succeed(start("finetune", tmp_path, cache, **flags))
    config = json.loads((tmp_path / "finetune" / "config.json").read_text())
    assert config["data"]["num_labeled"] == 1
    other = {**own, "data__split": "auto"}
    sentence = refused(start("evaluate", tmp_path, cache, **other))
    assert "data.split" in sentence
