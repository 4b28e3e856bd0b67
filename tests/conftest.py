"""Policy of the whole suite: 4 fake devices, no silent broadcasting, no warnings."""

import atexit
import fcntl
import os
import pathlib
import shutil
import tempfile

from tests.support.program import ROOT, XLA_FLAGS, fork_server, start, succeed

os.environ.setdefault("XLA_FLAGS", XLA_FLAGS)  # before jax loads

import jax
import pytest

from pix2rep_jax.wording import speak_of_flags

speak_of_flags()  # modes are called here as the command line calls them

# Compiled programs are shared by the processes of one run of the suite.
if "PIX2REP_PROGRAMS" not in os.environ:
    os.environ["PIX2REP_PROGRAMS"] = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, os.environ["PIX2REP_PROGRAMS"], ignore_errors=True)
jax.config.update("jax_compilation_cache_dir", os.environ["PIX2REP_PROGRAMS"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_sessionfinish():
    if fork_server.cache_info().currsize:
        fork_server().close()


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)


@pytest.fixture(scope="session")
def acdc_root() -> pathlib.Path:
    """The ACDC folder: `$ACDC_ROOT`, or shared/data/ACDC beside the checkout."""
    root = pathlib.Path(
        os.environ.get("ACDC_ROOT", ROOT.parent / "shared" / "data" / "ACDC")
    )
    if not (root / "training").is_dir():
        pytest.skip(f"the ACDC training split is not at {root} (set ACDC_ROOT)")
    return root


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> pathlib.Path:
    """A folder of this run of the suite, the same in all of its processes."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def cache(shared) -> pathlib.Path:
    """Where the tiny phantom of `program.TINY` is drawn, once for all tests."""
    return shared / "cache"


@pytest.fixture(scope="session")
def workdir(shared, cache) -> pathlib.Path:
    """A workdir after pretrain, probe, finetune and evaluate; not to be changed."""
    folder = shared / "run"
    with open(shared / "run.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process makes it, the others wait
        if not (folder / "evaluate" / "evaluation.json").exists():
            succeed(start("pretrain", folder, cache))
            both = [start(mode, folder, cache) for mode in ("probe", "finetune")]
            for process in both:
                succeed(process)
            succeed(start("evaluate", folder, cache))
    return folder
