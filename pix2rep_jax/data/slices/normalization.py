"""How a scan's intensities become 0 to 1: by its own percentiles, or by one window."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pix2rep_jax.data.slices.padding import stands_apart
from pix2rep_jax.data.slices.resample import percentile_range
from pix2rep_jax.errors import InputError

__all__ = ["NORMALIZATIONS", "Normalization", "intensity_range", "read_normalization"]

NORMALIZATIONS = ("auto", "percentiles", "window")
"""What `data.normalization` may be; a plan replaces the first by one of the others."""


_LEAST_SHARE = 0.01
"""Intensities that fill less of a window leave two or three of 256 grey levels."""


class Normalization(NamedTuple):
    """Which intensities become 0 and 1.

    Attributes:
        percentiles: Percentiles of each scan's own intensities.
        window: The lower and the higher intensity for all scans; () for percentiles.
    """

    percentiles: tuple[float, ...] = (1.0, 99.0)
    window: tuple[float, ...] = ()


def read_normalization(data: Mapping[str, Any]) -> Normalization:
    """Reads the settings of a `data` section; runs of earlier versions have fewer.

    Raises:
        InputError: If `data.normalization` is "window" and `data.window` is not two
            ascending numbers.
    """
    percentiles = tuple(data["percentiles"])
    if data.get("normalization", "percentiles") != "window":
        return Normalization(percentiles)
    window = tuple(map(float, data["window"]))
    if len(window) != 2 or not window[0] < window[1]:
        raise InputError(
            f"data.window={window} must be two intensities, the lower one first, such "
            "as --config.data.window=-160,240; or add "
            "--config.data.normalization=percentiles"
        )
    return Normalization(percentiles, window)


def intensity_range(
    array: np.ndarray,
    how: Normalization,
    *,
    name: str = "the scan",
    trained: bool = False,
) -> tuple[float, float]:
    """Finds the intensities of a volume that become 0 and 1.

    Padding that stands apart from the other values takes no part in percentiles.

    Args:
        array: `[..., rows, columns]`, the volume.
        how: Percentiles or a window.
        name: Name of the volume in the error message.
        trained: Whether a network has been trained with the window, which then cannot
            change any more.

    Returns:
        The lower and the higher intensity.

    Raises:
        InputError: If the volume shows nothing between them, or next to nothing.
    """
    if not how.window:
        inside = array
        if (padding := stands_apart(array)) is not None:
            inside = array[array != padding]
        return percentile_range(inside, how.percentiles, name=name)
    low, high = how.window
    least, most = float(array.min()), float(array.max())
    if min(most, high) - max(least, low) < _LEAST_SHARE * (high - low):
        has = "no intensity"
        if least < high and most > low:
            has = f"intensities from {least:g} to {most:g}, next to none"
        if trained:
            raise InputError(
                f"{name} has {has} from {low:g} to {high:g}, and the network was "
                "trained on these alone, as on values of a CT (data.window): use a "
                "network of such scans, or convert the scan to its unit"
            )
        raise InputError(
            f"{name} has {has} within data.window={low:g},{high:g}: convert it to the "
            "unit of the other scans, or add "
            "--config.data.normalization=percentiles"
        )
    return low, high
