"""One program over all devices: batches are split, everything else is copied."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pix2rep_jax.errors import InputError

__all__ = ["batched", "check_batch_size", "make_mesh", "place", "replicated"]


def make_mesh() -> Mesh:
    """Returns the mesh of all devices of all processes, with one axis: "data"."""
    # Mesh rather than jax.make_mesh, whose axes are explicit by default in newer
    # versions, which gathers cannot be written for.
    return Mesh(np.asarray(jax.devices()), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def batched(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a batch: its first axis is split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def check_batch_size(batch_size: int, mesh: Mesh, *, name: str) -> None:
    """Checks that a batch splits evenly over the devices.

    Raises:
        InputError: If it does not.
    """
    if batch_size % mesh.size:
        raise InputError(
            f"{name} is {batch_size}, which {mesh.size} devices cannot share evenly: "
            f"make it a multiple of {mesh.size}"
        )


def place(tree: Any, mesh: Mesh) -> Any:
    """Copies a tree to every device of the mesh, whole."""
    return jax.device_put(tree, replicated(mesh))
