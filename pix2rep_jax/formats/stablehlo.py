"""--format stablehlo: the compiled form of JAX, which runs without this package."""

from pathlib import Path

import jax
import jax.numpy as jnp
from jax import export

from pix2rep_jax.formats.network import Network
from pix2rep_jax.runtime.atomic_file import replacing

__all__ = ["write_stablehlo"]

PLATFORMS = ("cpu", "cuda", "tpu")
"""Devices that one file is for."""


def write_stablehlo(path: Path, network: Network) -> None:
    """Writes a function of images, for any batch and any sides that can be halved.

    `jax.export.deserialize(file.read()).call(image)` runs it. It multiplies in float32
    on every device, also where JAX would round to fewer bits. JAX needs the package
    flatbuffers for this.

    Args:
        path: The file.
        network: From `load_network`.
    """
    multiple = network.side_multiple
    sides = f"batch, {multiple}*rows, {multiple}*columns, {network.channels}"
    image = jax.ShapeDtypeStruct(export.symbolic_shape(sides), jnp.float32)
    with jax.default_matmul_precision("highest"):
        exported = export.export(jax.jit(network.make_apply()), platforms=PLATFORMS)(
            image
        )
    with replacing(path) as partial:
        partial.write_bytes(exported.serialize())
