"""From a network and slices to class probabilities, and back to the scan's grid."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from pix2rep_jax.data.dataset import Dataset, take_own
from pix2rep_jax.data.slices import resample
from pix2rep_jax.data.slices.grid import Grid
from pix2rep_jax.inference.tiles import predict_in_tiles
from pix2rep_jax.runtime.compiler import compiler_options
from pix2rep_jax.training.sharding import make_mesh, place

__all__ = [
    "BATCH_SIZE",
    "make_predict",
    "make_predictors",
    "predict_scan",
    "predict_slices",
    "predict_volume",
    "restore_scan",
    "restore_volume",
    "slices_at_once",
    "slices_kept",
]

BATCH_SIZE = 8
"""Slices that a network predicts at once, unless the caller says another number."""

_PIXELS_AT_ONCE = 2**18
"""Pixels that a network predicts at once: 16 slices of 128 x 128, or one of 512."""

_PIXELS_KEPT = 2**22
"""Pixels whose probabilities are in memory before they are taken to the scan."""

_LARGEST_MAP = 2**26
"""Values of a network's last feature map; larger slices are predicted in tiles."""

_USUAL_FEATURES = 64


@functools.cache
def make_predict(net: nn.Module) -> Callable[[Any, jax.Array], jax.Array]:
    """Compiles a network's class probabilities; BatchNorm uses its running averages.

    Args:
        net: Maps `[batch, height, width, channels]` to logits `[..., num_classes]`.

    Returns:
        `predict(variables, images) -> probabilities`, with variables
        `{"params": …, "batch_stats": …}` and images `[batch, height, width, c]`. It
        is compiled once per shape, so other weights need no further compilation. An
        equal network is given the same function.
    """

    def predict(variables: Any, images: jax.Array) -> jax.Array:
        logits: Any = net.apply(variables, images, train=False)
        return jax.nn.softmax(logits.astype(jnp.float32), axis=-1)

    return jax.jit(predict, compiler_options=compiler_options())


def make_predictors(
    net: nn.Module, networks: Mapping[str, Any], *, batch_size: int
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Makes a function from slices to probabilities for each set of variables.

    Args:
        net: Maps `[batch, height, width, channels]` to logits `[..., num_classes]`.
        networks: Variables by name; all of them share one compiled program.
        batch_size: Number of slices predicted at once.

    Returns:
        Functions by the same names. Each maps slices `[slices, height, width, c]` to
        probabilities `[slices, height, width, num_classes]`.
    """
    predict = make_predict(net)
    backbone = getattr(net, "backbone", None)
    features = getattr(backbone, "num_features", _USUAL_FEATURES)
    return {
        name: functools.partial(
            predict_slices,
            predict,
            _keep_on_device(variables),
            batch_size=batch_size,
            num_features=features,
        )
        for name, variables in networks.items()
    }


def _keep_on_device(variables: Any) -> Any:
    """Copies arrays of the host to a device once, in place of once for each batch.

    They are placed as in a training on one device, so the program is the same one.
    """
    if all(isinstance(each, jax.Array) for each in jax.tree.leaves(variables)):
        return variables
    return place(variables, make_mesh(jax.local_devices()[:1]))


def predict_slices(
    predict: Callable[[Any, Any], Any],
    variables: Any,
    images: np.ndarray,
    *,
    batch_size: int,
    num_features: int = _USUAL_FEATURES,
) -> np.ndarray:
    """Predicts any number of slices in batches of one size.

    A batch has fewer slices if they are large. A slice whose feature maps would not fit
    the memory is predicted in tiles that overlap.

    Args:
        predict: The function of `make_predict`, or another function of variables and
            images that treats each image on its own.
        variables: The first argument of `predict`.
        images: `[slices, height, width, channels]` in [0, 1], at least one slice.
        batch_size: Slices per batch. The last batch is filled up with zeros, so that no
            second program is compiled. The results for these zeros are dropped.
        num_features: Channels of the network's last feature map.

    Returns:
        The results of `predict` on the host, for example float32 probabilities
        `[slices, height, width, num_classes]`.

    Raises:
        ValueError: If there is no slice.
    """
    if not len(images):
        raise ValueError("there is no slice to predict")
    height, width = images.shape[1:3]
    if height * width > max(_PIXELS_AT_ONCE, _LARGEST_MAP // num_features):
        run = functools.partial(predict, variables)
        return np.stack(
            [predict_in_tiles(run, np.asarray(image, np.float32)) for image in images]
        )
    batch_size = slices_at_once(batch_size, images.shape[1:3])
    # While one batch is computed on the device, the batch before it is copied back.
    results, waiting = [], None
    for start in range(0, len(images), batch_size):
        batch = np.asarray(images[start : start + batch_size], np.float32)
        missing = batch_size - len(batch)
        batch = np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0)))
        ahead = predict(variables, batch)
        if waiting is not None:
            results.append(np.asarray(waiting))
        waiting = ahead
    results.append(np.asarray(waiting))
    return np.concatenate(results)[: len(images)]


def slices_at_once(batch_size: int, shape: Sequence[int]) -> int:
    """Limits a batch of slices `(height, width)` to what fits the memory."""
    return max(1, min(batch_size, _PIXELS_AT_ONCE // (shape[0] * shape[1])))


def slices_kept(batch_size: int, shape: Sequence[int]) -> int:
    """Says of how many slices probabilities are kept; these are full batches."""
    at_once = slices_at_once(batch_size, shape)
    return max(1, _PIXELS_KEPT // (shape[0] * shape[1]) // at_once) * at_once


def predict_scan(
    predict: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    *,
    batch_size: int,
    most: int | None = None,
) -> Iterator[np.ndarray]:
    """Predicts the slices of one scan, crops and whole slices alike.

    The probabilities of all slices of a large scan would fill the memory. So they are
    computed while the caller uses them.

    Args:
        predict: Maps slices `[slices, height, width, channels]` to probabilities
            `[slices, height, width, num_classes]`.
        images: `[slices, height, width, channels]`.
        batch_size: Slices that `predict` takes at once.
        most: Largest number of slices in a call of `predict`; None is what fits the
            memory.

    Yields:
        The probabilities `[height, width, num_classes]` of each slice.
    """
    number = slices_kept(batch_size, images.shape[1:3])
    for start in range(0, len(images), number):
        kept = images[start : start + number]
        part = min(most or number, number)
        for first in range(0, len(kept), part):
            yield from predict(kept[first : first + part])


def predict_volume(
    predict: Callable[[np.ndarray], np.ndarray], dataset: Dataset, volume: int
) -> tuple[np.ndarray, np.ndarray]:
    """Predicts a volume of a data set.

    Args:
        predict: Maps slices `[slices, height, width, channels]` to probabilities
            `[slices, height, width, num_classes]`.
        dataset: Holds the volume's slices.
        volume: Index into `dataset.volumes`.

    Returns:
        The probabilities of the volume's slices on the network's grid, in the data
        set's order. The classes `[rows, columns, slices]` (uint8) on the scan's grid.
    """
    record = dataset.volumes[volume]
    rows = np.flatnonzero(dataset.volume_index == volume)
    slices = dataset.slice_index[rows].tolist()
    images, _ = take_own(dataset, rows)
    predicted = predict_scan(predict, images, batch_size=BATCH_SIZE)
    # What is stored in half a float, because it is large, is kept in half a float.
    kept = images.dtype if images.dtype == np.float16 else None
    probabilities = np.stack([np.asarray(each, kept) for each in predicted])
    grids = [record.grid(index) for index in slices]
    return probabilities, restore_volume(
        probabilities, grids, slices, shape=record.shape
    )


def restore_scan(
    probabilities: Iterable[np.ndarray], grid: Grid, *, shape: Sequence[int]
) -> np.ndarray:
    """Takes the probabilities of all slices of a scan back to its own grid.

    Args:
        probabilities: `[height, width, num_classes]` for each slice, frame by frame; or
            the classes `[rows, columns]` of a slice that has been taken back.
        grid: The grid on which all of them were sampled.
        shape: `(rows, columns, slices)`, or with a fourth axis of frames.

    Returns:
        uint8 of that shape, the most probable class; background where the network saw
        nothing.
    """
    labels = np.zeros(shape, np.uint8, order="F")  # as NIfTI stores them
    slices = labels.reshape(*shape[:2], -1, order="F")
    for index, each in enumerate(probabilities):
        own = each if each.ndim == 2 else resample.restore_labels(each, grid)
        slices[..., index] = own
    return labels


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
        grids: The grid on which each of these slices was sampled.
        slice_indices: The index of each of these slices in the scan.
        shape: `(rows, columns, slices)` of the scan.

    Returns:
        `[rows, columns, slices]` uint8, the most probable class. Slices without
        probabilities are background, and so is everything outside the network's field
        of view.
    """
    labels = np.zeros(shape, np.uint8)
    slices = zip(probabilities, grids, slice_indices, strict=True)
    for slice_probabilities, grid, index in slices:
        labels[..., index] = resample.restore_labels(slice_probabilities, grid)
    return labels
