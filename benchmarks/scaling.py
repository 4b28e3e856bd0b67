"""Shows what a pretraining step sends between devices, with a batch that grows along.

python -m benchmarks.scaling [--case small] [--loss info_nce] [--devices 1,2,4,8]

Each row compiles the step of --mode pretrain in a process of its own, on fake CPU
devices with 4 images each. It reads from the compiled program the number of sums and
gathers, the bytes of their results on one device, and the memory planned there. All
devices share this machine's cores. So the time shows the cost of the sharing, not the
gain from further cores.
"""

import argparse
import json
import os
import re
import subprocess
import sys

import jax
import numpy as np

from benchmarks.step import compile_step, get_config, make_advance, times

IMAGES = 4  # per device
BYTES = {"pred": 1, "bf16": 2, "f32": 4, "s32": 4, "u32": 4, "s64": 8}
COLLECTIVE = re.compile(
    r"= (?P<result>\(?[^=]*?) (?:all-reduce|all-gather|all-to-all|reduce-scatter|"
    r"collective-permute)(?:-start)?\("
)


def result_bytes(result: str) -> int:
    """Counts the bytes of an instruction's result, `f32[8,64]{1,0}` or a tuple."""
    total = 0
    for dtype, shape in re.findall(r"(\w+)\[([\d,]*)\]", result):
        size = BYTES[dtype]
        for side in filter(None, shape.split(",")):
            size *= int(side)
        total += size
    return total


def measure(case: str, loss: str, *, num_steps: int) -> dict:
    """Compiles and times one step on all devices."""
    config = get_config(case, loss)
    config.pretrain.batch_size = IMAGES * jax.device_count()
    if loss == "cross_correlation":
        config.pretrain.num_points = "all"
    compiled, state, data = compile_step(config)
    found = [m["result"] for m in COLLECTIVE.finditer(compiled.as_text())]
    seconds = times(make_advance(compiled, state, data), num_steps)
    return {
        "collectives": len(found),
        "megabytes": sum(map(result_bytes, found)) / 1e6,
        "memory_mb": compiled.memory_analysis().temp_size_in_bytes / 1e6,
        "seconds": float(np.median(seconds[1:])),
    }


def main() -> None:
    """Runs every row and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--case", default="small")
    parser.add_argument("--loss", action="append")
    parser.add_argument("--devices", default="1,2,4,8")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--row", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = arguments.loss or ["info_nce", "cross_correlation"]
    if arguments.row:
        row = measure(arguments.case, names[0], num_steps=arguments.steps)
        print(json.dumps(row))
        return
    print(
        f"{'loss':19}{'devices':>8}{'batch':>7}{'collectives':>13}{'MB a step':>11}"
        f"{'planned MB':>12}{'ms a step':>11}{'ms an image':>13}"
    )
    for loss in names:
        for devices in map(int, arguments.devices.split(",")):
            flags = f"--xla_force_host_platform_device_count={devices}"
            command = [sys.executable, "-m", "benchmarks.scaling", "--row"]
            command += [f"--loss={loss}"]
            command += [f"--case={arguments.case}", f"--steps={arguments.steps}"]
            output = subprocess.run(
                command,
                check=True,
                capture_output=True,
                text=True,
                env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
            ).stdout
            row = json.loads(output.splitlines()[-1])
            milliseconds = 1e3 * row["seconds"]
            print(
                f"{loss:19}{devices:8}{IMAGES * devices:7}{row['collectives']:13}"
                f"{row['megabytes']:11.1f}{row['memory_mb']:12.0f}{milliseconds:11.0f}"
                f"{milliseconds / IMAGES / devices:13.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
