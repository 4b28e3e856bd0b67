"""Every mode through main.py, as a user starts it, on a tiny phantom and on ACDC."""

import csv
import json
import re
import shutil
import signal

import jax
import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data.files.nifti_paths import NiftiPath
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.scan_files import mask_path, pair_with_masks
from pix2rep_jax.runs.checkpoint_reader import restore_params
from pix2rep_jax.runs.lock import hold_run
from pix2rep_jax.runs.metric_log import read_metrics
from pix2rep_jax.runs.run_record import read_run
from tests.support.program import (
    finish,
    launch,
    lines,
    refused,
    start,
    succeed,
    wait_until,
)

PIECES = "--config.predict.largest_component=False"
"""Keeps every piece, as the scores at the end of a training do."""


def check_evaluation(folder, *, volumes):
    """The contract's fields, and means that are the means of the volumes' file."""
    result = json.loads((folder / "evaluation.json").read_text())
    dice = result["dice"]
    assert (
        set(result["hd95_mm"])
        == set(result["assd_mm"])
        == {*("LV", "RV", "MYO", "mean_foreground")}
    )
    assert set(result["network"]["soft_dice"]) == set(dice)
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
    for mode, last in (("pretrain", 24), ("probe", 4), ("finetune", 4)):
        folder = workdir / mode
        config = json.loads((folder / "config.json").read_text())
        assert config["data"]["size"] == 32 and config["pretrain"]["num_steps"] == 24
        steps = [line["step"] for line in lines(folder)]
        assert steps == sorted(steps) and steps[-1] == last
        assert all(np.isfinite(x["loss"]) for x in lines(folder) if "loss" in x)
        assert (folder / "checkpoints" / str(last)).is_dir()
        assert list(folder.glob("events.out.tfevents.*"))
        split = json.loads((folder / "run.json").read_text())["split"]
        assert len(split["test_patients"]) == 2
        assert not {*split["test_patients"]} & {*split["pretrain_patients"]}
        validated = [x["step"] for x in lines(folder) if "val_dice" in x]
        # Ten times a run: a short one too has something to choose from.
        assert validated == ([] if mode == "pretrain" else [1, 2, 3, 4])
    logged = set().union(*(line for line in lines(workdir / "pretrain")))
    assert {
        "loss",
        "learning_rate_backbone",
        "l2_grads",
        "l2_params",
        "l2_updates",
        "alignment",
        "embedding_std",
        "neighbour_rate",
        "steps_per_second",
    } <= logged


def test_segmenters_are_scored(workdir, cache, tmp_path):
    """By probe and finetune themselves, and by evaluate alike if it keeps every piece.

    By default it keeps those that are one in the training masks, as predict does.
    """
    for folder in ("probe", "finetune", "evaluate"):
        check_evaluation(workdir / folder, volumes=4)
    found = json.loads((workdir / "evaluate" / "evaluation.json").read_text())
    assert found["largest_component_foreground"]
    shutil.copytree(workdir / "finetune", tmp_path / "finetune")
    succeed(start("evaluate", tmp_path, cache, PIECES))
    ours = json.loads((tmp_path / "evaluate" / "evaluation.json").read_text())["dice"]
    theirs = json.loads((workdir / "finetune" / "evaluation.json").read_text())["dice"]
    assert ours == pytest.approx(theirs, abs=1e-3)


def test_a_segmenter_of_other_settings_does_not_block_the_other(
    workdir, cache, tmp_path
):
    """Probe and finetune of one workdir, with different numbers of patients."""
    for mode in ("probe", "finetune"):
        shutil.copytree(workdir / mode, tmp_path / mode)
    path = tmp_path / "finetune" / "config.json"
    config = json.loads(path.read_text())
    config["data"]["num_labeled"] += 1
    path.write_text(json.dumps(config))
    process = finish(start("evaluate", tmp_path, cache))
    assert process.returncode == 0
    (note,) = (x for x in process.stderr.splitlines() if "data.num_labeled" in x)
    assert str(tmp_path / "finetune") in note
    assert not (tmp_path / "evaluate" / "finetune").exists()
    for folder in ("evaluate", "evaluate/probe"):
        result = json.loads((tmp_path / folder / "evaluation.json").read_text())
        assert result["mode"] == "probe" and result["num_volumes"] == 4


def test_classes_of_other_scans_are_matched_by_name(workdir, cache, tmp_path):
    """Masks that number the structures in another order score as the network's own
    order does; other names are refused with both lists."""
    expected = json.loads((workdir / "evaluate" / "evaluation.json").read_text())
    scans = sorted(next(cache.glob("phantom-*-5-2")).glob("testing/*/*_frame??.nii.gz"))
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for scan in scans:
        (tmp_path / "images" / scan.name).symlink_to(scan)
        mask = nib.load(str(scan).replace(".nii", "_gt.nii"))
        values = np.array([0, 3, 2, 1], np.uint8)[np.asarray(mask.dataobj, int)]
        turned = nib.Nifti1Image(values, mask.affine, mask.header)
        nib.save(turned, tmp_path / "labels" / scan.name)
    own = {"data__name": "nifti", "data__root": tmp_path, "init__checkpoint": workdir}
    named = own | {"data__classes": "BG,LV,MYO,RV"}
    succeed(start("evaluate", tmp_path / "named", cache, **named))
    text = '{"labels": {"background": 0, "LV": 1, "MYO": 2, "RV": 3}}'
    (tmp_path / "dataset.json").write_text(text)
    succeed(start("evaluate", tmp_path / "json", cache, **own))
    for run in ("named", "json"):
        path = tmp_path / run / "evaluate" / "evaluation.json"
        ours = json.loads(path.read_text())
        assert ours["num_volumes"] == len(scans)
        for name, dice in expected["dice"].items():
            np.testing.assert_allclose(ours["dice"][name], dice, atol=2e-3)
    other = own | {"data__classes": "BG,LV,MYO,aorta", "data__label_values": "0,1,2,3"}
    sentence = refused(start("evaluate", tmp_path / "other", cache, **other))
    assert "aorta" in sentence and "BG,RV,MYO,LV" in sentence


def test_whoever_was_trained_on_is_not_tested(workdir, cache, tmp_path):
    """Under another spelling of the same scans, and with others held out."""
    others = {
        "data__root": tmp_path / "phantom",
        "data__phantom_testing": 0,
        "data__holdout_per_group": 1,
    }
    assert "data.holdout_per_group" in refused(
        start("evaluate", workdir, cache, **others)
    )


def test_one_labelled_scan_of_ones_own_is_enough(workdir, cache, tmp_path):
    """Nobody is left to test: said, and no reason to lose the network."""
    phantom = next(cache.glob("phantom-*-5-2")) / "training" / "patient001"
    for kind, ending in (("images", ""), ("labels", "_gt")):
        (tmp_path / kind).mkdir()
        (scan,) = phantom.glob(f"*_frame01{ending}.nii.gz")
        (tmp_path / kind / "one.nii.gz").symlink_to(scan)
    own = {
        "data__name": "nifti",
        "data__root": tmp_path,
        "data__holdout_per_group": 0,
        "data__num_labeled": 1,
        "init__checkpoint": workdir,
    }
    bare = sorted(phantom.glob("*_frame??.nii.gz"))[-1]
    (tmp_path / "images" / "one_late.nii.gz").symlink_to(bare)
    process = finish(start("finetune", tmp_path / "run", cache, **own))
    assert process.returncode == 0
    assert "1 of 2 scans" in process.stderr and "one_late" in process.stderr
    said = process.stdout
    assert all(part in said for part in ("axis 2 (S/I)", "32 x 32", "5 mm"))
    assert "folds" not in said  # one patient cannot be divided
    assert "next: " in said
    paths = (f"--input={tmp_path / 'images'}", f"--output={tmp_path / 'masks'}")
    succeed(start("predict", tmp_path / "run", cache, *paths, **own))
    assert (tmp_path / "masks" / "one_seg.nii.gz").is_file()


def test_one_labelled_picture_is_enough(workdir, cache, tmp_path):
    """Nothing is left to validate: the last checkpoint is kept, and scored."""
    for kind, ending in (("images", ""), ("labels", "_gt")):
        (tmp_path / kind).mkdir()
        for path in (next(cache.glob("phantom-*-5-2")) / "training").glob(
            f"patient*/*_frame01{ending}.nii.gz"
        ):
            scan = nib.load(path)
            name = f"{path.parent.name}.nii.gz"
            nib.save(scan.slicer[:, :, 1:2], tmp_path / kind / name)
    own = {
        "data__name": "nifti",
        "data__root": tmp_path,
        "data__holdout_per_group": 1,
        "data__num_labeled": 1,
        "init__checkpoint": workdir,
    }
    for _ in range(2):  # what is finished is only scored again
        process = finish(start("finetune", tmp_path / "run", cache, **own))
        assert process.returncode == 0, process.stderr
    folder = tmp_path / "run" / "finetune"
    results = json.loads((folder / "evaluation.json").read_text())
    assert results["scored_step"] == read_run(folder).num_steps
    scored = read_metrics(folder / "metrics.jsonl")
    assert scored and not any("val_dice" in line for line in scored)


def test_probing_leaves_the_backbone_as_it_was_pretrained(workdir):
    """Its parameters to the bit; fine-tuning moves them."""
    trees = {
        mode: restore_params(workdir / mode)[0]["backbone"]
        for mode in ("pretrain", "probe", "finetune")
    }
    kernel = {
        mode: tree["encode_0"]["Conv_0"]["kernel"] for mode, tree in trees.items()
    }
    np.testing.assert_array_equal(kernel["probe"], kernel["pretrain"])
    assert not np.array_equal(kernel["finetune"], kernel["pretrain"])


def test_a_finished_run_is_not_run_again(workdir, cache):
    """The same command says so, and changes no checkpoint."""
    checkpoint = workdir / "pretrain" / "checkpoints" / "24"
    before = checkpoint.stat().st_mtime_ns
    said = succeed(start("pretrain", workdir, cache))
    assert "step 24 of 24" in said
    assert "from its own step 24" in said and "random weights" not in said
    assert checkpoint.stat().st_mtime_ns == before


def test_a_run_that_another_process_trains_is_left_to_it(workdir, cache, tmp_path):
    """Two would write over each other's metrics and checkpoints."""
    run = tmp_path / "run"
    shutil.copytree(workdir / "pretrain", run / "pretrain")
    with hold_run(run / "pretrain"):
        sentence = refused(start("pretrain", run, cache))
    assert str(run / "pretrain") in sentence
    assert "step 24 of 24" in succeed(start("pretrain", run, cache))


def test_another_configuration_in_the_same_folder_is_refused(workdir, cache):
    """The differing field is named with both values."""
    pretrain = start("pretrain", workdir, cache, pretrain__temperature=0.77)
    finetune = start("finetune", workdir, cache, data__draw=1)
    assert "pretrain.temperature: 0.2 -> 0.77" in refused(pretrain)
    assert "data.draw: 0 -> 1" in refused(finetune)


def test_a_backbone_of_another_width_is_refused_before_training(
    workdir, cache, tmp_path
):
    """In one sentence that says which option agrees with the pretraining."""
    changes = {"init__checkpoint": workdir, "model__channels": "4,16"}
    process = start("finetune", tmp_path / "new", cache, **changes)
    assert "--config.model.channels=4,8" in refused(process)
    assert not (tmp_path / "new" / "finetune" / "checkpoints").exists()


@pytest.mark.slow
def test_many_runs_share_one_pretraining_and_need_none(workdir, cache, tmp_path):
    """`init.checkpoint` names a workdir, or is none for the supervised baseline."""
    probe = start("probe", tmp_path / "b", cache, init__checkpoint=workdir)
    scratch = start("finetune", tmp_path / "c", cache, init__checkpoint="none")
    assert f"probe from {workdir / 'pretrain'}" in succeed(probe)
    succeed(scratch)
    assert read_run(tmp_path / "c" / "finetune").origin is None
    check_evaluation(tmp_path / "c" / "finetune", volumes=4)
    probe = start("probe", tmp_path / "c", cache, init__checkpoint="none")
    empty = start("probe", tmp_path / "d", cache)
    assert "init.checkpoint" in refused(probe)
    assert "--mode pretrain" in refused(empty)


@pytest.mark.slow
def test_a_pretraining_goes_on_from_another_one(workdir, cache, tmp_path):
    """In a folder of its own, with what the other has trained of the backbone to the
    bit and a new projection head; what follows starts from the second. Resumed without
    the first's name it is refused; a run's own name is that of no other."""
    options = {"pretrain__num_steps": 2, "pretrain__learning_rate": 0.0}
    named = options | {"init__checkpoint": workdir}
    said = succeed(start("pretrain", tmp_path, cache, **named))
    assert f"from {workdir / 'pretrain'}" in said
    following = said.rpartition("next: ")[2].split()
    followed = succeed(launch([*following, "--config.probe.num_steps=1"]))
    assert f"probe from {tmp_path / 'pretrain'}" in followed
    (first, _), (second, _) = map(
        restore_params, (workdir / "pretrain", tmp_path / "pretrain")
    )
    same = jax.tree.map(np.array_equal, first, second)
    assert jax.tree.all(same["backbone"]) and not jax.tree.all(same["projection"])
    origin = read_run(tmp_path / "pretrain").origin
    assert origin.run == str(workdir / "pretrain") and origin.step == 24
    sentence = refused(start("pretrain", tmp_path, cache, **options))
    assert "init.checkpoint" in sentence and str(workdir / "pretrain") in sentence
    again = start("pretrain", workdir, cache, init__checkpoint=workdir)
    assert "step 24 of 24" in succeed(again)
    nowhere = named | {"init__checkpoint": tmp_path / "nowhere"}
    sentence = refused(start("pretrain", tmp_path / "x", cache, **nowhere))
    assert "nowhere" in sentence and not (tmp_path / "x").exists()


def test_predict_writes_masks_on_the_scans_own_grid(workdir, cache, tmp_path):
    """Shape, affine and uint8, and the Dice that evaluation.json was made of; a mask is
    not overwritten unasked, and one bad file costs its own mask and the exit status."""
    scans = sorted(next(cache.glob("phantom-*-5-2")).glob("testing/*/*_frame??.nii.gz"))
    with open(workdir / "finetune" / "per_volume.csv", newline="") as file:
        rows = [x for x in csv.DictReader(file) if x["resolution"] == "native"]
    assert len(scans) == len(rows) == 4
    folder = tmp_path / "scans"
    folder.mkdir()
    for scan in scans:
        (folder / scan.name).symlink_to(scan)
    (folder / "bad.nii.gz").write_bytes(scans[0].read_bytes()[:500])
    paths = (f"--input={folder}", f"--output={tmp_path / 'masks'}", PIECES)
    result = finish(start("predict", workdir, cache, *paths))
    assert result.returncode == 1
    assert "bad.nii.gz" in result.stderr and "Traceback" not in result.stderr
    for scan, row in zip(scans, rows, strict=True):
        image = nib.load(scan)
        stem = scan.name.removesuffix(".nii.gz")
        mask = nib.load(tmp_path / "masks" / f"{stem}_seg.nii.gz")
        assert mask.shape == image.shape and mask.get_data_dtype() == np.uint8
        np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)
        ours = np.asarray(mask.dataobj)
        theirs = np.asarray(nib.load(str(scan).replace(".nii", "_gt.nii")).dataobj)
        assert row["patient"] in scan.name
        assert (row["phase"] == "ED") == ("frame01" in scan.name)
        for value, name in enumerate(("BG", "RV", "MYO", "LV")):
            a, b = ours == value, theirs == value
            # Batches of another size round otherwise: a few pixels in thousands.
            dice = 2 * (a & b).sum() / (a.sum() + b.sum())
            np.testing.assert_allclose(float(row[f"dice_{name}"]), dice, atol=2e-3)
    (folder / "bad.nii.gz").unlink()
    masks = sorted((tmp_path / "masks").glob("*_seg.nii.gz"))
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in masks]
    masks[0].unlink()  # as if it had been stopped before
    again = succeed(start("predict", workdir, cache, *paths))
    assert f"1 of {len(masks)} masks were written to" in again
    assert f"; {len(masks) - 1} were there before: add --overwrite to" in again
    after = [(path.read_bytes(), path.stat().st_mtime_ns) for path in masks]
    assert after[1:] == before[1:] and after[0][0] == before[0][0]
    succeed(start("predict", workdir, cache, *paths, "--overwrite"))
    for path, (content, written) in zip(masks, before, strict=True):
        assert path.read_bytes() == content and path.stat().st_mtime_ns > written
    one = tmp_path / "mine" / "heart.nii"
    own = (f"--input={folder / scans[0].name}", f"--output={one}", PIECES)
    assert "1 of 1 masks" in succeed(start("predict", workdir, cache, *own))
    np.testing.assert_array_equal(*(nib.load(x).dataobj for x in (one, masks[0])))
    assert list(one.parent.iterdir()) == [one]


def test_a_masks_own_name_is_for_one_scan_and_another_file(tmp_path):
    """Never the scan's, which would be lost; a folder's scans go into a folder, and one
    that only looks like a file is a folder."""
    path = tmp_path / "scan.nii.gz"
    path.touch()
    scan = NiftiPath("scan", path)
    assert mask_path(scan, input=path, output=tmp_path / "m.nii") == tmp_path / "m.nii"
    with pytest.raises(InputError, match="--output"):
        own = tmp_path / "." / "scan.nii.gz"
        pair_with_masks([scan], input=path, output=own)
    with pytest.raises(InputError, match="--output"):
        mask_path(scan, input=tmp_path, output=tmp_path / "m.nii.gz")
    (tmp_path / "odd.nii").mkdir()
    inside = mask_path(scan, input=path, output=tmp_path / "odd.nii")
    assert inside == tmp_path / "odd.nii" / "scan_seg.nii.gz"


def test_a_killed_run_ends_bit_for_bit_where_an_unbroken_one_does(
    workdir, cache, tmp_path
):
    """kill -9 after the first checkpoint, the scans moved, the same command again:
    parameters, statistics and the logged losses are those of the run left alone."""
    # So many checkpoints that it cannot end before it is killed.
    process = start("pretrain", tmp_path, cache, log__checkpoint_every=1)
    checkpoints = tmp_path / "pretrain" / "checkpoints"
    wait_until(process, lambda: any(x.name.isdigit() for x in checkpoints.glob("*")))
    process.send_signal(signal.SIGKILL)
    assert finish(process).returncode == -signal.SIGKILL
    (phantom,) = cache.glob("phantom-*-5-2")
    moved = shutil.copytree(phantom, tmp_path / "moved")
    said = succeed(start("pretrain", tmp_path, cache, data__root=moved))
    assert 1 <= int(re.search(r"going on from step (\d+) of 24", said)[1]) < 24
    ours, theirs = (restore_params(x / "pretrain") for x in (tmp_path, workdir))
    for a, b in zip(ours, theirs, strict=True):
        paths_a, paths_b = (dict(_leaves(tree)) for tree in (a, b))
        assert set(paths_a) == set(paths_b)
        for name, value in paths_a.items():
            np.testing.assert_array_equal(value, paths_b[name], err_msg=name)
    ours, theirs = (
        read_metrics(folder / "pretrain" / "metrics.jsonl")["loss"]
        for folder in (tmp_path, workdir)
    )
    assert ours == theirs


def _leaves(tree, prefix=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}/{name}")
        else:
            yield f"{prefix}/{name}", value


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(cache, tmp_path):
    """Status 130, a checkpoint of the step under way, and one sentence."""
    process = start("pretrain", tmp_path, cache, pretrain__num_steps=100_000)
    metrics = tmp_path / "pretrain" / "metrics.jsonl"
    wait_until(process, lambda: metrics.exists() and metrics.stat().st_size)
    process.send_signal(signal.SIGINT)
    result = finish(process)
    assert result.returncode == 130
    assert "SIGINT" in result.stderr
    steps = [p.name for p in (tmp_path / "pretrain" / "checkpoints").iterdir()]
    assert any(name.isdigit() for name in steps)
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_bfloat16_computes_in_halves_and_keeps_whole_parameters(
    workdir, cache, tmp_path
):
    """The option reaches the network, whose first losses are those of float32 but for
    rounding; what is saved is float32."""
    succeed(start("pretrain", tmp_path, cache, model__dtype="bfloat16"))
    params, _ = restore_params(tmp_path / "pretrain")
    assert {value.dtype for _, value in _leaves(params)} == {np.dtype(np.float32)}
    halves, whole = (lines(x / "pretrain")[0]["loss"] for x in (tmp_path, workdir))
    assert halves != whole
    np.testing.assert_allclose(halves, whole, rtol=0.05)


@pytest.mark.slow
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
        succeed(start(mode, tmp_path / "run", cache, **real))
    folder = tmp_path / "run" / "finetune"
    check_evaluation(folder, volumes=10)
    split = read_run(folder).split
    assert list(split.test_patients) == chosen[1::2]
    assert {*split.pretrain_patients} == {*chosen[::2]}
