"""Compares the pretraining step with a PyTorch form of it: time, ratio and spread.

pip install -r requirements-bench.txt
python -m benchmarks.against_pytorch [--case small] [--loss info_nce] [--rounds 8]

Both get the same images, φ and points, and the same parameters; before anything is
timed, both must compute the same loss. What is timed is one whole update: the warp of
the second view, the network on both views, the loss, its gradient and Adam. The two
take turns in one process, a few steps each; the ratio is formed in every round. Both
have their memory in huge pages; with GLIBC_TUNABLES=glibc.malloc.hugetlb=0 neither has.
"""

import argparse
import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from benchmarks import pytorch_step
from benchmarks.step import get_config
from pix2rep_jax.methods.pretraining import pix2rep
from pix2rep_jax.models.build import initialise
from pix2rep_jax.runtime.compiler import compiler_options
from pix2rep_jax.runtime.huge_pages import use_huge_pages
from pix2rep_jax.views.affine import (
    centred_positions,
    inside,
    sample_pull_matrix,
    to_array_positions,
    whole_image,
)
from pix2rep_jax.views.sampling import Views
from pix2rep_jax.views.warp import warp

CASES = ("small", "middle")
LOSSES = ("info_nce", "cross_correlation")


def get_case(case: str, loss: str):
    """Returns a row's configuration: batch 8; Pix2Rep-v2 takes all pixels."""
    config = get_config(case, loss)
    config.pretrain.batch_size = 8
    if loss == "cross_correlation":
        config.pretrain.num_points = "all"
    return config


def make_inputs(config):
    """Draws images of both views, φ, its valid pixels and the points to compare."""
    size, batch = config.data.size, config.pretrain.batch_size
    keys = jax.random.split(jax.random.key(1), 4)
    image_a, image_b = (
        jax.random.uniform(key, (batch, size, size, 1)) for key in keys[:2]
    )
    options = config.spatial.to_dict().items()
    spatial = {k: v for k, v in options if not k.startswith("elastic_")}  # affine alone
    draw = functools.partial(sample_pull_matrix, height=size, width=size, **spatial)
    matrix = jax.vmap(draw)(jax.random.split(keys[2], batch))
    valid = inside(sources_of(matrix, size), whole_image(size, size))
    points, valid = pix2rep.choose_points(keys[3], valid, config.pretrain.num_points)
    return image_a, image_b, matrix, points, valid


def sources_of(matrix, size: int):
    """Finds where every pixel is read from: `[batch, size, size, 2]`."""
    return jax.vmap(
        lambda one: to_array_positions(
            one, centred_positions(size, size), height=size, width=size
        )
    )(matrix)


def make_jax(config, inputs):
    """Makes our step and the value of its loss before the first one."""
    net = pix2rep.make_net(config)
    params, batch_stats = initialise(net, jax.random.key(0), size=config.data.size)
    recipe = config.pretrain
    compare = pix2rep.make_comparison(
        net,
        loss=recipe.loss,
        temperature=recipe.temperature,
        off_diagonal_weight=recipe.off_diagonal_weight,
    )
    tx = optax.adam(recipe.learning_rate)

    def loss_fn(params, batch_stats, image_a, image_b, matrix, points, valid):
        size = image_a.shape[1]
        sources = sources_of(matrix, size)
        moved = jax.vmap(warp)(image_b, matrix)
        seen = inside(sources, whole_image(size, size))
        views = Views(image_a, moved, sources, seen)
        return compare(params, batch_stats, views, points, valid)

    def update(state, *inputs):
        params, batch_stats, opt_state = state
        (value, (batch_stats, _)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            params, batch_stats, *inputs
        )
        updates, opt_state = tx.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), batch_stats, opt_state), value

    start = jax.tree.map(np.asarray, params)
    update = jax.jit(update, donate_argnums=0, compiler_options=compiler_options())
    state = [(params, batch_stats, tx.init(params))]

    def step():
        state[0], value = update(state[0], *inputs)
        return jax.block_until_ready(value)

    return step, start


def make_pytorch(config, inputs, params, *, compiled: bool):
    """Makes PyTorch's step on the same inputs, from the same parameters."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True  # it may choose its algorithms, as XLA does
    model, recipe = config.model, config.pretrain
    (hidden,) = config.projection.hidden
    net = pytorch_step.Pix2RepNet(
        tuple(model.channels),
        model.num_features,
        model.last_hidden or model.num_features,
        hidden,
        config.projection.features,
    )
    pytorch_step.load_flax(net, params)
    net = net.to(device, memory_format=torch.channels_last)
    image_a, image_b, matrix, points, valid = (
        None if x is None else torch.tensor(np.asarray(x), device=device)
        for x in inputs
    )
    images = (x.permute(0, 3, 1, 2) for x in (image_a, image_b))
    loss_fn = pytorch_step.make_loss(
        torch.compile(net) if compiled else net,
        loss=recipe.loss,
        temperature=recipe.temperature,
        off_diagonal_weight=recipe.off_diagonal_weight,
    )
    update = pytorch_step.make_step(
        net,
        loss_fn,
        learning_rate=recipe.learning_rate,
        autocast=device == "cuda" and model.dtype == "bfloat16",
    )
    points = None if points is None else points.long()
    arguments = (*images, matrix, points, valid)

    def step():
        value = update(*arguments)
        if device == "cuda":
            torch.cuda.synchronize()
        return value

    return step


def seconds(step: Callable, repeats: int) -> float:
    """Returns the median time of a step, after one that is not counted."""
    step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def measure(case: str, loss: str, *, rounds: int, repeats: int, compiled: bool) -> str:
    """Checks that both compute the same, times them in turn, and writes a row."""
    config = get_case(case, loss)
    inputs = make_inputs(config)
    ours, params = make_jax(config, inputs)
    theirs = make_pytorch(config, inputs, params, compiled=compiled)
    losses = float(ours()), float(theirs())
    tolerance = 2e-3 if config.model.dtype == "float32" else 5e-2
    if not np.isclose(*losses, rtol=tolerance):
        raise RuntimeError(f"{case}, {loss}: the losses differ, {losses}")
    pairs = int(jnp.sum(inputs[-1]))
    times = np.array(
        [(seconds(ours, repeats), seconds(theirs, repeats)) for _ in range(rounds)]
    )
    ratios = times[:, 0] / times[:, 1]
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    a, b = np.median(times, axis=0) * 1e3
    return (
        f"{case:8}{loss:19}{pairs:8}{losses[0]:10.4f}{losses[1]:10.4f}{a:9.0f}{b:9.0f}"
        f"{middle:8.2f}  ({low:.2f}-{high:.2f})"
    )


def main() -> None:
    """Runs the rows and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--case", choices=(*CASES, "quick", "paper"), action="append")
    parser.add_argument("--loss", choices=LOSSES, action="append")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3, help="steps a round")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    arguments = parser.parse_args()
    print(
        f"jax {jax.__version__}, PyTorch {torch.__version__}, "
        f"{jax.devices()[0].device_kind} ({torch.get_num_threads()} threads for "
        "PyTorch); ms a step, "
        "ratio ours / PyTorch's with quartiles over the rounds"
    )
    print(
        f"{'case':8}{'loss':19}{'pairs':>8}{'our loss':>10}{'theirs':>10}{'ours':>9}"
        f"{'PyTorch':>9}{'ratio':>8}"
    )
    for case in arguments.case or CASES:
        for loss in arguments.loss or LOSSES:
            row = measure(
                case,
                loss,
                rounds=arguments.rounds,
                repeats=arguments.repeats,
                compiled=arguments.compile,
            )
            print(row, flush=True)


if __name__ == "__main__":
    use_huge_pages()  # as main.py does; PyTorch gains from it more than we do
    main()
