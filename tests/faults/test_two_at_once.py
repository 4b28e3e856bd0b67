"""Two processes that want one run's folder, and a lock that is in the way."""

import errno
import fcntl
import json
import os
import sys

import pytest

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.lock import hold
from tests.support.program import (
    command,
    environment,
    fork_server,
    refused,
    start,
    succeed,
    wait_until,
)

HELD = """
import pathlib, runpy, sys, time
from pix2rep_jax.runs import manifest

here, check = pathlib.Path(__file__).parent, manifest.check_begun

def check_and_wait(folder, settings):
    found = check(folder, settings)
    if sys._getframe(1).f_code.co_name == "open_run":
        (here / "held").touch()
        while not (here / "go").exists():
            time.sleep(0.01)
    return found

manifest.check_begun = check_and_wait
runpy.run_path("main.py", run_name="__main__")
"""
"""The program, which stops between looking at a run's folder and writing there."""


@pytest.mark.skipif(sys.platform != "linux", reason="needs the fork server")
def test_of_two_that_start_at_once_one_is_refused(tmp_path, cache):
    """Even while the first has written nothing; it ends as if it had been alone."""
    (tmp_path / "held.py").write_text(HELD)
    workdir, steps = tmp_path / "run", {"pretrain__num_steps": 2}
    words = command("pretrain", workdir, cache, seed=1, **steps)
    words = [str(tmp_path / "held.py"), *words[2:]]
    first = fork_server().start(words, environment())
    wait_until(first, (tmp_path / "held").exists)
    assert not (workdir / "pretrain" / "config.json").exists()
    second = start("pretrain", workdir, cache, seed=2, **steps)
    assert "another process" in refused(second)
    (tmp_path / "go").touch()
    succeed(first)
    config = json.loads((workdir / "pretrain" / "config.json").read_text())
    assert config["seed"] == 1


def test_a_lock_that_is_a_folder_is_named(tmp_path):
    """It locks nothing, so two processes could train the run."""
    (tmp_path / "lock").mkdir()
    with pytest.raises(InputError, match="lock"), hold(tmp_path):
        pass


def test_a_lock_that_cannot_be_taken_does_not_pass_for_free(tmp_path, monkeypatch):
    """As on a broken disk."""

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(InputError, match="lock"), hold(tmp_path):
        pass
