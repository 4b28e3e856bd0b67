"""Plots time and memory of the InfoNCE loss against the number of pairs.

python -m benchmarks.pairs [--most 32768] [--budget_gb 8] [--output docs/pictures]

Value and gradient, for the whole 2N x 2N matrix and for ours, which never stores it.
Memory is what XLA plans beside arguments and results; a form is left out from where it
would plan more than the budget, or take longer than five minutes.
"""

import argparse
import functools
import pathlib
import time
from collections.abc import Callable

import jax
import matplotlib
import numpy as np

from benchmarks.dense_info_nce import dense_info_nce
from pix2rep_jax import losses
from pix2rep_jax.runtime.compiler import compiler_options
from pix2rep_jax.runtime.huge_pages import use_huge_pages

WIDTH = 64
FORMS = {"whole matrix": dense_info_nce, "ours": losses.info_nce}
LONGEST_S = 300


def measure(form: Callable, num_pairs: int, *, budget_bytes: float):
    """Compiles value and gradient; returns bytes, and seconds if within the budget."""
    loss = functools.partial(form, temperature=0.2)
    program = jax.jit(
        jax.value_and_grad(loss, (0, 1)), compiler_options=compiler_options()
    )
    shape = jax.ShapeDtypeStruct((num_pairs, WIDTH), np.float32)
    compiled = program.lower(shape, shape).compile()
    planned = compiled.memory_analysis().temp_size_in_bytes
    if planned > budget_bytes:
        return planned, None
    draw = np.random.default_rng(0)
    u, v = (draw.normal(size=shape.shape).astype(np.float32) for _ in range(2))
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(compiled(u, v))
        seconds.append(time.perf_counter() - start)
        if seconds[-1] > 5:
            break
    return planned, min(seconds)


def draw(rows: dict[str, list[tuple[int, float, float | None]]], path: pathlib.Path):
    """Draws both curves of each form."""
    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for (name, values), marker in zip(rows.items(), "so", strict=True):
        timed = [(n, s) for n, _, s in values if s is not None]
        axes[0].loglog(*zip(*timed, strict=True), marker=marker, label=name)
        sizes = [(n, b / 2**20) for n, b, _ in values]
        axes[1].loglog(*zip(*sizes, strict=True), marker=marker, label=name)
    axes[0].set(xlabel="pairs N", ylabel="seconds, value and gradient")
    axes[1].set(xlabel="pairs N", ylabel="memory planned (MiB)")
    axes[1].legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measures, prints and plots."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--most", type=int, default=131_072, help="pairs")
    parser.add_argument("--budget_gb", type=float, default=8.0)
    parser.add_argument("--output", type=pathlib.Path, default=None, help="folder")
    arguments = parser.parse_args()
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, d = {WIDTH}")
    print(f"{'form':14}{'pairs':>9}{'MiB':>10}{'seconds':>10}")
    rows = {}
    for name, form in FORMS.items():
        rows[name], num_pairs, seconds = [], 1024, 0.0
        while num_pairs <= arguments.most and seconds is not None:
            planned, seconds = measure(
                form, num_pairs, budget_bytes=arguments.budget_gb * 2**30
            )
            rows[name].append((num_pairs, planned, seconds))
            shown = "-" if seconds is None else f"{seconds:.2f}"
            print(
                f"{name:14}{num_pairs:9}{planned / 2**20:10.0f}{shown:>10}", flush=True
            )
            if seconds is not None and 4 * seconds > LONGEST_S:
                break
            num_pairs *= 2
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        draw(rows, arguments.output / "pairs.png")


if __name__ == "__main__":
    use_huge_pages()  # as main.py does
    main()
