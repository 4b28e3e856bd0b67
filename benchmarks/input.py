"""Measures what a step waits for its data: nothing, if all three rows are alike.

python -m benchmarks.input [--case small] [--rounds 10]

The update on one batch that is already there; the step that draws its batch from data
on the device; and the step whose data stay on the host, as sets above
data.device_budget_mb do. They take turns, a few steps each.
"""

import argparse
import time

import jax
import numpy as np

from benchmarks.step import CASES, get_config, make_data, make_pretraining
from pix2rep_jax.runtime.compiler import compiler_options
from pix2rep_jax.runtime.huge_pages import use_huge_pages
from pix2rep_jax.training.feed import bind_data
from pix2rep_jax.training.sharding import make_mesh, place

NUM_IMAGES = 64


def make_forms(config):
    """Makes the three forms of a step, `state -> (state, metrics)`."""
    update, state = make_pretraining(config)
    mesh, batch_size = make_mesh(), config.pretrain.batch_size
    data = make_data(config, NUM_IMAGES)
    fixed = place({"image": data["image"][:batch_size]}, mesh)
    alone = jax.jit(update, donate_argnums=0, compiler_options=compiler_options())
    forms = {"update alone": lambda state: alone(state, fixed)}
    for name, budget_mb in (("data on the device", 1e6), ("data on the host", 0)):
        forms[name] = bind_data(
            update, data, mesh=mesh, batch_size=batch_size, budget_mb=budget_mb
        )
    return forms, state


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--case", choices=CASES, default="small")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5, help="steps a round")
    arguments = parser.parse_args()
    forms, state = make_forms(get_config(arguments.case, "info_nce"))
    seconds = {name: [] for name in forms}
    for number in range(arguments.rounds + 1):
        for name, form in forms.items():
            start = time.perf_counter()
            for _ in range(arguments.repeats):  # as the loop does: without waiting
                state, metrics = form(state)
            jax.block_until_ready((state, metrics))
            if number:  # the first round compiles
                seconds[name].append((time.perf_counter() - start) / arguments.repeats)
    base = np.array(seconds["update alone"])
    for name, values in seconds.items():
        low, middle, high = np.quantile(np.array(values) / base, [0.25, 0.5, 0.75])
        print(
            f"{name:20}{1e3 * np.median(values):8.1f} ms a step,"
            f"{middle:6.3f} of the update alone ({low:.3f}-{high:.3f})"
        )


if __name__ == "__main__":
    use_huge_pages()  # as main.py does
    main()
