"""Every example of the README and of docs/ runs, on a phantom and tiny networks."""

import json
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from pix2rep_jax.data.phantom.write import write
from tests.docs.pages import examples, shell_commands, tiny
from tests.support.program import ROOT, environment

EXAMPLES = [example for example in examples() if example.is_run]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cache):
    """A user's folder: ACDC, SCANS, CORRECTED and scan.nii.gz, as pages name them."""
    folder = tmp_path_factory.mktemp("user")
    for name in ("configs", "results"):
        (folder / name).symlink_to(ROOT / name)
    home = folder / "home" / ".cache"
    home.mkdir(parents=True)
    cache.mkdir(exist_ok=True)
    (home / "pix2rep-jax").symlink_to(cache)  # the phantom is drawn once for all tests
    write(folder / "ACDC", num_training=5, num_testing=2)
    write(folder / "phantom", seed=1, num_training=8, num_testing=0)
    for mask in sorted(folder.glob("phantom/training/*/*_gt.nii.gz")):
        scan = mask.with_name(mask.name.replace("_gt", ""))
        for kind, path in (("labels", mask), ("images", scan)):
            target = folder / "SCANS" / kind / scan.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    shutil.copy(target, folder / "scan.nii.gz")
    (folder / "CORRECTED").mkdir()
    shutil.copytree(folder / "SCANS" / "images", folder / "CORRECTED" / "images")
    write_named_sets(folder)
    return folder


def write_named_sets(folder):
    """The phantom in the layouts of Hippocampus (nnU-Net) and FetalHead (pictures)."""
    for kind in ("images", "labels"):
        to = {name: folder / name / kind for name in ("Hippocampus", "FetalHead")}
        to["Hippocampus"] = to["Hippocampus"].with_name(f"{kind}Tr")
        for path in to.values():
            path.mkdir(parents=True)
        for scan in sorted((folder / "SCANS" / kind).iterdir()):
            name = scan.name.removesuffix(".nii.gz")
            channel = "_0000" * (kind == "images")
            shutil.copy(scan, to["Hippocampus"] / f"{name}{channel}.nii.gz")
            voxels = np.asarray(nib.load(scan).dataobj)[..., 3].astype(float)
            grey = voxels * 255 / voxels.max() if kind == "images" else voxels > 0
            Image.fromarray(grey.astype(np.uint8)).save(to["FetalHead"] / f"{name}.png")
    classes = {"background": 0, "RV": 1, "MYO": 2, "LV": 3}
    facts = {"channel_names": {"0": "MRI"}, "labels": classes, "file_ending": ".nii.gz"}
    (folder / "Hippocampus" / "dataset.json").write_text(json.dumps(facts))


@pytest.fixture(scope="module")
def results(folder):
    """What each job says, by its words; equal commands of several pages run once."""
    jobs = []
    for example in EXAMPLES:
        jobs += [job for job in jobs_of(example) if job not in jobs]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    # One process for all: starting Python and jax would take most of the time.
    subprocess.run(
        [sys.executable, "-m", "tests.docs.run_examples", "jobs.json", "results.json"],
        cwd=folder,
        env=environment()
        | {
            "HOME": str(folder / "home"),
            "PYTHONPATH": str(ROOT),
            "MPLBACKEND": "agg",
            # main.py would start anew to ask for huge pages.
            "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0",
        },
        check=True,
        timeout=900,
    )
    found = json.loads((folder / "results.json").read_text())
    return {json.dumps(job): result for job, result in zip(jobs, found, strict=True)}


def jobs_of(example):
    if example.language == "python":
        return [example.code]
    return [tiny(words) for words in shell_commands(example.code)]


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.id)
def test_an_example_runs(example, results):
    """Each of its commands ends well."""
    jobs = jobs_of(example)
    assert jobs
    for job in jobs:
        status, output = results[json.dumps(job)]
        assert status == 0, output[-3000:]


def test_few_examples_are_left_out():
    """Those need other data, machines, packages or minutes; each page says why."""
    left_out = [example.id for example in examples() if not example.is_run]
    assert len(left_out) <= 18, left_out
