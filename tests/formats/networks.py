"""Tiny networks of random weights as runs' folders, and the U-Net in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from scipy.ndimage import correlate

from pix2rep_jax.methods.pretraining import pix2rep
from tests.inference.test_segmenter import CONFIG, save_checkpoint, write_run
from tests.support.run_folder import begin_run


def write_pretraining(folder, *, trained=("backbone", "projection"), **options):
    """Writes `<folder>/pretrain`, and returns its net and its variables."""
    config = ConfigDict(CONFIG)
    config.model.last_hidden = 3
    net = pix2rep.make_net(config)
    shapes = jax.eval_shape(
        lambda key: net.init(key, jnp.zeros((1, 16, 16, 1)), train=False),
        jax.random.key(0),
    )
    draw = np.random.default_rng(1)
    variables = jax.tree.map_with_path(
        lambda path, leaf: (
            draw.normal(0, 0.3, leaf.shape)
            if path[-1].key in ("kernel", "bias", "mean")
            else draw.uniform(0.5, 2, leaf.shape)
        ).astype(np.float32),
        shapes,
    )
    begin_run(folder / "pretrain", config, trained=trained, **options)
    save_checkpoint(folder / "pretrain", variables, trained=trained)
    return net, variables


def write_segmenter(folder):
    """Writes `<folder>/finetune`, and returns its net and its variables."""
    return write_run(folder / "finetune")


def numpy_unet(tensors, images):
    """Computes the U-Net from a state dict of PyTorch, one kernel after the other.

    Args:
        tensors: By the names of `examples/pytorch_unet.py`.
        images: `[batch, channels, height, width]`.
    """
    tensors = {name: np.asarray(x, np.float64) for name, x in tensors.items()}
    return np.stack([_one(tensors, np.asarray(x, np.float64)) for x in images])


def _one(tensors, x):
    levels = len([name for name in tensors if name.endswith(".3.weight")]) // 2 + 1
    skips = []
    for level in range(levels):
        if level:
            channels, height, width = x.shape
            x = x.reshape(channels, height // 2, 2, width // 2, 2).max((2, 4))
        x = _block(tensors, f"encode.{level}", x)
        skips.append(x)
    for level in reversed(range(levels - 1)):
        weight, bias = tensors[f"up.{level}.weight"], tensors[f"up.{level}.bias"]
        up = np.zeros((weight.shape[1], 2 * x.shape[1], 2 * x.shape[2]))
        for row, column in np.ndindex(2, 2):
            part = np.tensordot(weight[:, :, row, column], x, (0, 0))
            up[:, row::2, column::2] = part + bias[:, None, None]
        x = _block(tensors, f"decode.{level}", np.concatenate([skips[level], up]))
    if "head.weight" in tensors:
        weight = tensors["head.weight"][:, :, 0, 0]
        x = np.tensordot(weight, x, (1, 0)) + tensors["head.bias"][:, None, None]
    return x


def _block(tensors, name, x):
    for place in (0, 3):
        kernel = tensors[f"{name}.{place}.weight"]
        x = np.stack(
            [
                sum(
                    correlate(plane, k, mode="constant")
                    for plane, k in zip(x, kernels, strict=True)
                )
                for kernels in kernel
            ]
        )
        norm = {
            key: tensors[f"{name}.{place + 1}.{key}"][:, None, None]
            for key in ("weight", "bias", "running_mean", "running_var")
        }
        x = (x - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-5)
        x = np.maximum(x * norm["weight"] + norm["bias"], 0)
    return x
