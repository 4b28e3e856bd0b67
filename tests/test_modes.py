"""Every mode through main.py, as a user starts it, on a tiny phantom and on ACDC."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.training.checkpoints import restore_params

ROOT = pathlib.Path(__file__).resolve().parent.parent
TINY = {
    "data.name": "phantom",
    "data.phantom_training": 5,
    "data.phantom_testing": 2,
    "data.num_labeled": 2,
    "data.size": 32,
    "data.crop_px": 32,
    "data.spacing_mm": 5.0,
    "model.channels": "4,8",
    "model.num_features": 6,
    "model.scratch_num_features": 6,
    "model.last_hidden": 4,
    "model.dtype": "float32",
    "projection.hidden": "8,",
    "projection.features": 4,
    "pretrain.batch_size": 4,
    "pretrain.num_points": 16,
    "pretrain.num_steps": 8,
    "pretrain.loss": "info_nce",
    "pretrain.temperature": 0.2,
    "probe.batch_size": 4,
    "probe.num_steps": 4,
    "finetune.batch_size": 4,
    "finetune.num_steps": 4,
    "log.metrics_every": 2,
    "log.validate_every": 2,
    "log.checkpoint_every": 4,
}


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Where the phantom is drawn once for all tests here."""
    return tmp_path_factory.mktemp("cache")


def command(mode, workdir, cache, *flags, **changes):
    settings = TINY | {"data.cache_dir": cache}
    settings |= {name.replace("__", "."): value for name, value in changes.items()}
    return [
        sys.executable,
        str(ROOT / "main.py"),
        "--config=configs/pix2rep.py",
        f"--mode={mode}",
        f"--workdir={workdir}",
        *(f"--config.{name}={value}" for name, value in settings.items()),
        *flags,
    ]


def environment():
    # One device, and little time spent on compiling.
    flags = "--xla_backend_optimization_level=0"
    return os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


def main(*arguments, **changes):
    return subprocess.run(
        command(*arguments, **changes),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )


def succeed(*arguments, **changes):
    result = main(*arguments, **changes)
    assert result.returncode == 0, result.stderr[-2000:]
    return result


def refused(*arguments, **changes):
    """The one sentence with which a command fails."""
    result = main(*arguments, **changes)
    assert result.returncode == 1, result.stderr[-2000:]
    assert "Traceback" not in result.stderr
    (sentence,) = [x for x in result.stderr.splitlines() if x.startswith("error: ")]
    return sentence


def lines(folder):
    return [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def workdir(tmp_path_factory, cache):
    """A workdir after pretrain, probe, finetune and evaluate."""
    folder = tmp_path_factory.mktemp("run")
    for mode in ("pretrain", "probe", "finetune", "evaluate"):
        succeed(mode, folder, cache)
    return folder


def check_evaluation(folder, *, volumes):
    """The contract's fields, and means that are the means of the volumes' file."""
    result = json.loads((folder / "evaluation.json").read_text())
    dice = result["dice"]
    assert {"LV", "RV", "MYO", "BG", "mean", "mean_foreground"} <= set(dice)
    assert result["num_volumes"] == volumes and result["resolution"] == "native"
    with open(folder / "per_volume.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    native = [row for row in rows if row["resolution"] == "native"]
    assert len(native) == volumes and len(rows) == 2 * volumes
    for name in ("LV", "RV", "MYO", "BG"):
        column = next(key for key in rows[0] if key.lower().endswith(name.lower()))
        values = [float(row[column]) for row in native if row[column]]
        assert all(0 <= value <= 1 for value in values)
        np.testing.assert_allclose(dice[name], np.mean(values), atol=1e-4)
    structures = [dice[name] for name in ("LV", "RV", "MYO")]
    np.testing.assert_allclose(dice["mean_foreground"], np.mean(structures), atol=1e-4)
    np.testing.assert_allclose(
        dice["mean"], np.mean([*structures, dice["BG"]]), atol=1e-4
    )


def test_a_run_leaves_the_files_of_the_contract(workdir):
    """Configuration, metrics a logged step, checkpoints, events and the split."""
    for mode, last in (("pretrain", 8), ("probe", 4), ("finetune", 4)):
        folder = workdir / mode
        config = json.loads((folder / "config.json").read_text())
        assert config["data"]["size"] == 32 and config["pretrain"]["num_steps"] == 8
        steps = [line["step"] for line in lines(folder)]
        assert steps == sorted(steps) and steps[-1] == last
        assert all(np.isfinite(x["loss"]) for x in lines(folder) if "loss" in x)
        assert (folder / "checkpoints" / str(last)).is_dir()
        assert list(folder.glob("events.out.tfevents.*"))
        split = json.loads((folder / "split.json").read_text())
        assert len(split["test_patients"]) == 2
        assert not {*split["test_patients"]} & {*split["pretrain_patients"]}
    logged = set().union(*(line for line in lines(workdir / "pretrain")))
    assert {
        "loss",
        "learning_rate_backbone",
        "l2_grads",
        "l2_params",
        "l2_updates",
        "alignment",
        "embedding_std",
        "steps_per_second",
    } <= logged


def test_segmenters_are_scored(workdir):
    """By probe and finetune themselves, and by evaluate alike."""
    for folder in ("probe", "finetune", "evaluate"):
        check_evaluation(workdir / folder, volumes=4)
    ours = json.loads((workdir / "evaluate" / "evaluation.json").read_text())["dice"]
    theirs = json.loads((workdir / "finetune" / "evaluation.json").read_text())["dice"]
    assert ours == pytest.approx(theirs, abs=1e-3)


def test_probing_leaves_the_backbone_as_it_was_pretrained(workdir):
    """Its parameters to the bit; fine-tuning moves them."""
    trees = {
        mode: restore_params(workdir / mode)[0]["backbone"]
        for mode in ("pretrain", "probe", "finetune")
    }
    kernel = {
        mode: tree["encode_0"]["Conv3x3_0"]["kernel"] for mode, tree in trees.items()
    }
    np.testing.assert_array_equal(kernel["probe"], kernel["pretrain"])
    assert not np.array_equal(kernel["finetune"], kernel["pretrain"])


def test_a_finished_run_is_not_run_again(workdir, cache):
    """The same command says so, and changes no checkpoint."""
    checkpoint = workdir / "pretrain" / "checkpoints" / "8"
    before = checkpoint.stat().st_mtime_ns
    result = succeed("pretrain", workdir, cache)
    assert "finished already at step 8 of 8" in result.stdout
    assert checkpoint.stat().st_mtime_ns == before


def test_another_configuration_in_the_same_folder_is_refused(workdir, cache):
    """The differing field is named with both values."""
    sentence = refused("pretrain", workdir, cache, pretrain__temperature=0.77)
    assert "pretrain.temperature: 0.2 -> 0.77" in sentence
    sentence = refused("finetune", workdir, cache, data__draw=1)
    assert "data.draw: 0 -> 1" in sentence


def test_a_backbone_of_another_width_is_refused_before_training(
    workdir, cache, tmp_path
):
    """In one sentence that says which option agrees with the pretraining."""
    sentence = refused(
        "finetune",
        tmp_path / "new",
        cache,
        init__checkpoint=workdir,
        model__channels="4,16",
    )
    assert "--config.model.channels=4,8" in sentence
    assert not (tmp_path / "new" / "finetune" / "checkpoints").exists()


def test_many_runs_share_one_pretraining_and_need_none(workdir, cache, tmp_path):
    """`init.checkpoint` names a workdir, or is none for the supervised baseline."""
    result = succeed("probe", tmp_path / "b", cache, init__checkpoint=workdir)
    assert f"probe from {workdir / 'pretrain'}" in result.stdout
    result = succeed("finetune", tmp_path / "c", cache, init__checkpoint="none")
    assert "finetune from random weights" in result.stdout
    check_evaluation(tmp_path / "c" / "finetune", volumes=4)
    assert "none" in refused("probe", tmp_path / "c", cache, init__checkpoint="none")
    assert "there is no pretrain run" in refused("probe", tmp_path / "d", cache)


def test_predict_writes_masks_on_the_scans_own_grid(workdir, cache, tmp_path):
    """Shape, affine and uint8; a mask is not overwritten unasked, and one bad file
    costs its own mask and the exit status."""
    scans = sorted(next(cache.glob("phantom-*")).glob("testing/*/*_frame??.nii.gz"))
    folder = tmp_path / "scans"
    folder.mkdir()
    for scan in scans[:2]:
        (folder / scan.name).symlink_to(scan)
    (folder / "bad.nii.gz").write_bytes(scans[0].read_bytes()[:500])
    paths = (f"--input={folder}", f"--output={tmp_path / 'masks'}")
    result = main("predict", workdir, cache, *paths)
    assert result.returncode == 1 and "skipped" in result.stderr
    assert "bad.nii.gz" in result.stderr and "Traceback" not in result.stderr
    for scan in scans[:2]:
        image = nib.load(scan)
        stem = scan.name.removesuffix(".nii.gz")
        mask = nib.load(tmp_path / "masks" / f"{stem}_seg.nii.gz")
        assert mask.shape == image.shape and mask.get_data_dtype() == np.uint8
        np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)
        assert np.asarray(mask.dataobj).max() < 4
    (folder / "bad.nii.gz").unlink()
    again = main("predict", workdir, cache, *paths)
    assert again.returncode == 1 and "--overwrite" in again.stderr
    succeed("predict", workdir, cache, *paths, "--overwrite")


def test_a_killed_run_ends_bit_for_bit_where_an_unbroken_one_does(
    workdir, cache, tmp_path
):
    """kill -9 after the first checkpoint, the same command again: parameters,
    statistics and the logged losses are those of the run that was left alone."""
    long = {"pretrain__num_steps": 40, "log__checkpoint_every": 5}
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(
        command("pretrain", killed, cache, **long),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    checkpoints = killed / "pretrain" / "checkpoints"
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
        if checkpoints.is_dir() and any(
            p.name.isdigit() for p in checkpoints.iterdir()
        ):
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    result = succeed("pretrain", killed, cache, **long)
    assert "pretrain: " in result.stdout  # going on, or finished already
    succeed("pretrain", whole, cache, **long)
    ours, theirs = (restore_params(x / "pretrain") for x in (killed, whole))
    for a, b in zip(ours, theirs, strict=True):
        paths_a, paths_b = (dict(_leaves(tree)) for tree in (a, b))
        assert set(paths_a) == set(paths_b)
        for name, value in paths_a.items():
            np.testing.assert_array_equal(value, paths_b[name], err_msg=name)
    losses = lambda x: [(y["step"], y["loss"]) for y in lines(x / "pretrain")]  # noqa: E731
    assert losses(killed) == losses(whole)


def _leaves(tree, prefix=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}/{name}")
        else:
            yield f"{prefix}/{name}", value


def test_ctrl_c_saves_and_says_how_to_go_on(cache, tmp_path):
    """Status 130, a checkpoint of the step under way, and one sentence."""
    process = subprocess.Popen(
        command("pretrain", tmp_path, cache, pretrain__num_steps=100_000),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics = tmp_path / "pretrain" / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
        if metrics.exists() and metrics.stat().st_size:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped by SIGINT and saved at step" in stderr
    steps = [p.name for p in (tmp_path / "pretrain" / "checkpoints").iterdir()]
    assert any(name.isdigit() for name in steps)
    assert "Traceback" not in stderr


def test_bfloat16_computes_in_halves_and_keeps_whole_parameters(cache, tmp_path):
    """The option reaches the network; what is saved is float32."""
    changes = {"model__dtype": "bfloat16", "pretrain__num_steps": 2}
    succeed("pretrain", tmp_path, cache, **changes)
    params, _ = restore_params(tmp_path / "pretrain")
    assert {value.dtype for _, value in _leaves(params)} == {np.dtype(np.float32)}
    (loss,) = [x["loss"] for x in lines(tmp_path / "pretrain")]
    exact = tmp_path / "exact"
    succeed("pretrain", exact, cache, pretrain__num_steps=2)
    (reference,) = [x["loss"] for x in lines(exact / "pretrain")]
    assert loss != reference
    np.testing.assert_allclose(loss, reference, rtol=0.05)


@pytest.mark.acdc
def test_real_scans_go_all_the_way(acdc_root, cache, tmp_path):
    """Ten real patients: pretrained, fine-tuned on one, scored on five unseen ones."""
    chosen = [f"patient{i:03d}" for i in (1, 2, 21, 22, 41, 42, 61, 62, 81, 82)]
    (tmp_path / "acdc" / "training").mkdir(parents=True)
    for patient in chosen:
        link = tmp_path / "acdc" / "training" / patient
        link.symlink_to(acdc_root / "training" / patient)
    real = {
        "data__name": "acdc",
        "data__root": tmp_path / "acdc",
        "data__holdout_per_group": 1,
        "data__num_labeled": 1,
    }
    for mode in ("pretrain", "finetune"):
        succeed(mode, tmp_path / "run", cache, **real)
    folder = tmp_path / "run" / "finetune"
    check_evaluation(folder, volumes=10)
    split = json.loads((folder / "split.json").read_text())
    assert split["test_patients"] == chosen[1::2]
    assert {*split["pretrain_patients"]} == {*chosen[::2]}
