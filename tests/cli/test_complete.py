"""What is said first, and what stops a command before anything is read."""

import dataclasses

import nibabel as nib
import numpy as np
import pytest

from configs.pix2rep import get_config
from pix2rep_jax.cli.complete import complete, settle_keep
from pix2rep_jax.errors import InputError
from tests.support.run_folder import begin_run, make_split_of


@pytest.fixture
def work(tmp_path):
    """A pretraining on the scans in A; B holds those of others."""
    for root, names in (("A", ("p1", "p2", "p3")), ("B", ("q1", "q2"))):
        (tmp_path / root).mkdir()
        for name in names:
            image = nib.Nifti1Image(np.zeros((4, 4, 2), np.uint8), np.eye(4))
            nib.save(image, tmp_path / root / f"{name}.nii")
    config = get_config("small")
    config.data.update(name="nifti", root=str(tmp_path / "A"), spacing_mm=1.0)
    split = dataclasses.replace(
        make_split_of(),
        pretrain_patients=("p1", "p2", "p3"),
        labeled_patients=(),
        test_patients=(),
    )
    begin_run(tmp_path / "work" / "pretrain", config, split=split)
    return tmp_path / "work"


def say(work, root, mode="pretrain"):
    config = get_config("small")
    with config.data.ignore_type():
        config.data.root = str(work.parent / root)
    words = ("main.py", "--config=x", f"--config.data.root={root}")
    complete(config, work, mode, command=words)
    return config


def test_other_scans_in_one_workdir_are_refused_before_any_note(work, capsys):
    """By both folders and a patient, in words of the user."""
    with pytest.raises(InputError) as refused:
        say(work, "B")
    for part in (str(work.parent / "A"), str(work.parent / "B"), "--workdir", "p1"):
        assert part in str(refused.value)
    assert "pretrain_patients" not in str(refused.value)
    assert capsys.readouterr() == ("", "")


def test_scans_that_were_moved_or_have_grown_go_on(work, capsys):
    """And other modes may use other scans."""
    (work.parent / "A").rename(work.parent / "moved")
    (work.parent / "moved" / "p4.nii").write_bytes(
        (work.parent / "moved" / "p1.nii").read_bytes()
    )
    assert say(work, "moved").data.root.endswith("moved")
    assert "4 scans" in capsys.readouterr().out
    assert say(work, "B", mode="finetune").data.root.endswith("B")


@pytest.mark.parametrize("given", ["--config=x", ""])
@pytest.mark.parametrize("start", ["", "none"])
def test_nothing_that_a_plan_decided_for_other_scans_is_taken_over(work, start, given):
    """Except how images are prepared, where the other scans' network is used."""
    config = get_config("small")
    if not given:  # the run's own configuration, in which a plan has decided
        with config.ignore_type():
            config.data.update(name="nifti", crop="whole", spacing_mm=1.0)
            config.spatial.upright = config.augment.spatial.upright = True
    config.data.root, config.init.checkpoint = str(work.parent / "B"), start
    words = [f"--config.data.root={config.data.root}", given]
    words += [f"--config.init.checkpoint={start}"] * bool(start)
    complete(config, work, "finetune", command=["main.py", *filter(None, words)])
    assert config.spatial.upright == config.augment.spatial.upright == "auto"
    assert config.data.spacing_mm == ("auto" if start else 1.0)


@pytest.mark.parametrize("mode", ["evaluate", "predict", "figures", "export"])
def test_runs_say_themselves_which_checkpoint_they_keep(tmp_path, mode):
    """Unless the user does, for each of several runs."""
    config = get_config("small")
    told = ("main.py", "--config.segmentation.keep=last")
    settle_keep(config, tmp_path, mode, command=told)
    assert config.segmentation.keep == "last"
    assert settle_keep(config, tmp_path, mode, command=("main.py",)) == ""
    assert config.segmentation.keep == ""
    with pytest.raises(InputError, match=r"segmentation\.keep"):
        settle_keep(config, tmp_path, mode, command=told)


@pytest.mark.parametrize(
    ("mode", "folder"),
    [("finetune", "finetune"), ("probe", "probe"), ("folds", "fold0/finetune")],
)
def test_a_training_that_goes_on_keeps_the_same_checkpoint(tmp_path, mode, folder):
    """A new one goes by the configuration, and both by what the user says."""
    config = get_config("small")
    assert settle_keep(config, tmp_path, mode, command=("main.py",)) == ""
    assert config.segmentation.keep == "last"
    config.segmentation.keep = "best"
    begin_run(tmp_path / folder, config)
    config.segmentation.keep = "last"
    told = ("main.py", "--config.segmentation.keep=last")
    assert settle_keep(config, tmp_path, mode, command=told) == ""
    assert config.segmentation.keep == "last"
    note = settle_keep(config, tmp_path, mode, command=("main.py",))
    assert config.segmentation.keep == "best" and folder in note
