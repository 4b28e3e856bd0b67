"""Divides volumes along their axis, and draws a random slice of every part."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pix2rep_jax.data.slices import stored_slices
from pix2rep_jax.errors import InputError

__all__ = ["PaddedVolumes", "draw_slices", "partition_volumes"]


class PaddedVolumes:
    """Volumes as an array, of which those are made that are taken.

    A volume is zero after its last slice.

    Attributes:
        shape: `(volumes, most slices, height, width, channels)`.
        dtype: The type of the images.
        nbytes: The bytes that all volumes would take in memory.
    """

    def __init__(self, images: np.ndarray, members: Sequence[np.ndarray]) -> None:
        """Names the slices of each volume.

        Args:
            images: `[slices, height, width, channels]`, an array or `StoredRows`.
            members: For each volume the indices of its slices, in their order.
        """
        self._images, self._members = images, members
        self.shape = (len(members), max(map(len, members)), *images.shape[1:])
        self.dtype = images.dtype
        self.nbytes = math.prod(self.shape) * images.dtype.itemsize

    def __len__(self) -> int:
        return len(self._members)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)

    def __getitem__(self, volumes: Any) -> np.ndarray:
        """Takes `[volumes]` indices, or a slice of them."""
        chosen = np.arange(len(self))[volumes]
        taken = np.zeros((len(chosen), *self.shape[1:]), self.dtype)
        for target, volume in zip(taken, chosen.tolist(), strict=True):
            rows = self._members[volume]
            target[: len(rows)] = self._images[rows]
        return taken


def partition_volumes(
    slices: Mapping[str, np.ndarray], *, num_partitions: int
) -> dict[str, Any]:
    """Makes every volume a sample, divided into parts of its long axis.

    Args:
        slices: As `Method.make_samples` takes them.
        num_partitions: Number of parts of a volume, equal up to rounding. Volumes with
            fewer slices are left out.

    Returns:
        "image" `[volumes, most slices, height, width, c]`, zero after a volume's last
        slice, `PaddedVolumes` if it would fill the memory; "first" and "count"
        `[volumes, num_partitions]` int32, the first slice of each part and its number
        of slices.

    Raises:
        InputError: If no volume has enough slices.
    """
    order = np.lexsort((slices["slice"], slices["volume"]))
    ends = np.flatnonzero(np.diff(slices["volume"][order])) + 1
    members = np.split(order, ends)
    members = [rows for rows in members if len(rows) >= num_partitions]
    if not members:
        raise InputError(
            f"no volume has {num_partitions} slices, as many as it has partitions: "
            "lower --config.chaitanya.num_partitions, or choose another "
            "--config.pretrain.method"
        )
    image = PaddedVolumes(slices["image"], members)
    number = np.array([len(rows) for rows in members])[:, None]
    # Of n slices, slice s lies in part floor(parts · s / n).
    bounds = -(-np.arange(num_partitions + 1) * number // num_partitions)
    bounds = bounds.astype(np.int32)
    return {
        "image": image if image.nbytes > stored_slices.STORED_BYTES else image[:],
        "first": bounds[:, :-1],
        "count": np.diff(bounds),
    }


def draw_slices(key: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
    """Draws a slice of every partition of every volume of a batch.

    Args:
        key: One random key.
        batch: Samples that `partition_volumes` makes.

    Returns:
        `[volumes x partitions, height, width, channels]`, ordered by volume.
    """
    first, image = batch["first"], batch["image"]
    index = jax.random.randint(key, first.shape, first, first + batch["count"])
    chosen = image[jnp.arange(image.shape[0])[:, None], index]
    return chosen.reshape(-1, *image.shape[2:])
