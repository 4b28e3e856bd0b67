"""A run's folder: what goes on, what is refused, what other modes find."""

import json
import os

import pytest
from ml_collections import ConfigDict

import configs.study
from pix2rep_jax.errors import InputError
from pix2rep_jax.modes import finetune, pretrain
from pix2rep_jax.runs.manifest import check_place, find_run, open_run, read_config
from pix2rep_jax.study import command


def make_config(**changes):
    config = ConfigDict(
        {
            "seed": 0,
            "data": {"name": "phantom", "cache_dir": "a", "draw": 0},
            "pretrain": {"num_steps": 10, "channels": (8, 16)},
            "probe": {"num_steps": 5},
        }
    )
    config.update_from_flattened_dict(changes)
    return config


SECTIONS = ("seed", "data", "pretrain")


def test_the_same_configuration_goes_on(tmp_path):
    """A second start finds the first, with its configuration as JSON."""
    first = open_run(tmp_path, "pretrain", make_config(), sections=SECTIONS)
    again = open_run(tmp_path, "pretrain", make_config(), sections=SECTIONS)
    assert first == again == tmp_path / "pretrain"
    assert read_config(first)["pretrain"] == {"num_steps": 10, "channels": [8, 16]}
    environment = json.loads((first / "environment.json").read_text())
    assert {"command", "jax", "flax", "python", "devices"} <= set(environment)
    assert sorted(p.name for p in first.iterdir()) == [
        "config.json",
        "environment.json",
    ]


def test_what_does_not_change_the_numbers_may_differ(tmp_path):
    """Where things are cached, other modes' sections and neutral fields may change."""
    open_run(tmp_path, "pretrain", make_config(), sections=SECTIONS)
    other = make_config(**{"data.cache_dir": "b", "probe.num_steps": 7, "data.draw": 2})
    open_run(tmp_path, "pretrain", other, sections=SECTIONS, neutral=("data.draw",))
    assert read_config(tmp_path / "pretrain")["data"]["cache_dir"] == "a"
    with pytest.raises(InputError, match=r"data\.draw: 0 -> 2"):
        open_run(tmp_path, "pretrain", other, sections=SECTIONS)


def test_a_setting_without_effect_may_come_and_go(tmp_path):
    """Runs from before there was a least number of steps go on."""
    open_run(tmp_path, "pretrain", make_config(), sections=SECTIONS)
    for value in (0, 5):
        other = make_config()
        other.pretrain.min_steps = value
        open_run(tmp_path, "pretrain", other, sections=SECTIONS)
    other.pretrain.num_steps = 0
    with pytest.raises(InputError, match=r"min_steps: None -> 5; .*num_steps: 10 -> 0"):
        open_run(tmp_path, "pretrain", other, sections=SECTIONS)


def test_another_configuration_is_refused_with_its_fields(tmp_path):
    """Every differing field is named with both values, and the mend is said."""
    open_run(tmp_path, "pretrain", make_config(), sections=SECTIONS)
    other = make_config(
        **{"seed": 3, "pretrain.num_steps": 20, "pretrain.channels": (8, 32)}
    )
    with pytest.raises(InputError) as caught:
        open_run(tmp_path, "pretrain", other, sections=SECTIONS)
    for part in ("seed: 0 -> 3", "num_steps: 10 -> 20", "[8, 16] -> [8, 32]"):
        assert part in str(caught.value)
    assert "another --workdir" in str(caught.value)
    assert read_config(tmp_path / "pretrain")["seed"] == 0


def test_a_run_is_found_by_its_workdir_or_its_own_folder(tmp_path):
    """Both names of a run lead to it; a folder without one says what to do."""
    folder = open_run(tmp_path, "pretrain", make_config(), sections=SECTIONS)
    assert find_run(tmp_path, "pretrain") == find_run(folder, "pretrain") == folder
    with pytest.raises(InputError, match=r"no probe run.*--mode probe"):
        find_run(tmp_path, "probe")
    with pytest.raises(InputError, match=r"init\.checkpoint"):
        find_run(tmp_path / "missing", "pretrain")


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    """A file where the workdir should be is one sentence."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        open_run(tmp_path / "file", "pretrain", make_config(), sections=SECTIONS)


@pytest.mark.parametrize("content", ['{"seed"', "{}", "[1, 2]", "null"])
def test_a_damaged_config_is_said(tmp_path, content):
    """Half a config.json, or one without a setting, names the file."""
    folder = open_run(tmp_path, "pretrain", make_config(), sections=SECTIONS)
    (folder / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json cannot be read"):
        open_run(tmp_path, "pretrain", make_config(), sections=SECTIONS)


def test_a_workdir_that_cannot_be_written_is_refused_before_any_work(
    tmp_path, monkeypatch
):
    """Under a file; in a folder without the right to write, which root always has."""
    check_place(tmp_path / "new" / "one")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file is no folder: name another --workdir"):
        check_place(tmp_path / "file" / "run")
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    (tmp_path / "runs").mkdir()
    check_place(tmp_path / "runs" / "a")
    with pytest.raises(InputError, match=rf"as {tmp_path} cannot be written"):
        check_place(tmp_path / "b" / "c")
    for mode in (pretrain, finetune, command):
        config = configs.study.get_config()
        config.data.name = "nothing that could be loaded"
        with pytest.raises(InputError, match="cannot be written"):
            mode.run(config, tmp_path / "b")
