"""One program over all devices: batches are split, everything else is copied."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pix2rep_jax.errors import InputError
from pix2rep_jax.wording import count

__all__ = ["batched", "check_batch_size", "make_mesh", "place", "replicated"]


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Returns a mesh with one axis: "data".

    Args:
        devices: Those of the mesh; None is all devices of all processes.
    """
    # jax.make_mesh of newer versions makes explicit axes, and gathers do not work
    # with those.
    chosen = jax.devices() if devices is None else devices
    return Mesh(np.asarray(chosen), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def batched(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a batch, whose first axis is split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def check_batch_size(batch_size: int, mesh: Mesh, *, name: str) -> None:
    """Checks that a batch splits evenly over the devices.

    Args:
        batch_size: Samples of the global batch.
        mesh: The devices.
        name: The setting that holds the size, as a user types it.

    Raises:
        InputError: If the batch does not split evenly, or is empty.
    """
    if batch_size < 1 or batch_size % mesh.size:
        raise InputError(
            f"{name} is {batch_size}, which {count(mesh.size, 'device')} cannot share "
            f"evenly: set it to a multiple of {mesh.size}, above 0"
        )


def place(tree: Any, mesh: Mesh) -> Any:
    """Copies a whole tree to every device of the mesh.

    With several processes, each must pass the same tree.
    """
    whole = replicated(mesh)
    if jax.process_count() == 1:
        return jax.device_put(tree, whole)

    def spread(leaf: Any) -> jax.Array:
        # Typed keys cannot be spread over processes, but their bits can.
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            bits = spread(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(bits, impl=jax.random.key_impl(leaf))
        local = np.asarray(leaf)
        return jax.make_array_from_callback(local.shape, whole, lambda i: local[i])

    return jax.tree.map(spread, tree)
