"""What a mode takes over from the runs before it, and what never."""

import pytest

from configs.pix2rep import get_config
from pix2rep_jax.cli.complete import told_settings
from pix2rep_jax.cli.config_file import with_run_config
from pix2rep_jax.cli.run_config import get_config as config_of_run
from pix2rep_jax.runs.manifest import open_run
from pix2rep_jax.runs.remembered import (
    find_source,
    inherited_settings,
    remembered_settings,
)
from tests.support.run_folder import make_run_record


def make_run(folder, **changes):
    config = get_config("small")
    with config.data.ignore_type():
        config.data.update(
            {"name": "nifti", "root": "/scans", "classes": ("BG", "A"), **changes}
        )
    open_run(folder, config, make_run_record(), begun=True)
    return folder


@pytest.fixture
def run(tmp_path):
    return make_run(
        tmp_path / "pretrain",
        spacing_mm=1.0,
        slice_axis=1,
        num_labeled=3,
        exclude=("p1",),
    )


def test_later_modes_take_over_what_was_told(run):
    """But not the number of labelled patients, which pretraining does not know."""
    data = get_config("small").data
    taken = remembered_settings(data, run, "finetune", told=())
    assert taken == {
        "name": "nifti",
        "root": "/scans",
        "classes": ("BG", "A"),
        "spacing_mm": 1.0,
        "slice_axis": 1,
        "exclude": ("p1",),
    }
    assert remembered_settings(data, run, "pretrain", told=())["num_labeled"] == 3
    told = {"spacing_mm", "classes"}
    assert not told & {*remembered_settings(data, run, "finetune", told=told)}


def test_other_scans_keep_their_own_patients(run):
    """Only images are prepared alike, and classes are the network's."""
    data = get_config("small").data
    data.root = "/others"
    taken = remembered_settings(data, run, "evaluate", told={"root"})
    assert taken == {"spacing_mm": 1.0, "slice_axis": 1, "classes": ("BG", "A")}


def test_a_start_gives_spacing_and_axis_but_never_folder_or_classes(run):
    data = get_config("small").data
    taken, found = inherited_settings(data, str(run.parent), "finetune", told=())
    assert found == run.resolve()
    assert taken == {"spacing_mm": 1.0, "slice_axis": 1}
    told = {"spacing_mm"}
    taken, _ = inherited_settings(data, str(run.parent), "finetune", told=told)
    assert taken == {"slice_axis": 1}


def test_sources_come_in_the_order_of_the_mode(tmp_path):
    for mode in ("pretrain", "probe", "finetune"):
        make_run(tmp_path / mode)
    found = {
        mode: find_source(tmp_path, mode).name
        for mode in ("pretrain", "probe", "finetune", "evaluate", "predict", "figures")
    }
    assert found == {
        **{mode: mode for mode in ("pretrain", "probe", "finetune")},
        **dict.fromkeys(("evaluate", "predict", "figures"), "finetune"),
    }
    assert find_source(tmp_path / "none", "predict") is None


def test_without_config_the_run_has_one(run):
    """With tuples and with settings that may be words or numbers."""
    words = ["main.py", "--mode=probe", "--workdir", str(run.parent)]
    program, config, *rest = with_run_config(words)
    assert [program, *rest] == words and config.endswith(f"run_config.py:{run}")
    assert with_run_config([*words, "--config=a.py"]) == [*words, "--config=a.py"]
    found = config_of_run(str(run))
    assert found.data.classes == ("BG", "A") and found.data.slice_axis == 1
    assert found.model.channels == get_config("small").model.channels
    assert told_settings([*words, "--config.data.root=x"], "data") == {"root"}
