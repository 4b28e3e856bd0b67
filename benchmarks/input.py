"""Measures how long a step waits for its data. If all rows are equal, it never waits.

python -m benchmarks.input [--case small] [--rounds 10]

The rows are: the step on one batch that never changes; the step with data on the
device, which draws each batch there; and the step with data on the host, as for data
sets above data.device_budget_mb. They take turns, a few steps each.
"""

import argparse
import itertools
import time

import jax
import numpy as np

from benchmarks.step import CASES, get_config, make_data, make_pretraining
from pix2rep_jax.runtime.huge_pages import use_huge_pages
from pix2rep_jax.training.feed import make_batches
from pix2rep_jax.training.sharding import batched, make_mesh
from pix2rep_jax.training.step import compile_step

NUM_IMAGES = 64


def make_feeds(config):
    """Makes the step, the state before the first one, and the three feeds."""
    update, state = make_pretraining(config)
    mesh, batch_size = make_mesh(), config.pretrain.batch_size
    data = make_data(config, NUM_IMAGES)
    first = {name: array[:batch_size] for name, array in data.items()}
    fixed = jax.device_put(first, batched(mesh))
    feeds = {"step alone": itertools.repeat(fixed)}
    for name, budget_mb in (("data on the device", 1e6), ("data on the host", 0)):
        feeds[name] = make_batches(
            data,
            key=state.key,
            first_step=0,
            mesh=mesh,
            batch_size=batch_size,
            budget_mb=budget_mb,
        )
    return compile_step(update, mesh=mesh), state, feeds


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--case", choices=CASES, default="small")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5, help="steps per round")
    arguments = parser.parse_args()
    step, state, feeds = make_feeds(get_config(arguments.case, "info_nce"))
    seconds = {name: [] for name in feeds}
    for number in range(arguments.rounds + 1):
        for name, batches in feeds.items():
            start = time.perf_counter()
            # As the training loop does, without waiting for the metrics.
            for batch in itertools.islice(batches, arguments.repeats):
                state, metrics = step(state, batch)
            jax.block_until_ready((state, metrics))
            if number:  # the first round compiles
                seconds[name].append((time.perf_counter() - start) / arguments.repeats)
    base = np.array(seconds["step alone"])
    for name, values in seconds.items():
        low, middle, high = np.quantile(np.array(values) / base, [0.25, 0.5, 0.75])
        print(
            f"{name:20}{1e3 * np.median(values):8.1f} ms per step,"
            f"{middle:6.3f} of the step alone ({low:.3f}-{high:.3f})"
        )


if __name__ == "__main__":
    use_huge_pages()  # as main.py does
    main()
