"""From a trained network and slices to class probabilities."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from pix2rep_jax.data import resample
from pix2rep_jax.data.dataset import Dataset
from pix2rep_jax.data.resample import Grid
from pix2rep_jax.runtime.compiler import compiler_options

__all__ = [
    "make_predict",
    "make_predictors",
    "predict_slices",
    "predict_volume",
    "restore_volume",
]


def make_predict(net: nn.Module) -> Callable[[Any, jax.Array], jax.Array]:
    """Compiles a network's class probabilities; BatchNorm uses its averages.

    Args:
        net: Maps `[batch, height, width, 1]` to logits `[..., num_classes]`.

    Returns:
        `predict(variables, images) -> probabilities`, with variables
        `{"params": …, "batch_stats": …}` and images `[batch, height, width, 1]`. It
        is compiled once a shape, so evaluating other weights costs nothing.
    """

    def predict(variables: Any, images: jax.Array) -> jax.Array:
        logits = net.apply(variables, images, train=False)
        return jax.nn.softmax(logits.astype(jnp.float32), axis=-1)

    return jax.jit(predict, compiler_options=compiler_options())


def make_predictors(
    net: nn.Module, networks: Mapping[str, Any], *, batch_size: int
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Makes a function from slices to probabilities of each of a run's networks.

    Args:
        net: As for `make_predict`; one program serves them all.
        networks: Variables by name.
        batch_size: Slices predicted at once.

    Returns:
        By name, what maps slices `[slices, height, width]` to probabilities
        `[slices, height, width, num_classes]`.
    """
    predict = make_predict(net)
    return {
        name: functools.partial(
            predict_slices, predict, variables, batch_size=batch_size
        )
        for name, variables in networks.items()
    }


def predict_slices(
    predict: Callable[[Any, np.ndarray], Any],
    variables: Any,
    images: np.ndarray,
    *,
    batch_size: int,
) -> np.ndarray:
    """Predicts any number of slices in batches of one size.

    Args:
        predict: From `make_predict`, or another function of variables and images
            that treats each image by itself.
        variables: The network's.
        images: `[slices, height, width]` in [0, 1], at least one.
        batch_size: Slices a batch. The last one is filled up with zeros, so that no
            second program is compiled; what it gives for them is dropped.

    Returns:
        What `predict` gives, such as `[slices, height, width, num_classes]` float32
        probabilities, on the host.

    Raises:
        ValueError: If there is no slice.
    """
    if not len(images):
        raise ValueError("there is no slice to predict")
    images = np.asarray(images, np.float32)[..., None]
    missing = -len(images) % batch_size
    padded = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
    # One batch waits on the device while the one before it is copied back.
    results, waiting = [], None
    for start in range(0, len(padded), batch_size):
        ahead = predict(variables, padded[start : start + batch_size])
        if waiting is not None:
            results.append(np.asarray(waiting))
        waiting = ahead
    results.append(np.asarray(waiting))
    return np.concatenate(results)[: len(images)]


def predict_volume(
    predict: Callable[[np.ndarray], np.ndarray], dataset: Dataset, volume: int
) -> tuple[np.ndarray, np.ndarray]:
    """Predicts a volume of a data set.

    Args:
        predict: Maps slices `[slices, height, width]` to probabilities
            `[slices, height, width, num_classes]`.
        dataset: Holds the volume's slices.
        volume: Index into `dataset.volumes`.

    Returns:
        The probabilities of its slices on the network's grid, in the data set's order,
        and `[rows, columns, slices]` uint8 classes on the scan's own.
    """
    record = dataset.volumes[volume]
    rows = np.flatnonzero(dataset.volume_index == volume)
    slices = dataset.slice_index[rows].tolist()
    probabilities = predict(dataset.images[rows])
    grids = [record.grid(index) for index in slices]
    return probabilities, restore_volume(
        probabilities, grids, slices, shape=record.shape
    )


def restore_volume(
    probabilities: np.ndarray,
    grids: Sequence[Grid],
    slice_indices: Sequence[int],
    *,
    shape: tuple[int, int, int],
) -> np.ndarray:
    """Takes a volume's probabilities back to the scan's own grid.

    Args:
        probabilities: `[slices, height, width, num_classes]` on the network's grid.
        grids: Where each of these slices was cropped and resized.
        slice_indices: Which slice of the scan each of them is.
        shape: `(rows, columns, slices)` of the scan.

    Returns:
        `[rows, columns, slices]` uint8, the likeliest class; background in slices
        without probabilities and beyond the network's field of view.
    """
    labels = np.zeros(shape, np.uint8)
    for own, grid, index in zip(probabilities, grids, slice_indices, strict=True):
        labels[..., index] = resample.restore_labels(own, grid)
    return labels
