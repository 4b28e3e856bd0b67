"""Training in a named split, through main.py: who chooses, and what is reported."""

import json
import os
import shutil

import pytest

from tests.support.nifti import make_image, make_label, save
from tests.support.patients import patient
from tests.support.program import refused, start, succeed


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


def test_the_last_step_stands_beside_the_chosen_one(acdc, cache, tmp_path):
    """Ten other patients choose; both steps are scored on the 40 test volumes."""
    own = {"data__name": "acdc", "data__root": acdc, "data__split": "ssl4mis"}
    own |= {"data__num_labeled": 1, "init__checkpoint": "none"}
    output = succeed(start("finetune", tmp_path, cache, **own))
    assert "last step" in output
    folder = tmp_path / "finetune"
    split = json.loads((folder / "run.json").read_text())["split"]
    # 6 slices of one patient train, and 60 of ten patients choose.
    assert (len(split["train_slices"]), len(split["val_slices"])) == (6, 60)
    found = read(folder)
    assert found["labeled_patients"] == ["patient099"]
    assert len(found["val_patients"]) == 10 and found["num_volumes"] == 40
    assert found["last_step"] == 4 and "scored" not in found
    assert {"dice", "hd95_mm", "network"} <= set(found["last"])
    succeed(start("evaluate", tmp_path, cache, **own))
    assert read(tmp_path / "evaluate")["dice"] == pytest.approx(found["dice"], abs=1e-3)
    # With the last checkpoint alone, `evaluate` scores the last step.
    for path in (folder / "checkpoints").iterdir():
        if path.name != "4":
            shutil.rmtree(path)
    succeed(start("evaluate", tmp_path, cache, **own))
    last = read(tmp_path / "evaluate")
    assert last["best_step"] == 4
    for metric in ("dice", "hd95_mm"):
        expected = {name: x for name, x in last[metric].items() if x is not None}
        assert expected
        ours = {name: found["last"][metric][name] for name in expected}
        assert ours == pytest.approx(expected, abs=1e-2)


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
