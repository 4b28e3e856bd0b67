"""Checksums of a checkpoint's parts.

TensorStore keeps no checksum of the arrays, and a changed bit in a compressed array may
decode to other numbers.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

__all__ = ["METRICS", "SUMS", "ChangedError", "check_parts", "read_sums", "sum_part"]

SUMS = "sums"
"""Name of the checksums inside a checkpoint."""

METRICS = "metrics"
"""Name of the scores among them, beside the parts of the state."""


class ChangedError(Exception):
    """A part of a checkpoint is not what was saved."""


def sum_part(part: Any) -> int:
    """Sums a part of a state.

    Args:
        part: A tree of arrays, or scores as JSON holds them. Neither the names nor the
            order of arrays counts: Orbax gives back named tuples as mappings.

    Returns:
        The sum of the arrays' CRC-32, in 32 bits.
    """
    return sum(map(_sum_array, jax.tree.leaves(part))) & 0xFFFFFFFF


def _sum_array(array: Any) -> int:
    if isinstance(array, jax.Array) and jax.dtypes.issubdtype(
        array.dtype, jax.dtypes.prng_key
    ):
        array = jax.random.key_data(array)
    array = np.ascontiguousarray(array)
    begun = zlib.crc32(f"{array.dtype} {array.size}".encode())
    return zlib.crc32(array.reshape(-1).view(np.uint8), begun)


def read_sums(checkpoint: Path) -> dict[str, int]:
    """Reads the sums of a checkpoint's folder; earlier versions wrote none.

    Raises:
        ChangedError: If they cannot be understood.
    """
    try:
        text = (checkpoint / SUMS / "metadata").read_bytes()
    except FileNotFoundError:
        return {}
    try:
        return {name: int(value) for name, value in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ChangedError(f"the sums of {checkpoint} are damaged") from error


def check_parts(checkpoint: Path, parts: Mapping[str, Any]) -> None:
    """Compares parts that were read with what was saved.

    Args:
        checkpoint: The folder of a step.
        parts: Some of the state's parts by name, or `METRICS`.

    Raises:
        ChangedError: If one is another one.
    """
    sums = read_sums(checkpoint)
    for name, part in parts.items():
        if name in sums and sums[name] != sum_part(part):
            raise ChangedError(f"{name} is not what was saved")
