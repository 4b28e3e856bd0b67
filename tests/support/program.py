"""main.py as a user starts it: as a process of its own, on a tiny phantom."""

import functools
import json
import os
import pathlib
import subprocess
import sys
import time
from importlib.metadata import version

import nibabel as nib
import numpy as np

from tests.support.fork_server import ForkServer

ROOT = pathlib.Path(__file__).resolve().parents[2]
XLA_FLAGS = "--xla_backend_optimization_level=0"
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):
    XLA_FLAGS += " --xla_cpu_use_fusion_emitters=false"  # later ones end the process
"""Compiling is most of the suite's time on a CPU: this takes half of it."""
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
    "pretrain.num_steps": 24,
    "pretrain.loss": "info_nce",
    "pretrain.temperature": 0.2,
    **{
        f"{method}.{name}": value
        for method in ("simclr", "byol", "barlow_twins")
        for name, value in {
            "batch_size": 4,
            "num_steps": 6,
            "hidden": "8,",
            "features": 4,
        }.items()
    },
    "chaitanya.batch_size": 4,
    "chaitanya.num_steps": 4,
    "chaitanya.hidden": "8,",
    "chaitanya.features": 4,
    "chaitanya.num_blocks": 1,
    "chaitanya.local_features": 4,
    "probe.batch_size": 4,
    "probe.num_steps": 4,
    "finetune.batch_size": 4,
    "finetune.num_steps": 4,
    "log.metrics_every": 2,
    "log.validate_every": 2,
    "log.checkpoint_every": 8,
}


def command(mode, workdir, cache, *flags, config="pix2rep", **changes):
    settings = TINY | {"data.cache_dir": cache}
    settings |= {name.replace("__", "."): value for name, value in changes.items()}
    return [
        sys.executable,
        str(ROOT / "main.py"),
        f"--config=configs/{config}.py",
        f"--mode={mode}",
        f"--workdir={workdir}",
        *(f"--config.{name}={value}" for name, value in settings.items()),
        *flags,
    ]


def environment():
    # One device, and little time spent on compiling, once for all tests.
    return os.environ | {
        "XLA_FLAGS": XLA_FLAGS,
        "JAX_PLATFORMS": "cpu",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def start(*arguments, **changes):
    """A process under way, and what it says."""
    return launch(command(*arguments, **changes))


def launch(words):
    """Starts a command line of main.py.

    On Linux it is a fork of one process that has imported jax already. Python starts
    anew for one of several hosts, and if a test has set one of jax's own variables,
    which are read at the import.
    """
    variables = environment()
    is_host = any(word.startswith("--coordinator") for word in words)
    if sys.platform == "linux" and not is_host:
        server = fork_server()
        if jax_variables(variables) == jax_variables(server.environment):
            return server.start(words[1:], variables)
    return subprocess.Popen(
        words,
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@functools.cache
def fork_server():
    """The one of this process; tests/conftest.py closes it."""
    return ForkServer(environment())


def jax_variables(variables):
    return {name: x for name, x in variables.items() if name.startswith("JAX_")}


def wait_until(process, condition):
    """Waits for something that a process does on its way."""
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline and not condition():
        time.sleep(0.01)


def finish(process):
    """Waits for a process: its status, standard output and error."""
    try:
        stdout, stderr = process.communicate(timeout=300)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def succeed(process):
    """Waits for a process that must end well, and returns its output."""
    result = finish(process)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def predict_mask(workdir, scan, folder, **changes):
    """Predicts a scan by the command line, and reads the mask that it writes."""
    output = folder / "masks"
    words = (f"--input={scan}", f"--output={output}")
    succeed(start("predict", workdir, folder, *words, **changes))
    (path,) = output.glob("*_seg.nii.gz")
    return np.asarray(nib.load(path).dataobj)


def refused(process):
    """Waits for a process that must fail, and returns its one sentence."""
    result = finish(process)
    assert result.returncode == 1, result.stderr[-2000:]
    assert "Traceback" not in result.stderr
    (sentence,) = [x for x in result.stderr.splitlines() if x.startswith("error: ")]
    return sentence


def lines(folder):
    """What a run has logged."""
    return [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
