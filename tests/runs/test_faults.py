"""Runs in folders of any name, and on a disk that fills."""

import collections
import contextlib
import errno
import os
import shutil
import subprocess

import numpy as np
import pytest

from pix2rep_jax.errors import InputError, explain_disk
from pix2rep_jax.runs import checkpoint_writer, metric_log
from pix2rep_jax.runs.checkpoint_reader import restore_params
from pix2rep_jax.runs.checkpoint_steps import has_checkpoint, newest_step, result_step
from pix2rep_jax.runs.checkpoint_writer import Checkpoints
from pix2rep_jax.runs.metric_log import MetricWriter, read_metrics
from tests.runs.test_checkpoints import assert_equal, make_state, steps
from tests.support.program import finish, refused, start, succeed

NAMES = ("a[1]*", "[", "]", "what?", "**", "[!a]")


@contextlib.contextmanager
def disk(folder, kilobytes):
    """A file system of its own size, or a skipped test where none may be mounted."""
    folder.mkdir()
    options = f"size={kilobytes}k,nr_inodes=10000"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or str(error)
        pytest.skip(f"no file system can be mounted here: {reason.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_may_have_any_name(tmp_path, capsys, name):
    """Its checkpoints are written, resumed from, and read; none is set aside."""
    run = tmp_path / name / "pretrain"
    folder = run / "checkpoints"
    for step, score in ((1, 0.3), (2, 0.9), (3, 0.1), (4, 0.2)):
        with Checkpoints(folder, best_metric="val_dice") as checkpoints:
            newest = checkpoints.restore_latest(make_state())
            assert (0 if newest is None else int(newest.step)) == step - 1
            state = make_state(step, value=step)
            checkpoints.save(state, metrics={"val_dice": score})
            best = checkpoints.restore_best(make_state())
    assert_equal(best, make_state(2, value=2))
    assert steps(folder) == [2, 3, 4]
    assert (result_step(run, keep="best"), newest_step(run)) == (2, 4)
    params, _ = restore_params(run, keep="best")
    np.testing.assert_array_equal(params["backbone"]["kernel"], np.full((2, 3), 2.0))
    assert "broken" not in capsys.readouterr().err


@pytest.mark.slow
def test_the_program_runs_in_a_folder_of_any_name(tmp_path, cache):
    """Pretraining, its second start, and a mode that starts from it."""
    workdir = tmp_path / "a[1]*" / "b?"
    succeed(start("pretrain", workdir, cache, pretrain__num_steps=8))
    again = finish(start("pretrain", workdir, cache, pretrain__num_steps=8))
    assert again.returncode == 0 and "broken" not in again.stderr
    assert steps(workdir / "pretrain" / "checkpoints") == [8]
    succeed(start("probe", workdir, cache))
    assert (workdir / "probe" / "evaluation.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("kilobytes", "step"), [(8, None), (300, None), (590, 8)])
def test_the_program_says_that_the_disk_is_full(tmp_path, cache, kilobytes, step):
    """One sentence and status 1, wherever the disk fills; what was saved is whole."""
    settings = {"log__metrics_every": 1, "pretrain__num_steps": 40}
    with disk(tmp_path / "disk", kilobytes) as folder:
        process = start("pretrain", folder / "run", cache, **settings)
        assert str(folder) in refused(process)
        run = folder / "run" / "pretrain"
        assert (newest_step(run) if has_checkpoint(run) else None) == step
        if step is not None:
            restore_params(run)


@pytest.mark.slow
def test_each_size_of_disk_leaves_the_last_checkpoint_whole(tmp_path):
    """From a disk that holds nothing to one that holds all, in 20 sizes."""
    last, failed = -1, 0
    for number, kilobytes in enumerate(np.linspace(4, 800, 20).astype(int)):
        with disk(tmp_path / str(number), kilobytes) as folder:
            saved = 0
            try:
                with (
                    Checkpoints(folder / "checkpoints") as checkpoints,
                    MetricWriter(folder) as writer,
                ):
                    for step in range(1, 5):
                        writer.write(step, {"loss": 1 / step})
                        checkpoints.save(make_state(step, value=step))
                        saved = step
            except InputError as error:
                assert str(folder) in str(error)
                failed += 1
            if saved:
                assert newest_step(folder) == saved
                params, _ = restore_params(folder)
                assert params["backbone"]["kernel"][0, 0] == saved
            assert saved >= last  # more room never saves less
            last = saved
    assert last == 4
    assert 1 < failed < 20


def fail(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "where",
    [
        "posix_fallocate",
        "save",
        pytest.param("disk_usage", marks=pytest.mark.slow),
        pytest.param("quota", marks=pytest.mark.slow),
    ],
)
def test_a_checkpoint_on_a_full_disk_is_refused(tmp_path, monkeypatch, where):
    """Earlier ones stay, and a later start goes on from them."""
    state = make_state(2, value=2)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(1, value=1))
        with monkeypatch.context() as patch:
            if where == "disk_usage":
                usage = collections.namedtuple("usage", "free")
                patch.delattr(os, "posix_fallocate", raising=False)
                patch.setattr(shutil, "disk_usage", lambda _: usage(free=1000))
            elif where == "posix_fallocate":
                patch.setattr(os, "posix_fallocate", fail, raising=False)
            elif where == "quota":
                patch.setattr(checkpoint_writer, "_reserve", fail)
            else:
                patch.setattr(checkpoints._manager, "save", fail)
            with pytest.raises(InputError, match=str(tmp_path)):
                checkpoints.save(state)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1"]
    with Checkpoints(tmp_path) as checkpoints:
        assert_equal(checkpoints.restore_latest(make_state()), make_state(1, value=1))
        checkpoints.save(state)
    assert steps(tmp_path) == [1, 2]


def test_a_disk_that_cannot_reserve_room_is_written_to(tmp_path, monkeypatch):
    """Some file systems do not know the call; that is not a full disk."""

    def unknown(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unknown, raising=False)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(1))
    assert steps(tmp_path) == [1]


def test_what_a_killed_run_left_half_written_is_removed(tmp_path):
    """It would take the room that the next checkpoint needs."""
    (tmp_path / "8.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    with Checkpoints(tmp_path):
        assert not list(tmp_path.iterdir())


def test_events_on_a_full_disk_are_refused(tmp_path, monkeypatch):
    """No thread dies over them, so nothing waits for one."""
    with (
        pytest.raises(InputError, match=r"metrics\.jsonl"),
        MetricWriter(tmp_path) as writer,
    ):
        monkeypatch.setattr(metric_log, "scalar_event", fail)
        writer.write(1, {"loss": 2.0})
    assert read_metrics(tmp_path / "metrics.jsonl") == {"loss": ([1], [2.0])}


def test_tensorboard_reads_the_events(tmp_path):
    """Scalars with their steps, and the step from which a second start counts."""
    from tensorboardX.proto.event_pb2 import Event

    with MetricWriter(tmp_path, first_step=5) as writer:
        writer.write(5, {"loss": 2.5, "norm": float("nan")})
    (path,) = tmp_path.glob("events.out.tfevents*")
    data, events = path.read_bytes(), []
    while data:  # length, its checksum, the event, its checksum
        size = int.from_bytes(data[:8], "little")
        events.append(Event.FromString(data[12 : 12 + size]))
        data = data[16 + size :]
    version, restart, scalar = events
    assert version.file_version == "brain.Event:2"
    assert (restart.step, restart.session_log.status) == (5, 1)
    (value,) = scalar.summary.value
    assert (scalar.step, value.tag, value.simple_value) == (5, "loss", 2.5)


def test_a_full_disk_anywhere_is_one_sentence():
    """Whichever writer met it; other errors are not explained."""
    full = OSError(errno.ENOSPC, "No space left on device", "/run/lock")
    assert "/run/lock" in explain_disk(full)
    foreign = PermissionError(errno.EACCES, "Permission denied", "/run/checkpoints")
    assert "/run/checkpoints" in explain_disk(foreign)
    assert explain_disk(PermissionError(errno.EACCES, "Permission denied")) is None
    gone = FileNotFoundError(errno.ENOENT, "Not there", "/run/config.json")
    assert "/run/config.json" in explain_disk(gone)  # a share may go at any time
    assert explain_disk(ValueError("No space left on device")) is None
