"""Measures the pretraining step: steps a second, seconds to compile, peak memory.

python benchmarks/step.py [--case small] [--loss info_nce] [--steps 20]

Each row runs in a process of its own, on random images, by the very code of
--mode pretrain. Compare rows of one run with each other, not with another machine's.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import time

import jax
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "configs")]

import pix2rep as configs  # noqa: E402

from pix2rep_jax.huge_pages import use_huge_pages  # noqa: E402
from pix2rep_jax.modes.pretrain import make_training  # noqa: E402
from pix2rep_jax.training.sharding import make_mesh  # noqa: E402

CASES = ("quick", "small", "middle")
LOSSES = ("info_nce", "cross_correlation")
NUM_IMAGES = 64


def get_config(case: str, loss: str):
    """Returns the configuration of a row; "middle" is between small and paper."""
    config = configs.get_config("small" if case == "middle" else case)
    config.pretrain.loss = loss
    if case == "middle":
        config.data.size = 128
        config.model.channels = (16, 32, 64, 128, 256)
        config.pretrain.num_points = 1000
    return config


def peak_memory_mb() -> float:
    """Returns the most memory held so far: the device's, or the process's on CPU."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def measure(case: str, loss: str, *, num_steps: int) -> dict[str, float]:
    """Compiles and times one step."""
    config = get_config(case, loss)
    size = config.data.size
    images = np.random.default_rng(0).random((NUM_IMAGES, size, size, 1), np.float32)
    state, train_step = make_training(
        config, {"image": images}, mesh=make_mesh(), num_steps=num_steps
    )
    start = time.perf_counter()
    state, metrics = jax.block_until_ready(train_step(state))
    first = time.perf_counter() - start
    seconds = []
    for _ in range(num_steps):
        start = time.perf_counter()
        state, metrics = jax.block_until_ready(train_step(state))
        seconds.append(time.perf_counter() - start)
    if not np.isfinite(float(metrics["loss"])):
        raise RuntimeError(f"the loss of {case}, {loss} is {float(metrics['loss'])}")
    return {
        "steps_per_second": 1 / float(np.median(seconds)),
        "compile_seconds": first - float(np.median(seconds)),
        "peak_memory_mb": peak_memory_mb(),
        "device": jax.devices()[0].device_kind,
    }


def main() -> None:
    """Runs every row and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--loss", choices=LOSSES, action="append")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--row", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cases, names = arguments.case or CASES, arguments.loss or LOSSES
    if arguments.row:
        row = measure(cases[0], names[0], num_steps=arguments.steps)
        print(json.dumps(row))
        return
    print(f"{'step':8}{'loss':20}{'steps/s':>9}{'compile s':>11}{'peak MB':>9}  device")
    for case in cases:
        for loss in names:
            command = [sys.executable, __file__, "--row", f"--steps={arguments.steps}"]
            command += [f"--case={case}", f"--loss={loss}"]
            output = subprocess.run(
                command, check=True, capture_output=True, text=True
            ).stdout
            row = json.loads(output.splitlines()[-1])
            print(
                f"{case:8}{loss:20}{row['steps_per_second']:9.2f}"
                f"{row['compile_seconds']:11.1f}{row['peak_memory_mb']:9.0f}"
                f"  {row['device']}",
                flush=True,
            )


if __name__ == "__main__":
    use_huge_pages()  # as main.py does
    main()
