"""An environment that lacks something: a home, a device, a port, the time."""

import os
import shutil
import subprocess
import sys
import textwrap

import pytest

from pix2rep_jax.runs.checkpoint_writer import Checkpoints
from tests.runs.test_checkpoints import make_state
from tests.runs.test_manifest import make_config
from tests.support.program import ROOT, command, environment, refused, start
from tests.support.run_folder import begin_run

NOBODY = "~no-such-user-here/runs"


@pytest.mark.parametrize(
    ("setting", "flags"),
    [
        ("workdir", ()),
        ("data.root", ()),
        ("data.cache_dir", ()),
        ("init.checkpoint", ()),
        ("--input", (f"--input={NOBODY}",)),
        ("--support", (f"--support={NOBODY}",)),
    ],
)
def test_a_home_that_is_not_there_is_named(tmp_path, cache, setting, flags):
    """With the flag or the setting that names it."""
    changes = {} if flags or setting == "workdir" else {setting: NOBODY}
    workdir = NOBODY if setting == "workdir" else tmp_path / "run"
    process = start("predict", workdir, cache, *flags, **changes)
    said = refused(process)
    assert setting in said and NOBODY in said


@pytest.mark.parametrize("coordinator", ["host", "host:", "host:0", "host:99999"])
def test_a_coordinator_without_a_port_is_refused(tmp_path, cache, coordinator):
    """At once: jax would try to reach it for minutes."""
    from pix2rep_jax.errors import InputError
    from pix2rep_jax.runtime.multihost import join_hosts

    with pytest.raises(InputError, match="--coordinator"):
        join_hosts(coordinator, 2, 0)


def run(words, *, prefix=(), **variables):
    """Runs a new Python, with variables of its own; None takes one away."""
    known = environment() | variables
    known = {name: value for name, value in known.items() if value is not None}
    return subprocess.run(
        [*prefix, *words], cwd=ROOT, env=known, capture_output=True, timeout=300
    )


def test_a_device_that_is_not_there_is_one_sentence(tmp_path, cache):
    words = command("pretrain", tmp_path / "run", cache)
    result = run(words, JAX_PLATFORMS="quantum")
    assert result.returncode == 1
    assert b"JAX_PLATFORMS" in result.stderr and b"Traceback" not in result.stderr


@pytest.mark.slow
def test_an_account_without_a_home_is_told_which_setting_needs_one(tmp_path):
    """As in a container that is started with a number for a user."""
    prefix = ["unshare", "--user", "--map-user=54321"]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user may be mapped here")
    words = [sys.executable, "main.py", "--config=configs/pix2rep.py"]
    words += ["--mode=pretrain", f"--workdir={tmp_path}"]
    result = run(words, prefix=prefix, HOME=None)
    assert result.returncode == 1 and b"Traceback" not in result.stderr
    assert b"data.cache_dir" in result.stderr


CLOCK = """
#include <time.h>
#include <sys/time.h>
#include <sys/syscall.h>
#include <unistd.h>
static const long BACK = 2000000000;  /* seconds: before 1970 */
int clock_gettime(clockid_t id, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, id, at);
    if (!failed && id == CLOCK_REALTIME) at->tv_sec -= BACK;
    return failed;
}
int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec; at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


@pytest.fixture(scope="module")
def early_clock(tmp_path_factory):
    """A library that sets a process back to before 1970."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("there is no C compiler for Linux here")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(textwrap.dedent(CLOCK))
    words = [compiler, "-shared", "-fPIC", "-o", "clock.so", "clock.c"]
    subprocess.run(words, cwd=folder, check=True)
    return str(folder / "clock.so")


def test_a_clock_before_1980_is_told_before_any_work(early_clock, tmp_path):
    """By a process that is really set back; checkpoints cannot hold such a date."""
    words = [sys.executable, "main.py", "--config=configs/pix2rep.py"]
    words += ["--mode=pretrain", f"--workdir={tmp_path / 'run'}"]
    result = run(words, LD_PRELOAD=early_clock)
    assert result.returncode == 1 and b"Traceback" not in result.stderr
    assert b"clock" in result.stderr and not (tmp_path / "run").exists()


def test_a_file_of_another_user_is_one_sentence(tmp_path):
    """Each of a run's files in turn, which only its owner may read."""
    prefix = ["unshare", "--user", "--map-user=54321"]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user may be mapped here")
    folder = tmp_path / "pretrain"
    begin_run(folder, make_config())
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(make_state(1))
    (folder / "lock").touch()
    program = textwrap.dedent(READ)
    for name in ("run.json", "config.json", "checkpoints/1/state/_METADATA", "lock"):
        path = folder / name
        mode = path.stat().st_mode
        path.chmod(0o600)
        os.chown(path, 1000, 1000)
        result = run([sys.executable, "-c", program, str(tmp_path)], prefix=prefix)
        os.chown(path, 0, 0)
        path.chmod(mode)
        assert result.returncode == 0, result.stderr
        said = result.stdout.decode()
        assert said.startswith("error: ") and len(said.splitlines()) == 1, said
        assert path.name in said or "checkpoints/1" in said


READ = """
    import pathlib, sys
    from pix2rep_jax.cli.failure import describe_failure
    from pix2rep_jax.runs.checkpoint_reader import restore_params
    from pix2rep_jax.runs.lock import hold_run
    from pix2rep_jax.runs.manifest import find_run, read_config
    from pix2rep_jax.runs.run_record import read_run
    try:
        run = find_run(sys.argv[1], "pretrain")
        read_config(run), read_run(run), restore_params(run)
        with hold_run(run):
            pass
    except Exception as error:
        message, status = describe_failure(error)
        assert status == 1, message
        print(message)
"""
