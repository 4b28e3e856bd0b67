"""Compares the steps of training with a PyTorch form of them: time, ratio, spread.

pip install -r requirements-bench.txt
python -m benchmarks.against_pytorch [--case small] [--loss info_nce] [--rounds 8]

Before anything is timed, both must compute the same loss from the same parameters.

Pretraining ("info_nce", "cross_correlation"): both get the same images, φ and points.
What is timed is one whole update: the warp of the second view, the network on both
views, the loss, its gradient and Adam. "dense" is our step with the last convolution
everywhere (`model.sparse_last_block=False`).

Fine-tuning ("finetune"): both get the same labelled images. An update draws and applies
the augmentation, too. The losses are compared without it.

All take turns in one process, a few steps each; the ratios are formed in every round.
Both have their memory in huge pages; with GLIBC_TUNABLES=glibc.malloc.hugetlb=0 neither
has.
"""

import argparse
import functools
import time
from collections.abc import Callable

import jax
import numpy as np
import optax
import torch

from benchmarks import pytorch_augment, pytorch_step
from benchmarks.step import get_config
from pix2rep_jax.losses.segmentation import loss_options
from pix2rep_jax.methods.downstream import supervised
from pix2rep_jax.methods.downstream.augmentation import finetuning_options
from pix2rep_jax.methods.pretraining import pix2rep
from pix2rep_jax.methods.pretraining.pixel_pairs import choose_points
from pix2rep_jax.models.build import initialise, make_segmentation_net
from pix2rep_jax.runtime.compiler import compiler_options
from pix2rep_jax.runtime.huge_pages import use_huge_pages
from pix2rep_jax.training.state import ModelState
from pix2rep_jax.views.affine import (
    centred_positions,
    inside,
    sample_pull_matrix,
    to_array_positions,
    whole_image,
)
from pix2rep_jax.views.sampling import Views
from pix2rep_jax.views.warp import warp
from pix2rep_jax.wording import count

CASES = ("small", "middle")
COLUMNS = ("ours", "dense", "PyTorch")
LOSSES = ("info_nce", "cross_correlation", "finetune")


def get_case(case: str, loss: str):
    """Returns a row's configuration: batch 8; Pix2Rep-v2 takes all pixels."""
    config = get_config(case, "info_nce" if loss == "finetune" else loss)
    config.pretrain.batch_size = config.finetune.batch_size = 8
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
    points, valid = choose_points(keys[3], valid, config.pretrain.num_points)
    return image_a, image_b, matrix, points, valid


def sources_of(matrix, size: int):
    """Finds where every pixel is read from: `[batch, size, size, 2]`."""
    return jax.vmap(
        lambda one: to_array_positions(
            one, centred_positions(size, size), height=size, width=size
        )
    )(matrix)


def make_jax(config, inputs, *, sparse: bool):
    """Makes our step of pretraining, and the parameters before the first one."""
    net = pix2rep.make_net(config)
    params, batch_stats = initialise(net, jax.random.key(0), size=config.data.size)
    recipe = config.pretrain
    compare = pix2rep.make_comparison(
        net,
        loss=recipe.loss,
        temperature=recipe.temperature,
        off_diagonal_weight=recipe.off_diagonal_weight,
        joint_batch_norm=recipe.joint_batch_norm,
        sparse_last_block=sparse,
    )

    def value_of(params, batch_stats, key, image_a, image_b, matrix, points, valid):
        del key
        size = image_a.shape[1]
        sources = sources_of(matrix, size)
        moved = jax.vmap(warp)(image_b, matrix)
        seen = inside(sources, whole_image(size, size))
        views = Views(image_a, moved, sources, seen)
        value, (batch_stats, _) = compare(params, batch_stats, views, points, valid)
        return value, batch_stats

    rate = recipe.learning_rate
    return make_update(value_of, params, batch_stats, inputs, learning_rate=rate)


def make_update(value_of, params, batch_stats, inputs, *, learning_rate: float):
    """Makes a step of Adam on fixed inputs, and returns the parameters before it."""
    tx = optax.adam(learning_rate)

    def update(state, *inputs):
        params, batch_stats, opt_state, key = state
        key, used = jax.random.split(key)
        (value, batch_stats), grads = jax.value_and_grad(value_of, has_aux=True)(
            params, batch_stats, used, *inputs
        )
        updates, opt_state = tx.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        return (params, batch_stats, opt_state, key), value

    start = jax.tree.map(np.asarray, params)
    update = jax.jit(update, donate_argnums=0, compiler_options=compiler_options())
    state = [(params, batch_stats, tx.init(params), jax.random.key(3))]

    def step():
        state[0], value = update(state[0], *inputs)
        return jax.block_until_ready(value)

    return step, start


def make_jax_finetuning(config, inputs, *, augmented: bool):
    """Makes our step of fine-tuning, and the parameters before the first one."""
    net = make_segmentation_net(config)
    params, batch_stats = initialise(net, jax.random.key(0), size=config.data.size)
    options = finetuning_options(config.augment)
    loss_fn = supervised.make_loss(
        net,
        **loss_options(config.segmentation),
        **(options if augmented else {"spatial": None, "intensity": {}}),
        batch_norm="train",
    )

    def value_of(params, batch_stats, key, image, label):
        batch = {"image": image, "label": label}
        value, (model_state, _) = loss_fn(
            params, ModelState(batch_stats, {}), batch, key
        )
        return value, model_state.batch_stats

    rate = config.finetune.scratch_learning_rate
    return make_update(value_of, params, batch_stats, inputs, learning_rate=rate)


def make_labelled(config):
    """Draws images and labels."""
    shape = (config.finetune.batch_size, config.data.size, config.data.size)
    image_key, label_key = jax.random.split(jax.random.key(1))
    label = jax.random.randint(label_key, shape, 0, len(config.data.classes))
    return jax.random.uniform(image_key, (*shape, 1)), label


def make_pytorch_finetuning(config, inputs, params, *, augmented: bool, compiled: bool):
    """Makes PyTorch's step on the same inputs, from the same parameters."""
    net = make_pytorch_net(config, params, head=(len(config.data.classes),))
    image, label = (torch.tensor(np.asarray(x), device=device()) for x in inputs)
    spatial, intensity = config.augment.spatial, config.augment.intensity
    augment = pytorch_augment.make_augment(spatial.to_dict(), intensity.to_dict())
    loss_fn = pytorch_step.make_finetuning_loss(
        torch.compile(net) if compiled else net,
        augment if augmented else lambda *x: x,
    )
    arguments = image.permute(0, 3, 1, 2), label.long()
    rate = config.finetune.scratch_learning_rate
    return make_pytorch_step(config, net, loss_fn, arguments, learning_rate=rate)


def device() -> str:
    """Returns where PyTorch computes."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def make_pytorch_step(config, net, loss_fn, arguments, *, learning_rate: float):
    """Makes PyTorch's step on fixed arguments; it returns when its result is there."""
    update = pytorch_step.make_step(
        net,
        loss_fn,
        learning_rate=learning_rate,
        autocast=config.get("pytorch_autocast", False)
        or (device() == "cuda" and config.model.dtype == "bfloat16"),
    )

    def step():
        value = update(*arguments)
        if device() == "cuda":
            torch.cuda.synchronize()
        return value

    return step


def make_pytorch_net(config, params, *, head: tuple[int, ...]):
    """Makes PyTorch's network with our parameters."""
    torch.backends.cudnn.benchmark = True  # it may choose its algorithms, as XLA does
    model = config.model
    net = pytorch_step.make_net(
        tuple(model.channels),
        model.num_features,
        model.last_hidden or model.num_features,
        head,
    )
    pytorch_step.load_flax(net, params)
    return net.to(device(), memory_format=torch.channels_last)


def make_pytorch(config, inputs, params, *, compiled: bool):
    """Makes PyTorch's step on the same inputs, from the same parameters."""
    recipe = config.pretrain
    head = (*config.projection.hidden, config.projection.features)
    net = make_pytorch_net(config, params, head=head)
    image_a, image_b, matrix, points, valid = (
        None if x is None else torch.tensor(np.asarray(x), device=device())
        for x in inputs
    )
    images = (x.permute(0, 3, 1, 2) for x in (image_a, image_b))
    loss_fn = pytorch_step.make_loss(
        torch.compile(net) if compiled else net,
        loss=recipe.loss,
        temperature=recipe.temperature,
        off_diagonal_weight=recipe.off_diagonal_weight,
        joint_batch_norm=recipe.joint_batch_norm,
    )
    points = None if points is None else points.long()
    arguments = (*images, matrix, points, valid)
    rate = recipe.learning_rate
    return make_pytorch_step(config, net, loss_fn, arguments, learning_rate=rate)


def seconds(step: Callable, repeats: int) -> float:
    """Returns the time of the fastest step, after one that is not counted.

    Other work on the machine slows a step of PyTorch up to tenfold, because its threads
    wait for each other at each operation. A median would flatter ours.
    """
    step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times)


def make_steps(config, loss: str, *, compiled: bool) -> dict[str, Callable]:
    """Makes all steps of a row, after both sides have computed the same loss."""
    steps = {}
    if loss == "finetune":
        inputs = make_labelled(config)
        for augmented in (False, True):
            steps["ours"], params = make_jax_finetuning(
                config, inputs, augmented=augmented
            )
            steps["PyTorch"] = make_pytorch_finetuning(
                config, inputs, params, augmented=augmented, compiled=compiled
            )
            if not augmented:
                check_losses(config, steps)
        return steps
    inputs = make_inputs(config)
    pixels = config.data.size**2
    if pix2rep.is_sparse("auto", config.pretrain.num_points, num_pixels=pixels):
        steps["ours"], _ = make_jax(config, inputs, sparse=True)
    steps["dense"], params = make_jax(config, inputs, sparse=False)
    steps["PyTorch"] = make_pytorch(config, inputs, params, compiled=compiled)
    check_losses(config, steps)
    return steps


def check_losses(config, steps: dict[str, Callable]) -> None:
    """Raises an error if the steps do not compute the same loss."""
    losses = {name: float(step()) for name, step in steps.items()}
    exact = config.model.dtype == "float32" and not config.get("pytorch_autocast")
    tolerance = 2e-3 if exact else 5e-2
    if not np.allclose(list(losses.values()), losses["PyTorch"], rtol=tolerance):
        raise RuntimeError(f"the losses differ: {losses}")


def measure(
    case: str,
    loss: str,
    *,
    rounds: int,
    repeats: int,
    compiled: bool,
    autocast: bool = False,
) -> str:
    """Times the steps of a row in turn, and writes it."""
    config = get_case(case, loss)
    with config.unlocked():
        config.pytorch_autocast = autocast  # of PyTorch's side alone
    steps = make_steps(config, loss, compiled=compiled)
    times = [
        {name: seconds(step, repeats) for name, step in steps.items()}
        for _ in range(rounds)
    ]
    middle = {name: 1e3 * np.median([x[name] for x in times]) for name in steps}
    ours = next(iter(steps))

    def ratio(other: str) -> str:
        if other not in steps or other == ours:
            return f"{'':>21}"
        ratios = [x[ours] / x[other] for x in times]
        low, median, high = np.percentile(ratios, [25, 50, 75])
        return f"{median:7.2f} ({low:.2f}-{high:.2f})"

    cells = [f"{middle[x]:9.0f}" if x in middle else f"{'':9}" for x in COLUMNS[1:]]
    return (
        f"{case:8}{loss:19}{middle[ours]:9.0f}{''.join(cells)}"
        f"{ratio('dense')}{ratio('PyTorch')}"
    )


def main() -> None:
    """Runs the rows and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--case", choices=(*CASES, "quick", "paper"), action="append")
    parser.add_argument("--loss", choices=LOSSES, action="append")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=10, help="steps a round")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument(
        "--autocast", action="store_true", help="PyTorch in bfloat16 on a CPU too"
    )
    arguments = parser.parse_args()
    print(
        f"jax {jax.__version__}, PyTorch {torch.__version__}, "
        f"{jax.devices()[0].device_kind} "
        f"({count(torch.get_num_threads(), 'thread')} for PyTorch); ms per step, "
        "ratios with quartiles over the rounds"
    )
    print(
        f"{'case':8}{'loss':19}"
        + "".join(f"{name:>9}" for name in COLUMNS)
        + f"{'ours / dense':>21}{'ours / PyTorch':>21}"
    )
    for case in arguments.case or CASES:
        for loss in arguments.loss or LOSSES:
            row = measure(
                case,
                loss,
                rounds=arguments.rounds,
                repeats=arguments.repeats,
                compiled=arguments.compile,
                autocast=arguments.autocast,
            )
            print(row, flush=True)


if __name__ == "__main__":
    use_huge_pages()  # as main.py does; PyTorch gains from it more than we do
    main()
