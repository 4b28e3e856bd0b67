"""Scans that were moved: recognised by their digests, and remembered."""

import dataclasses
import shutil

import numpy as np
import pytest

from configs.pix2rep import get_config
from pix2rep_jax.cli.complete import complete
from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.scan_digests import list_scans
from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runs.moved_scans import check_first_scan, remember_root
from pix2rep_jax.runs.run_record import read_run
from tests.support.nifti import save
from tests.support.run_folder import begin_run, make_split_of

PLAIN = {"crop": "center", "spacing_mm": 1.0, "normalization": "percentiles"}


def read(root):
    """The configuration of the scans in a folder, and the scans."""
    config = get_config("small")
    with config.data.ignore_type():
        config.data.update(PLAIN, name="nifti", root=str(root), size=8)
    config.data.cache_dir = str(root.parent / "cache")
    return config, load_dataset(config.data)


@pytest.fixture
def work(tmp_path):
    """A pretraining and a fine-tuning on the scans in A, which lie in B now."""
    (tmp_path / "A").mkdir()
    values = np.random.default_rng(0)
    for name in ("p1", "p2", "p3"):
        save(
            tmp_path / "A" / f"{name}.nii", values.integers(0, 99, (8, 8, 2), np.int16)
        )
    config, dataset = read(tmp_path / "A")
    config.data.exclude = ("p3",)
    names = {"pretrain": ("p1", "p2"), "finetune": ("p1",), "scratch/finetune": ("p2",)}
    for mode, patients in names.items():
        split = dataclasses.replace(
            make_split_of(),
            pretrain_patients=patients,
            labeled_patients=(),
            test_patients=(),
            scans=list_scans(dataset.volumes, patients, masks=True),
        )
        begin_run(tmp_path / "work" / mode, config, split=split)
    shutil.move(tmp_path / "A", tmp_path / "B")
    return tmp_path / "work"


def roots(work):
    runs = ("pretrain", "finetune", "scratch/finetune")
    return [read_config(work / run)["data"]["root"][-1] for run in runs]


@pytest.mark.parametrize("place", ["", "fold0", "finetune"])
def test_every_run_of_a_workdir_learns_where_its_scans_lie(work, place):
    """Then a mode finds them that is not told."""
    config, dataset = read(work.parent / "B")
    before = (work / "finetune" / "run.json").read_bytes()
    assert roots(work) == ["A", "A", "A"]
    remember_root(config.data, work / place, dataset)
    assert roots(work) == ["B", "B", "B"]
    assert (work / "finetune" / "run.json").read_bytes() == before
    config = get_config("small")
    complete(config, work, "evaluate", command=("main.py", "--config=x"))
    assert config.data.root == str(work.parent / "B")
    assert config.data.exclude == ("p3",)


def test_a_run_with_other_scans_keeps_its_folder(work):
    """Here p2 is another one, and p1 the same."""
    scan = np.random.default_rng(1).integers(0, 99, (8, 8, 2), np.int16)
    save(work.parent / "B" / "p2.nii", scan)
    config, dataset = read(work.parent / "B")
    remember_root(config.data, work, dataset)
    assert roots(work) == ["A", "B", "A"]


def test_other_scans_by_the_same_names_are_refused_before_their_faults(work):
    """The scan that comes second is not read."""
    data, run = get_config("small").data, work / "pretrain"
    data.update(name="nifti", root=str(work.parent / "B"))
    before, split = read_config(run)["data"], read_run(run).split
    (work.parent / "B" / "p2.nii").write_bytes(b"no scan")
    check_first_scan(data, before, split, run)
    save(work.parent / "B" / "p1.nii", np.zeros((8, 8, 2), np.int16))
    with pytest.raises(InputError) as refused:
        check_first_scan(data, before, split, run)
    for word in ("p1", str(work.parent / "A"), str(work.parent / "B"), "--workdir"):
        assert word in str(refused.value)


def test_a_training_goes_on_with_its_settings_where_its_scans_were_moved(work):
    """Such as the patients that it left out."""
    config = get_config("small")
    config.data.root = str(work.parent / "B")
    words = ("main.py", f"--config.data.root={config.data.root}")
    complete(config, work, "pretrain", command=words)
    assert config.data.exclude == ("p3",) and config.data.spacing_mm == 1.0
