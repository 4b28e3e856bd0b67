"""The modes as functions: they do what the command line does."""

import json
import os
import re
import subprocess
import sys

import jax
import nibabel as nib
import numpy as np
import pytest

import pix2rep_jax
from pix2rep_jax.api import learned
from pix2rep_jax.api.command import write_command
from pix2rep_jax.api.run import Run, network_folder
from pix2rep_jax.cli.parse import read_settings
from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.checkpoint_reader import restore_params
from tests.support.program import ROOT, TINY, environment

CODE = """
import json, pathlib, sys
import pix2rep_jax

out, cache, tiny = sys.argv[1:]
tiny = {name.replace(".", "__"): value for name, value in json.loads(tiny).items()}
tiny["data__cache_dir"] = cache
first = pix2rep_jax.pretrain(out=out, size="quick", **tiny)
probed = pix2rep_jax.probe(out=out, size="quick", **tiny)
tuned = pix2rep_jax.finetune(out=first, data__num_labeled=2, data__cache_dir=cache)
again = pix2rep_jax.evaluate(tuned)
scans = next(pathlib.Path(cache).glob("phantom-*")) / "testing"
masks = pix2rep_jax.predict(tuned, scans, f"{out}/masks")
pix2rep_jax.report(tuned, f"{out}/page.html", anonymise=True)
runs = [first, probed, tuned, again, masks]
report = [[str(x.folder), dict(x.scores), x.complete] for x in runs]
pathlib.Path(out, "report.json").write_text(json.dumps(report))
"""


@pytest.fixture(scope="module")
def called(tmp_path_factory, workdir, cache):
    """What the functions leave that a command line has left in `workdir`."""
    out = tmp_path_factory.mktemp("called")
    words = [str(out), str(cache), json.dumps(TINY)]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "absl" not in done.stderr  # Orbax tells of every file
    return out, json.loads((out / "report.json").read_text())


def test_a_report_is_a_page(called):
    """It is written where it was asked for, without the names."""
    page = (called[0] / "page.html").read_text("utf-8")
    assert page.startswith("<!DOCTYPE html>") and str(called[0]) not in page


@pytest.mark.parametrize("mode", ["pretrain", "probe", "finetune"])
def test_a_function_trains_what_its_mode_trains(called, workdir, mode):
    """Bit by bit, parameters and statistics."""
    out, _ = called
    ours, theirs = (restore_params(each / mode) for each in (out, workdir))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_functions_return_their_runs(called, workdir):
    """Each with its folder, and with the scores that are in its file."""
    out, report = called
    names = ["pretrain", "probe", "finetune", "evaluate", "masks"]
    assert [each[0] for each in report] == [str(out / name) for name in names]
    assert all(each[2] for each in report)
    assert report[0][1] == report[4][1] == {}
    for (_, scores, _), name in zip(report[1:4], names[1:4], strict=True):
        stored = json.loads((workdir / name / "evaluation.json").read_text())
        assert scores == stored["dice"]
    masks = sorted((out / "masks").rglob("*_seg.nii.gz"))
    assert len(masks) == 4 and nib.load(masks[0]).get_data_dtype() == np.uint8


def test_a_run_stands_for_its_folder(workdir):
    """So that it can be given wherever a folder can."""
    run = Run(workdir, workdir / "finetune")
    assert os.fspath(run) == str(workdir / "finetune")
    assert pix2rep_jax.Segmenter.load(run).classes[0] in ("BG", "LV")


def test_explore_looks_into_a_run(workdir, cache, tmp_path):
    """The segmenter that was trained there, on scans whose masks lie beside them."""
    scans = next(cache.glob("phantom*/testing/*"))
    page = pix2rep_jax.explore(workdir, scans, tmp_path / "page.html")
    facts = re.search(r'id="facts">(.*?)</script>', page.read_text("utf-8"), re.S)[1]
    shown = json.loads(facts)["scans"]
    assert len(shown) == 2  # end diastole and end systole
    for scan in shown:
        assert scan["shape"][1:] == scan["grid"] == [32, 32]
        assert None not in (scan["labels"], scan["predictions"])
    assert json.loads(facts)["error"] < 0.01


def test_what_pretrain_returned_stands_for_the_pretraining(workdir, tmp_path):
    """Even where the workdir has a segmenter; other runs stand for their workdir."""
    assert network_folder(Run(workdir, workdir / "pretrain")) == workdir / "pretrain"
    assert network_folder(Run(workdir, workdir / "evaluate")) == workdir
    assert network_folder(str(workdir)) == workdir
    run = Run(workdir, workdir / "pretrain")
    assert pix2rep_jax.export(run, tmp_path / "one").stem == "backbone"


def test_embed_takes_what_explore_takes(tmp_path, monkeypatch):
    """A workdir, whose segmenter comes first, or what `pretrain` returned."""
    taken = []

    def run_command(mode, workdir, words, **options):
        taken.append((mode, workdir))
        return 0, ""

    monkeypatch.setattr(learned, "run_command", run_command)
    for run in (tmp_path, Run(tmp_path, tmp_path / "pretrain")):
        embedded = pix2rep_jax.embed(run, "scans", tmp_path / "out")
        assert embedded == Run(tmp_path, tmp_path / "out")
        pix2rep_jax.explore(run, "scans", "page.html")
    places = [tmp_path, tmp_path / "pretrain"]
    assert taken == [(mode, x) for x in places for mode in ("embed", "explore")]


def test_settings_are_those_of_a_command_line(tmp_path):
    """Numbers, lists and words, with dots or double underscores."""
    settings = {"data__num_labeled": 1, "model.channels": [4, 8], "seed": 3}
    settings |= {"data__exclude": ("p01",), "finetune__head_learning_rate": 1e-3}
    words = write_command(
        "finetune", tmp_path, settings, size="small", data=tmp_path, start="none"
    )
    config = read_settings([words[0], f"--config={ROOT}/{words[1][9:]}", *words[2:]])
    assert (config.data.num_labeled, config.seed) == (1, 3)
    assert (config.model.channels, config.data.exclude) == ((4, 8), ("p01",))
    assert config.finetune.head_learning_rate == 1e-3
    assert (config.data.root, config.init.checkpoint) == (str(tmp_path), "none")


def test_going_on_and_starting_from_weights_are_two_things(tmp_path, workdir):
    """A folder that holds a run is refused where nothing may go on."""
    (tmp_path / "pretrain").mkdir()
    (tmp_path / "pretrain" / "config.json").write_text("{}")
    with pytest.raises(InputError, match="resume"):
        pix2rep_jax.pretrain(out=tmp_path, start=workdir, resume=False)
    with pytest.raises(InputError, match=r"data(\.|__)root"):
        pix2rep_jax.pretrain("scans", out=tmp_path / "new", data__root="others")
    words = write_command("pretrain", tmp_path / "new", {}, start=workdir)
    assert f"--config.init.checkpoint={workdir}" in words
    assert "--config=configs/pix2rep.py:small" in words
    assert not any("--config=" in x for x in write_command("finetune", workdir, {}))


def test_an_interrupted_cell_is_no_end_of_the_kernel(monkeypatch, workdir):
    """A training that a signal stops raises what Python raises itself."""

    def stopped(*args, **options):
        raise SystemExit(130)

    monkeypatch.setattr("pix2rep_jax.modes.finetune.run", stopped)
    with pytest.raises(KeyboardInterrupt, match="finetune"):
        pix2rep_jax.finetune(out=workdir)
