"""Divides volumes along their axis, and draws a random slice of every part."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from pix2rep_jax.errors import InputError

__all__ = ["draw_slices", "partition_volumes"]


def partition_volumes(
    slices: Mapping[str, np.ndarray], *, num_partitions: int
) -> dict[str, np.ndarray]:
    """Makes every volume a sample, divided into parts of its long axis.

    Args:
        slices: As `Method.make_samples` takes them.
        num_partitions: Number of parts of a volume, equal up to rounding. Volumes with
            fewer slices are left out.

    Returns:
        "image" `[volumes, most slices, height, width, c]`, zero after a volume's last
        slice; "first" and "count" `[volumes, num_partitions]` int32, the first slice of
        each part and its number of slices.

    Raises:
        InputError: If no volume has enough slices.
    """
    members = [
        np.flatnonzero(slices["volume"] == each) for each in np.unique(slices["volume"])
    ]
    members = [rows[np.argsort(slices["slice"][rows])] for rows in members]
    members = [rows for rows in members if len(rows) >= num_partitions]
    if not members:
        raise InputError(
            f"no volume has {num_partitions} slices, as many as it has partitions: "
            "lower chaitanya.num_partitions, or choose another pretrain.method"
        )
    shape = (len(members), max(map(len, members)), *slices["image"].shape[1:])
    image = np.zeros(shape, slices["image"].dtype)
    for target, rows in zip(image, members, strict=True):
        target[: len(rows)] = slices["image"][rows]
    number = np.array([len(rows) for rows in members])[:, None]
    # Of n slices, slice s lies in part floor(parts · s / n).
    bounds = -(-np.arange(num_partitions + 1) * number // num_partitions)
    bounds = bounds.astype(np.int32)
    return {"image": image, "first": bounds[:, :-1], "count": np.diff(bounds)}


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
