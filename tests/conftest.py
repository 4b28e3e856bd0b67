"""Policy of the whole suite: 4 fake devices, no silent broadcasting, no warnings."""

import os
import pathlib

# Compiling is most of the suite's time on CPU: ask for less of it. Before jax loads.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax
import pytest
from program import ROOT, start, succeed

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")


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
def cache(tmp_path_factory) -> pathlib.Path:
    """Where the tiny phantom of `program.TINY` is drawn, once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def workdir(tmp_path_factory, cache) -> pathlib.Path:
    """A workdir after pretrain, probe, finetune and evaluate; not to be changed."""
    folder = tmp_path_factory.mktemp("run")
    succeed(start("pretrain", folder, cache))
    both = [start(mode, folder, cache) for mode in ("probe", "finetune")]
    for process in both:
        succeed(process)
    succeed(start("evaluate", folder, cache))
    return folder
