"""--mode check, and plan.json: made once in a workdir, used by its later modes."""

import json
import re

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from configs import pix2rep
from pix2rep_jax.data.fit import fingerprint
from pix2rep_jax.data.fit.settle import settle_data
from pix2rep_jax.data.layout import nifti_folder
from pix2rep_jax.errors import InputError
from pix2rep_jax.modes import check
from pix2rep_jax.runs import plan_file
from pix2rep_jax.runs.dependencies import add_missing
from pix2rep_jax.runs.plan_file import (
    read_plan,
    settle,
    take_recorded,
)
from tests.support.program import finish, start


def save(path, array, spacing_mm=(1.5, 1.5, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([*spacing_mm, 1])), path)


@pytest.fixture
def config(tmp_path):
    """Three small scans with masks, to be read by the settings of `small`."""
    root = tmp_path / "SCANS"
    for number in range(3):
        image = np.random.default_rng(number).random((40, 40, 2))
        label = np.zeros(image.shape, np.uint8)
        label[10:20, 15:25] = 1
        save(root / f"images/p{number}.nii.gz", image)
        save(root / f"labels/p{number}.nii.gz", label)
    config = pix2rep.get_config("small")
    config.data.update(name="nifti", root=str(root), classes=("BG", "ORGAN"))
    config.data.update(holdout_per_group=0, cache_dir=str(tmp_path / "cache"))
    return config


def test_ten_lines_and_a_plan(config, tmp_path, capsys):
    """The plan's numbers are in plan.json, and nothing else is written there."""
    work = tmp_path / "work"
    assert check.run(config, work) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 12  # ten, the caches and the end
    assert "3 patients, 3 scans" in printed[1] and "3 masks" in printed[1]
    assert [x.name for x in work.iterdir()] == ["plan.json"]
    content = json.loads((work / "plan.json").read_text())
    expected = {"spacing_mm": 1.5, "normalization": "percentiles", "window": []}
    expected["crop"] = "center"
    assert content["data"] == expected


def test_every_fault_has_a_line_in_one_pass(config, tmp_path, capsys):
    """A damaged scan, a mask of another shape, an unknown label and a lost file."""
    root = tmp_path / "SCANS"
    (root / "images/p0.nii.gz").write_bytes(b"no scan")
    save(root / "labels/p1.nii.gz", np.zeros((40, 41, 2), np.uint8))
    save(root / "labels/p2.nii.gz", np.full((40, 40, 2), 7, np.uint8))
    save(root / "images/p4.nii.gz", np.random.default_rng(4).random((40, 40, 2)))
    (root / "images/p3.nii.gz").symlink_to(root / "nowhere.nii.gz")
    assert check.run(config, tmp_path / "work") == 1
    faults = capsys.readouterr().err.splitlines()
    for name in ("p0", "p1", "p2", "p3"):
        assert sum(x.startswith("fault: ") and name in x for x in faults) == 1
    assert not (tmp_path / "work").exists()
    with pytest.raises(InputError, match=r"p3.*3 more"):
        settle(config, tmp_path / "work", "pretrain")


def notes_of(config, folder, capsys):
    """What check says of a data set in which no file is at fault."""
    assert check.run(config, folder) == 0
    said = capsys.readouterr()
    return said.err.splitlines(), said.out.splitlines()[-1]


def test_doubtful_masks_have_a_note_each(config, tmp_path, capsys):
    """One pixel of a value in one mask, and an empty mask; the last line says so."""
    root = tmp_path / "SCANS"
    before, well = notes_of(config, tmp_path / "work", capsys)
    config.data.update(classes=("BG", "ORGAN", "7"), label_values=(0, 1, 7))
    label = np.zeros((40, 40, 2), np.uint8)
    save(root / "labels/p2.nii.gz", label)
    label[10:20, 15:25], label[0, 0, 0] = 1, 7
    save(root / "labels/p1.nii.gz", label)
    notes, last = notes_of(config, tmp_path / "work", capsys)
    (rare,) = [x for x in notes if "class 7" in x]
    assert "1 pixel" in rare and "1 of 3" in rare and "p1" in rare
    assert len([x for x in notes if "1 of 3 masks" in x and "(p2)" in x]) == 1
    assert len(notes) == len(before) + 2 and "2 note" in last != well
    settle(config, tmp_path / "other", "pretrain")
    assert "class 7" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x9_segmentation", "x9"])
def test_scans_that_look_like_masks_are_named(config, tmp_path, capsys, name):
    """By their names, or by few whole values; both times with the folder to mend."""
    image = np.random.default_rng(9).random((40, 40, 2))
    if name == "x9":
        image = (image * 3).astype(np.uint8)
    save(tmp_path / f"SCANS/images/{name}.nii.gz", image)
    notes, last = notes_of(config, tmp_path / "work", capsys)
    (note,) = [x for x in notes if name in x]
    assert "1 of 4 scans" in note and "_seg" in note and "1 note" in last


def test_every_mask_of_broken_values_is_listed(config, tmp_path, capsys):
    """Also where the classes are to be found in the masks."""
    root = tmp_path / "SCANS"
    for number in range(3):
        soft = np.full((40, 40, 2), 0.7 if number else 1.0, np.float32)
        save(root / f"labels/p{number}.nii.gz", soft)
    for first in (1.0, 0.7):  # then no mask can be used
        save(root / "labels/p0.nii.gz", np.full((40, 40, 2), first, np.float32))
        config.data.classes = ()
        config.data.update(settle_data(config.data).settings)
        assert check.run(config, tmp_path / "work") == 1
        (fault,) = [x for x in capsys.readouterr().err.splitlines() if "fault:" in x]
        assert f"in {2 if first == 1 else 3} files" in fault


def test_one_fault_of_many_files_is_one_line(config, tmp_path, capsys):
    """With three examples and their number; another fault has a line of its own."""
    root = tmp_path / "SCANS"
    for number in range(3, 9):
        image = np.random.default_rng(number).random((40, 40, 2))
        save(root / f"images/p{number}.nii.gz", image)
        label = np.full((40, 40, 2), 255 if number > 3 else 7, np.uint8)
        save(root / f"labels/p{number}.nii.gz", label)
    assert check.run(config, tmp_path / "work") == 1
    err = capsys.readouterr().err
    faults = [line for line in err.splitlines() if line.startswith("fault: ")]
    assert len(faults) == 2 and "6 files" in err
    (many,) = [line for line in faults if "5 files" in line]
    assert all(f"p{number}.nii.gz" in many for number in (4, 5, 6))
    assert "p7" not in many and many.count("label 255") == 1


def test_faults_are_grouped_as_they_are_found(config, tmp_path, capsys, monkeypatch):
    """The folder is listed once; a name that begins with another is another."""
    root = tmp_path / "SCANS"
    for name in ("p0", "p1"):
        save(root / f"labels/{name}.nii.gz", np.full((40, 40, 2), 7, np.uint8))
    (root / "images/p2.nii.gz").rename(root / "images/p0.nii.gz.nii.gz")
    (root / "labels/p2.nii.gz").unlink()
    (root / "images/p0.nii.gz.nii.gz").write_bytes(b"no scan")
    listed, lists = [], nifti_folder.list_volumes
    monkeypatch.setattr(
        nifti_folder,
        "list_volumes",
        lambda *args, **options: listed.append(args) or lists(*args, **options),
    )
    found = fingerprint.take_fingerprint(config.data, progress=False).faults
    assert [each.name for each in found] == [
        "p0.nii.gz",
        "p0.nii.gz.nii.gz",
        "p1.nii.gz",
    ]
    assert found[0].kind == found[2].kind != found[1].kind
    assert not any(str(root) in each.kind for each in found)
    del listed[:]
    assert check.run(config, tmp_path / "work") == 1
    assert len(listed) == 1
    faults = [x for x in capsys.readouterr().err.splitlines() if "fault: " in x]
    assert len(faults) == 2 and "p0.nii.gz, p1.nii.gz" in faults[0]


def test_pictures_are_told_what_a_pixel_measures(tmp_path, capsys):
    """Slices are not apart where each scan is one, and the layout is the folder's."""
    root = tmp_path / "US"
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for number in range(2):
        image = np.random.default_rng(number).integers(0, 255, (40, 50), np.uint8)
        Image.fromarray(image).save(root / f"images/p{number}.png")
        mask = Image.fromarray((image > 128).astype(np.uint8))
        mask.save(root / f"labels/p{number}.png")
    config = pix2rep.get_config("small")
    config.data.update(name="nifti", root=str(root), classes=("BG", "HEAD"))
    config.data.update(holdout_per_group=0, cache_dir=str(tmp_path / "cache"))
    for _ in range(2):  # also from the cache
        assert check.run(config, tmp_path / "work") == 0
        said = capsys.readouterr()
        assert "pixel_sizes.csv" in said.err and "1 px" in said.err
        assert "apart" not in said.out and "nifti" not in said.out


def test_the_first_training_plans_and_later_ones_take_it_over(
    config, tmp_path, capsys, monkeypatch
):
    """The second reads plan.json, and measures nothing."""
    work = tmp_path / "work"
    first = settle(config, work, "pretrain")
    assert first.data.spacing_mm == 1.5 and config.data.spacing_mm == "auto"
    assert len(capsys.readouterr().out.splitlines()) == 10
    path = work / "plan.json"
    path.write_text(path.read_text().replace("1.5,", "1.75,", 1))
    monkeypatch.setattr(plan_file, "take_fingerprint", None)
    assert settle(config, work, "finetune").data.spacing_mm == 1.75
    said = capsys.readouterr()
    assert said.out == "" and said.err.count(str(path)) == 1
    config.data.size = 32  # another plan
    assert read_plan(work, config.data) is None
    config.data.spacing_mm, config.data.normalization = 2.0, "percentiles"
    config.data.crop = "center"
    config.spatial.upright = config.augment.spatial.upright = False
    assert settle(config, tmp_path / "none", "pretrain") is config


@pytest.mark.parametrize("crop", ["center", "middle", "whole"])
def test_a_size_that_leaves_nothing_open_says_what_masks_keep(
    config, tmp_path, capsys, crop
):
    """In one line, at the first start only; test patients' masks take no part."""
    root, work = tmp_path / "SCANS", tmp_path / "work"
    config.data.update(crop=crop, normalization="percentiles", holdout_per_group=1)
    with config.ignore_type():
        config.data.spacing_mm = 6.0
    config.spatial.upright = config.augment.spatial.upright = False
    assert settle(config, work, "pretrain") is config
    (line,) = capsys.readouterr().out.splitlines()
    kept = float(re.search(r"Dice of (\d\.\d+)", line)[1])
    assert 0.5 < kept < 0.95 and "--config.data.spacing_mm=auto" in line
    diagonal = np.repeat(np.eye(40, dtype=np.uint8)[..., None], 2, 2)
    save(root / "labels/p2.nii.gz", diagonal)
    settle(config, work, "pretrain")
    assert capsys.readouterr().out == f"{line}\n"
    (work / "pretrain").mkdir(parents=True)
    (work / "pretrain" / "config.json").write_text("{}")
    settle(config, work, "finetune")
    for path in (root / "labels").iterdir():
        path.unlink()
    settle(config, tmp_path / "none", "pretrain")
    assert capsys.readouterr().out == ""


def with_likeness(monkeypatch, upright, moved):
    """Makes patients' slices as alike as a test wants."""
    found = fingerprint.Likeness(upright, moved, "transposed")
    monkeypatch.setattr(fingerprint, "compare", lambda thumbnails: found)


@pytest.mark.parametrize(("moved", "upright"), [(0.1, True), (0.3, False)])
def test_patients_that_lie_alike_get_upright_views(
    config, tmp_path, monkeypatch, moved, upright
):
    """Pretraining's and fine-tuning's, unless a flag says something else."""
    with_likeness(monkeypatch, 0.5, moved)
    assert config.spatial.upright == config.augment.spatial.upright == "auto"
    work = tmp_path / "work"
    first = settle(config, work, "pretrain")
    assert first.spatial.upright is first.augment.spatial.upright is upright
    monkeypatch.setattr(plan_file, "take_fingerprint", None)
    config.spatial.upright = not upright
    second = settle(config, work, "finetune")
    assert second.spatial.upright is not upright
    assert second.augment.spatial.upright is upright


def test_views_follow_the_scans_and_not_the_network(config, tmp_path, monkeypatch):
    """A run that starts from another's network looks at its own scans."""
    with_likeness(monkeypatch, 0.5, 0.1)
    other = tmp_path / "other" / "pretrain"
    other.mkdir(parents=True)
    before = config.copy_and_resolve_references()
    with before.ignore_type():
        before.data.update(crop="center", spacing_mm=2.0, normalization="percentiles")
        before.spatial.upright = before.augment.spatial.upright = False
    monkeypatch.setattr(plan_file, "decide_start", lambda *_: other)
    monkeypatch.setattr(plan_file, "read_config", lambda _: before.to_dict())
    settled = settle(config, tmp_path / "work", "finetune")
    assert settled.data.spacing_mm == 2.0 and settled.augment.spatial.upright is True


def test_a_run_older_than_the_setting_had_views_at_all_angles(config):
    """So its views stay as they were when it goes on."""
    recorded = config.to_dict()
    recorded["data"].update(crop="center", spacing_mm=2.0)
    del recorded["spatial"]["upright"], recorded["augment"]["spatial"]["upright"]
    add_missing(recorded)
    settled = take_recorded(config, recorded)
    assert settled.spatial.upright is settled.augment.spatial.upright is False
    assert config.spatial.upright == "auto"


@pytest.mark.parametrize("change", ["root", "exclude", "files", "spacing_mm"])
def test_a_plan_of_other_scans_does_not_count(config, tmp_path, monkeypatch, change):
    """Their views and all else are decided anew, also where the folder is the same."""
    with_likeness(monkeypatch, 0.5, 0.1)
    work, root = tmp_path / "work", tmp_path / "SCANS"
    assert settle(config, work, "pretrain").spatial.upright is True
    with_likeness(monkeypatch, 0.5, 0.4)
    if change == "root":
        config.data.root = str(root.rename(tmp_path / "OTHER"))
    elif change == "exclude":
        config.data.exclude = ("p2",)
    elif change == "files":
        save(root / "images/p3.nii.gz", np.random.default_rng(3).random((40, 40, 2)))
    else:
        config.data.spacing_mm = 2.5
    assert read_plan(work, config.data) is None
    if change != "spacing_mm":  # the fingerprint of the same scans is kept
        assert settle(config, work, "pretrain").spatial.upright is False


def test_an_earlier_plan_is_made_again(config, tmp_path):
    """It does not say of which scans it is."""
    settle(config, tmp_path, "pretrain")
    path = tmp_path / "plan.json"
    content = json.loads(path.read_text())
    del content["made_for"]["scans"]
    path.write_text(json.dumps(content))
    assert read_plan(tmp_path, config.data) is None


def test_a_damaged_plan_is_named(config, tmp_path):
    """With what to do about it."""
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(InputError, match=r"plan\.json"):
        settle(config, tmp_path, "pretrain")


def test_what_a_run_recorded_comes_before_its_plan(config, workdir):
    """Also what a run recorded before there were plans, which had percentiles."""
    run = json.loads((workdir / "finetune" / "config.json").read_text())
    del run["data"]["normalization"], run["data"]["window"]
    add_missing(run)
    data = take_recorded(config, run).data
    assert (data.spacing_mm, data.normalization, data.window) == (5, "percentiles", ())


def test_config_json_holds_what_auto_became(tmp_path, cache):
    """From the command line: pretraining, then fine-tuning and scoring by the plan."""
    flags = {"data.spacing_mm": "auto", "data.normalization": "auto"}
    work = tmp_path / "work"
    for mode in ("check", "pretrain", "finetune", "evaluate"):
        result = finish(start(mode, work, cache, **flags))
        assert result.returncode == 0, result.stderr[-2000:]
    plan = json.loads((work / "plan.json").read_text())["data"]
    for mode in ("pretrain", "finetune"):
        data = json.loads((work / mode / "config.json").read_text())["data"]
        assert {name: data[name] for name in plan} == plan
        assert isinstance(data["spacing_mm"], float)
