"""A run's folder: what goes on, what is refused, what other modes find."""

import dataclasses
import functools
import json
import operator
import os
import pathlib

import pytest

import configs.pix2rep
import configs.study
from pix2rep_jax.data.files.axes import LAST, SliceAxis
from pix2rep_jax.errors import InputError
from pix2rep_jax.modes import finetune, pretrain
from pix2rep_jax.runs.dependencies import EARLIER
from pix2rep_jax.runs.manifest import (
    check_place,
    find_run,
    make_folder,
    open_run,
    read_config,
)
from pix2rep_jax.runs.pretrained_backbone import read_backbone
from pix2rep_jax.runs.run_record import VERSION, Origin, read_num_steps, read_run
from pix2rep_jax.study import command
from tests.support.run_folder import begin_run, make_run_record, make_split_of

CONFIG = configs.pix2rep.get_config("quick")
FIRST = Origin("runs/a/pretrain", 6, "1f")
SECOND = Origin("runs/b/pretrain", 7, "2e")


def make_config(**changes):
    config = CONFIG.copy_and_resolve_references()
    config.update_from_flattened_dict(changes)
    return config


def test_a_run_is_described_by_two_files(tmp_path):
    """The configuration, and all else in one versioned record."""
    folder = tmp_path / "pretrain"
    record = begin_run(folder, CONFIG, origin=FIRST)
    assert sorted(x.name for x in folder.iterdir()) == ["config.json", "run.json"]
    assert read_config(folder)["model"]["channels"] == list(CONFIG.model.channels)
    content = json.loads((folder / "run.json").read_text())
    assert set(content) == {
        *("version", "command", "environment", "num_steps", "trained", "origin"),
        *("split", "slice_axis", "inputs", "one_piece", "one_piece_foreground"),
    }
    assert content["slice_axis"] == {"index": 2, "anatomy": "", "in_plane": ""}
    assert content["version"] == VERSION == 3
    assert content["command"] == "main.py --mode pretrain"
    assert {"flax", "python", "numerics"} <= set(content["environment"])
    assert {"jax", "devices"} <= set(content["environment"]["numerics"])
    assert content["origin"] == FIRST._asdict()
    assert content["split"]["scans"]["patient001"] == {"patient001_ED": "a1 b1"}
    assert content["split"]["train_slices"] == [0, 1]
    assert read_run(folder)._replace(split=None) == record._replace(split=None)
    assert read_run(folder).split.to_dict() == record.split.to_dict()
    assert read_num_steps(folder) == 10


def test_the_same_run_goes_on_and_nothing_is_written_again(tmp_path):
    """What the first start recorded stays."""
    folder = tmp_path / "pretrain"
    first = begin_run(folder, CONFIG)
    before = {x.name: x.stat().st_mtime_ns for x in folder.iterdir()}
    later = make_run_record()._replace(environment={"jax": "0"}, command="other")
    again = open_run(folder, CONFIG, later, begun=True)
    assert (again.environment, again.command) == (first.environment, first.command)
    assert before == {x.name: x.stat().st_mtime_ns for x in folder.iterdir()}


def test_another_configuration_is_refused_with_its_fields(tmp_path):
    """Every differing field is named with both values."""
    folder = tmp_path / "pretrain"
    begin_run(folder, CONFIG)
    other = make_config(**{"seed": 3, "model.channels": (8, 32), "probe.batch_size": 2})
    with pytest.raises(InputError) as caught:
        open_run(folder, other, make_run_record(), begun=True)
    for part in ("seed: 0 -> 3", "-> [8, 32]", "--workdir"):
        assert part in str(caught.value)
    assert "probe.batch_size" not in str(caught.value)
    assert read_config(folder)["seed"] == 0


def test_other_patients_or_scans_are_refused(tmp_path):
    """By what differs; a mask that came since is no other scan."""
    folder, split = tmp_path / "probe", make_split_of()
    bare = {**split.scans, "patient002": {"patient002_ED": "a2"}}
    begin_run(folder, CONFIG, split=dataclasses.replace(split, scans=bare))
    open_run(folder, CONFIG, make_run_record(split=split), begun=True)
    other = {**split.scans, "patient002": {"patient002_ED": "a2 b3"}}
    for changes, named in (
        ({"test_patients": ("patient003",)}, "test patients"),
        ({"labeled_patients": ()}, "labelled patients"),
        ({"scans": other}, "mask of patient002_ED"),
    ):
        record = make_run_record(split=make_split_of(**changes))
        with pytest.raises(InputError, match=named):
            open_run(folder, CONFIG, record, begun=True)
    assert read_run(folder).split.to_dict() == split.to_dict()


def test_a_run_keeps_its_origin_from_its_first_checkpoint_on(tmp_path):
    """Before that it may start from whatever is there. Its place does not matter."""
    folder = tmp_path / "probe"
    begin_run(folder, CONFIG, origin=FIRST)
    record = make_run_record(origin=SECOND)
    assert open_run(folder, CONFIG, record, begun=False).origin == SECOND
    moved = make_run_record(origin=SECOND._replace(run="moved", step=9))
    assert open_run(folder, CONFIG, moved, begun=True).origin == SECOND
    first = make_run_record(origin=FIRST)
    with pytest.raises(InputError, match=r"init(\.|__)checkpoint"):
        open_run(folder, CONFIG, first, begun=True)
    for begun in (True, False):
        with pytest.raises(InputError, match=r"init(\.|__)checkpoint"):
            open_run(folder, CONFIG, make_run_record(origin=None), begun=begun)
    begin_run(tmp_path / "finetune", CONFIG, origin=None)
    with pytest.raises(InputError, match=r"init(\.|__)checkpoint"):
        open_run(tmp_path / "finetune", CONFIG, first, begun=True)


def test_a_run_that_would_start_from_itself_names_a_way_out(tmp_path):
    """Which starts from the fine-tuning, and does not delete it."""
    folder = tmp_path / "finetune"
    begin_run(folder, CONFIG, origin=FIRST)
    itself = make_run_record(origin=SECOND._replace(run=str(folder)))
    with pytest.raises(InputError) as refused:
        open_run(folder, CONFIG, itself, begun=True)
    assert f"--config.init.checkpoint={folder}" in str(refused.value)
    assert "delete" not in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "{}", "5", "null", "[]", '"a"', '{"scans": 5}', '{"version": 2}'),
        *(
            "num_steps",
            "endless",
            "untrained",
            "step",
            "trained",
            "origin",
            "split",
            "environment",
            "scans",
            "patients",
            "slice_axis",
            "index",
            "in_plane",
        ),
        pytest.param("[" * 100_000, id="deep"),
    ],
)
def test_a_damaged_record_is_one_sentence(tmp_path, content):
    """Whoever reads it; the run never starts from the beginning."""
    folder = tmp_path / "pretrain"
    begin_run(folder, CONFIG, origin=True)
    path = folder / "run.json"
    whole = json.loads(path.read_text())
    if content == "endless":
        whole["num_steps"] = float("inf")
    elif content == "untrained":
        whole["trained"] = []
    elif content == "step":
        whole["origin"]["step"] = None
    elif content == "scans":
        whole["split"]["scans"] = {"patient001": "a"}
    elif content == "patients":
        whole["split"]["pretrain_patients"] = "patient001"
    elif content == "index":
        whole["slice_axis"]["index"] = True
    elif content == "in_plane":
        whole["slice_axis"]["in_plane"] = None
    elif content in whole:
        whole[content] = 5 if content != "num_steps" else "many"
    else:
        whole = None
    path.write_text(content if whole is None else json.dumps(whole))
    for read in (
        read_run,
        read_num_steps,
        lambda folder: open_run(folder, CONFIG, make_run_record(), begun=True),
    ):
        with pytest.raises(InputError, match=r"run\.json") as caught:
            read(folder)
        assert "\n" not in str(caught.value)


def test_a_run_that_is_older_than_a_setting_is_read(tmp_path):
    """With what the program did before: slices along the third axis, percentiles."""
    folder = tmp_path / "pretrain"
    begin_run(folder, CONFIG, slice_axis=SliceAxis(1, "A/P", "RS"))
    settings = json.loads((folder / "config.json").read_text())
    for name in EARLIER:
        *sections, leaf = name.split(".")
        del functools.reduce(operator.getitem, sections, settings)[leaf]
    (folder / "config.json").write_text(json.dumps(settings))
    content = json.loads((folder / "run.json").read_text())
    del content["slice_axis"], content["inputs"]
    (folder / "run.json").write_text(json.dumps(content))
    data = read_config(folder)["data"]
    assert (data["slice_axis"], data["orientation"]) == (2, "file")
    assert (data["normalization"], data["window"]) == ("percentiles", [])
    assert read_run(folder).slice_axis == LAST
    same = CONFIG.copy_and_resolve_references()
    with same.data.ignore_type():
        same.data.slice_axis = 2
    assert open_run(folder, same, make_run_record(), begun=True).num_steps == 10


def test_a_run_of_another_version_is_refused(tmp_path):
    """The first had config.json and no run.json; each later one has its number."""
    folder = tmp_path / "pretrain"
    begin_run(folder, CONFIG)
    path = folder / "run.json"
    whole = json.loads(path.read_text())
    for version in (2, VERSION + 1):
        path.write_text(json.dumps(whole | {"version": version}))
        with pytest.raises(InputError, match=f"version {version}"):
            read_run(folder)
    path.unlink()
    for read in (
        read_config,  # what its settings meant is unknown too
        lambda folder: open_run(folder, CONFIG, make_run_record(), begun=True),
        lambda folder: read_backbone(make_config(**{"model.channels": (2,)}), folder),
    ):
        with pytest.raises(InputError, match=r"run\.json.*workdir"):
            read(folder)
    assert not path.exists()


def test_a_start_that_was_cut_leaves_no_run(tmp_path, monkeypatch):
    """On a full disk one sentence; the next start begins as if nothing was there."""
    folder, write = tmp_path / "pretrain", pathlib.Path.write_text

    def fail(path, *args, **options):
        if "config.json" in path.name:
            raise OSError(28, "No space left on device")
        return write(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "write_text", fail)
        with pytest.raises(InputError, match=r"config\.json"):
            begin_run(folder, CONFIG)
    assert [x.name for x in folder.iterdir()] == ["run.json"]
    assert begin_run(folder, CONFIG, num_steps=11).num_steps == 11
    assert read_num_steps(folder) == 11


def test_a_run_is_found_by_its_workdir_or_its_own_folder(tmp_path):
    """Both names of a run lead to it; a folder without one names the mode to run."""
    folder = tmp_path / "pretrain"
    begin_run(folder, CONFIG)
    assert find_run(tmp_path, "pretrain") == find_run(folder, "pretrain") == folder
    with pytest.raises(InputError, match="--mode probe"):
        find_run(tmp_path, "probe")
    with pytest.raises(InputError, match=r"init(\.|__)checkpoint"):
        find_run(tmp_path / "missing", "pretrain")


def test_a_folder_without_the_right_to_write_is_said(tmp_path, monkeypatch):
    """It may be there, as on a disk that is for reading only."""
    make_folder(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    with pytest.raises(InputError, match=rf"{tmp_path}.*--output"):
        make_folder(tmp_path, option="--output")


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    """A file where the workdir should be is one sentence."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--workdir"):
        begin_run(tmp_path / "file" / "pretrain", CONFIG)


@pytest.mark.parametrize(
    "content", ['{"seed"', "{}", "[1, 2]", "null", "data", "data.spacing_mm"]
)
def test_a_damaged_config_is_said(tmp_path, content):
    """Half a config.json, or one without a section or setting, names the file."""
    folder = tmp_path / "pretrain"
    begin_run(folder, CONFIG)
    path = folder / "config.json"
    whole = json.loads(path.read_text())
    if content == "data":
        content = json.dumps(whole | {"data": 5})
    elif content == "data.spacing_mm":
        whole["data"].pop("spacing_mm")
        content = json.dumps(whole)
    path.write_text(content)
    for read in (
        read_config,
        lambda folder: open_run(folder, CONFIG, make_run_record(), begun=True),
        lambda folder: read_backbone(CONFIG.model, folder),
    ):
        with pytest.raises(InputError, match=r"config\.json"):
            read(folder)


def test_a_workdir_that_cannot_be_written_is_refused_before_any_work(
    tmp_path, monkeypatch
):
    """Under a file; in a folder without the right to write, which root always has."""
    check_place(tmp_path / "new" / "one")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--workdir"):
        check_place(tmp_path / "file" / "run")
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    (tmp_path / "runs").mkdir()
    check_place(tmp_path / "runs" / "a")
    with pytest.raises(InputError, match=str(tmp_path)):
        check_place(tmp_path / "b" / "c")
    for mode in (pretrain, finetune, command):
        config = configs.study.get_config()
        config.data.update(name="acdc", root="nothing that could be loaded")
        with pytest.raises(InputError, match="--workdir"):
            mode.run(config, tmp_path / "b")
