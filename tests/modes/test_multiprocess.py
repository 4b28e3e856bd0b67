"""Two processes on one machine compute what one does."""

import json
import shutil
import signal
import socket

import nibabel
import numpy as np
import pytest

from tests.support.program import finish, lines, start, succeed, wait_until

pytestmark = pytest.mark.slow


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_two(mode, folder, cache, *, theirs=None, **ours):
    """Two processes of one run; the second has settings of its own in `theirs`."""
    two = (mode, folder, cache, f"--coordinator=127.0.0.1:{free_port()}")
    return [
        start(*two, "--num_processes=2", f"--process_id={index}", **(ours | own))
        for index, own in enumerate(({}, theirs or {}))
    ]


def test_two_processes_are_one_run(workdir, cache, tmp_path):
    """The losses of one process over the same global batches, written once, and
    checkpoints that one process reads."""
    for process in start_two("pretrain", tmp_path, cache):
        said = succeed(process)
        assert "2 CPU devices" in said
        assert "no picture" not in said  # none is tried: the other may have ended
    ours, theirs = lines(tmp_path / "pretrain"), lines(workdir / "pretrain")
    assert [x["step"] for x in ours] == [x["step"] for x in theirs]
    assert len(list((tmp_path / "pretrain").glob("events.out.tfevents.*"))) == 1
    # Sums over two devices are rounded in another order, and Adam passes that on from
    # step to step: at first they agree closely.
    losses, expected = (
        [x["loss"] for x in run if "loss" in x] for run in (ours, theirs)
    )
    np.testing.assert_allclose(losses[0], expected[0], rtol=1e-4)
    np.testing.assert_allclose(losses, expected, rtol=1e-2)
    said = succeed(start("pretrain", tmp_path, cache))
    assert "step 24 of 24" in said


@pytest.mark.parametrize("mode", ["probe", "finetune"])
def test_two_processes_segment_like_one(workdir, cache, tmp_path, mode):
    """The losses of one process, and one evaluation of all test volumes."""
    for process in start_two(mode, tmp_path, cache, init__checkpoint=workdir):
        succeed(process)
    ours, theirs = lines(tmp_path / mode), lines(workdir / mode)
    assert [x["step"] for x in ours] == [x["step"] for x in theirs]
    losses, expected = (
        [x["loss"] for x in run if "loss" in x] for run in (ours, theirs)
    )
    assert losses
    np.testing.assert_allclose(losses, expected, rtol=1e-2)
    found, wanted = (
        json.loads((folder / mode / "evaluation.json").read_text())
        for folder in (tmp_path, workdir)
    )
    assert found["num_volumes"] == wanted["num_volumes"]
    np.testing.assert_allclose(found["dice"]["mean"], wanted["dice"]["mean"], atol=0.05)


def test_a_signal_to_one_process_stops_all_alike(cache, tmp_path):
    """Whoever it reaches: each says so, leaves by its number, and all is saved once."""
    processes = start_two("pretrain", tmp_path, cache, pretrain__num_steps=100_000)
    metrics = tmp_path / "pretrain" / "metrics.jsonl"
    wait_until(processes[0], lambda: metrics.exists() and metrics.stat().st_size)
    processes[1].send_signal(signal.SIGTERM)
    for process in processes:
        result = finish(process)
        assert result.returncode == 143, result.stderr[-2000:]
        assert "SIGTERM" in result.stderr
        assert "Traceback" not in result.stderr
    steps = [p.name for p in (tmp_path / "pretrain" / "checkpoints").iterdir()]
    assert any(name.isdigit() for name in steps)


def with_another_scan(cache, folder):
    """A copy of the phantom that was given to the other process, but for one voxel."""
    (root,) = (path for path in cache.glob("phantom-*") if path.is_dir())
    shutil.copytree(root, folder)
    path = next(folder.glob("training/patient001/patient001_frame01.nii*"))
    scan = nibabel.load(path)
    voxels = np.asanyarray(scan.dataobj).copy()
    voxels[0, 0, 0] += 1
    nibabel.save(nibabel.Nifti1Image(voxels, scan.affine, scan.header), path)
    return folder


@pytest.mark.parametrize("what", ["configuration", "scans", "network to start from"])
def test_processes_that_were_given_different_things_say_so(
    workdir, cache, tmp_path, what
):
    """Each names the process, and nothing is trained."""
    mode, ours, theirs = "pretrain", {}, {"pretrain__temperature": 0.3}
    if what == "scans":
        theirs = {"data__root": with_another_scan(cache, tmp_path / "copy")}
    if what == "network to start from":
        succeed(start("pretrain", tmp_path / "b", cache, pretrain__num_steps=2))
        mode, ours = "finetune", {"init__checkpoint": workdir}
        theirs = {"init__checkpoint": tmp_path / "b"}
    for process in start_two(mode, tmp_path / "run", cache, theirs=theirs, **ours):
        result = finish(process)
        assert result.returncode == 1
        said = " ".join(result.stderr.split())
        assert "process 1" in said and "error: " in said
        assert "Traceback" not in result.stderr
    assert not (tmp_path / "run" / mode).exists()


def test_a_process_that_is_left_alone_says_so(cache, tmp_path):
    """The other one had no scans."""
    missing = {"data__name": "acdc", "data__root": tmp_path / "missing"}
    said = []
    for process in start_two("pretrain", tmp_path, cache, theirs=missing):
        result = finish(process)
        assert result.returncode == 1
        assert "Traceback" not in result.stderr
        said.append(" ".join(result.stderr.split()))
    assert "error: " in said[0]
    assert str(tmp_path / "missing") in said[1]
