"""Measures a training step: speed, memory, and its share of what the device can.

python -m benchmarks.step [--case small] [--loss info_nce] [--loss unimatch]
python -m benchmarks.step --case paper --profile /tmp/profile   # on a GPU or TPU

Each row runs in a process of its own, on random images, with the code of
--mode pretrain. The losses "finetune", "unimatch" and "terms" take the code of --mode
finetune; "terms" is UniMatch with affinities and prototypes. "share" is the step's
speed divided by that of a matrix product in the network's dtype, which is measured
first. A step's operations are those of its products and convolutions. Compare only rows
of one run; other machines differ.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.operations import count_operations
from configs import pix2rep as configs
from pix2rep_jax.methods.downstream.finetuning import make_finetuning
from pix2rep_jax.methods.pretraining import load_method
from pix2rep_jax.models.build import initialise, make_segmentation_net
from pix2rep_jax.runtime.huge_pages import use_huge_pages
from pix2rep_jax.training.sharding import batched, make_mesh, place
from pix2rep_jax.training.step import compile_step as jit_step
from pix2rep_jax.training.step import make_update
from pix2rep_jax.views.affine import whole_image

CASES = ("quick", "small", "middle", "medium", "paper")
PRETRAINING = ("info_nce", "cross_correlation")
FINETUNING = ("finetune", "unimatch", "terms")
LOSSES = (*PRETRAINING, *FINETUNING)


def get_config(case: str, loss: str):
    """Returns the configuration of a row.

    "middle" lies between small and paper. Its network and images are those of medium.
    """
    config = configs.get_config("small" if case == "middle" else case)
    if loss in PRETRAINING:
        config.pretrain.loss = loss
    elif loss != "finetune":
        config.finetune.method = "unimatch"
    if loss == "terms":
        config.finetune.unimatch.update(affinity_weight=1.0, prototype_weight=1.0)
    config.data.classes = ("BG", "RV", "MYO", "LV")  # ACDC's
    if case == "middle":
        config.data.size = 128
        config.model.channels = (16, 32, 64, 128, 256)
        config.pretrain.num_points = 1000
    return config


def make_pretraining(config):
    """Makes the update of --mode pretrain, and the state before the first step."""
    method, key = load_method(config), jax.random.key(0)
    params, batch_stats = initialise(method.net, key, size=config.data.size)
    state, update = make_update(
        method.loss_fn,
        params,
        batch_stats,
        recipe=config.pretrain,
        rates=dict.fromkeys(method.trained, config.pretrain.learning_rate),
        key=key,
        num_steps=1000,
        extra=method.make_extra(params),
    )
    return update, place(state, make_mesh())


def make_data(config, num_images: int):
    """Draws images without padding."""
    size = config.data.size
    image = np.random.default_rng(0).random((num_images, size, size, 1), np.float32)
    box = np.tile(np.array(whole_image(size, size), np.int32), (num_images, 1))
    return {"image": image, "box": box}


def make_finetuning_update(config):
    """Makes the update of --mode finetune, the state before it, and a batch."""
    net, key = make_segmentation_net(config), jax.random.key(0)
    params, batch_stats = initialise(net, key, size=config.data.size)
    recipe = config.finetune
    method = make_finetuning(
        config, net, params, batch_stats, labeled={}, unlabeled={}, num_steps=1000
    )
    state, update = make_update(
        method.loss_fn,
        params,
        batch_stats,
        recipe=recipe,
        rates={
            "backbone": recipe.backbone_learning_rate,
            "head": recipe.head_learning_rate,
        },
        key=key,
        num_steps=1000,
        extra=method.extra,
    )
    size, sizes = config.data.size, method.batch_size
    number = sizes if isinstance(sizes, int) else sizes["labeled"]
    image = make_data(config, number)["image"]
    label = np.random.default_rng(1).integers(0, 4, (number, size, size), np.uint8)
    batch = {"image": image, "label": label}
    if not isinstance(sizes, int):
        image = make_data(config, sizes["unlabeled"])["image"]
        batch = {"labeled": batch, "unlabeled": {"image": image}}
    return update, place(state, make_mesh()), batch


def make_step(config, loss: str = "info_nce"):
    """Makes a step; returns it with the state before it, and a batch."""
    mesh = make_mesh()
    if loss in FINETUNING:
        update, state, data = make_finetuning_update(config)
    else:
        update, state = make_pretraining(config)
        data = make_data(config, config.pretrain.batch_size)
    batch = jax.device_put(data, batched(mesh))
    return jit_step(update, mesh=mesh), state, batch


def compile_step(config, loss: str = "info_nce"):
    """Compiles a step; returns it with the state before it, and a batch."""
    step, state, batch = make_step(config, loss)
    return step.lower(state, batch).compile(), state, batch


def peak_memory_mb() -> float:
    """Returns the peak memory so far of the device, or of the process on a CPU."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def matmul_speed(dtype: str) -> float:
    """Measures the floating-point operations per second of a large matrix product."""
    side = 2048 if jax.default_backend() == "cpu" else 8192
    # Random, because a processor multiplies equal numbers with less power, and faster.
    x = jax.random.normal(jax.random.key(0), (side, side)).astype(dtype)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(x, x))
    return 2 * side**3 / min(times(lambda: product(x, x), 10))


def make_advance(step: Callable, state, batch) -> Callable:
    """Makes a function that trains one step per call, and returns its metrics."""

    def advance():
        nonlocal state
        state, metrics = step(state, batch)
        return metrics

    return advance


def times(function: Callable, repeats: int) -> list[float]:
    """Times calls, each until its result is ready (s)."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return seconds


def measure(case: str, loss: str, *, num_steps: int, profile: str) -> dict:
    """Compiles and times one step."""
    config = get_config(case, loss)
    fastest = matmul_speed(config.model.dtype)
    step, state, batch = make_step(config, loss)
    operations = count_operations(step, state, batch)
    start = time.perf_counter()
    step = step.lower(state, batch).compile()
    compile_seconds = time.perf_counter() - start
    advance = make_advance(step, state, batch)
    times(advance, 2)
    second = float(np.median(times(advance, num_steps)))
    if profile:
        with jax.profiler.trace(profile):
            times(advance, 3)
    value = float(advance()["loss"])
    if not np.isfinite(value):
        raise RuntimeError(f"the loss of {case}, {loss} is {value}")
    return {
        "steps_per_second": 1 / second,
        "compile_seconds": compile_seconds,
        "planned_memory_mb": step.memory_analysis().temp_size_in_bytes / 1e6,
        "peak_memory_mb": peak_memory_mb(),
        "operations": operations,
        "share": operations / second / fastest,
        "device": jax.devices()[0].device_kind,
    }


def main() -> None:
    """Runs every row and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--loss", choices=LOSSES, action="append")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--profile", default="", help="folder for a trace of 3 steps")
    parser.add_argument("--row", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cases, names = arguments.case or CASES[:3], arguments.loss or PRETRAINING
    if arguments.row:
        row = measure(
            cases[0], names[0], num_steps=arguments.steps, profile=arguments.profile
        )
        print(json.dumps(row))
        return
    print(
        f"{'step':8}{'loss':20}{'steps/s':>9}{'compile s':>11}{'planned MB':>12}"
        f"{'peak MB':>9}{'10^9 op.':>10}{'share':>7}  device"
    )
    for case in cases:
        for loss in names:
            command = [sys.executable, "-m", "benchmarks.step", "--row"]
            command += [f"--steps={arguments.steps}"]
            command += [f"--case={case}", f"--loss={loss}"]
            command += [f"--profile={arguments.profile}"]
            output = subprocess.run(
                command, check=True, capture_output=True, text=True
            ).stdout
            row = json.loads(output.splitlines()[-1])
            print(
                f"{case:8}{loss:20}{row['steps_per_second']:9.2f}"
                f"{row['compile_seconds']:11.1f}{row['planned_memory_mb']:12.0f}"
                f"{row['peak_memory_mb']:9.0f}{row['operations'] / 1e9:10.1f}"
                f"{row['share']:7.2f}  {row['device']}",
                flush=True,
            )


if __name__ == "__main__":
    use_huge_pages()  # as main.py does
    main()
