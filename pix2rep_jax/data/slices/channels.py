"""Channels of a scan: each is normalised by itself, and all share one grid."""

from collections.abc import Sequence

import numpy as np

from pix2rep_jax.data.slices.grid import Grid
from pix2rep_jax.data.slices.normalization import Normalization, intensity_range
from pix2rep_jax.data.slices.resample import resample_image
from pix2rep_jax.errors import InputError

__all__ = ["channel_ranges", "prepare_channels", "prepare_frames"]


def channel_ranges(
    image: np.ndarray,
    how: Normalization,
    *,
    name: str = "the scan",
    trained: bool = False,
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[str, ...]]:
    """Finds the intensities of each channel that become 0 and 1.

    Args:
        image: `[..., rows, columns, channels]`.
        how: Percentiles of a channel's intensities, or one window for all channels.
        name: Name of the scan in the error message.
        trained: As for `intensity_range`.

    Returns:
        The lower and the higher intensities, and keys of notes. A channel that shows
        nothing beside others becomes 0 everywhere.

    Raises:
        InputError: If no channel shows anything.
    """
    number, ranges, refused = image.shape[-1], [], []
    for channel in range(number):
        try:
            which = name if number == 1 else f"channel {channel} of {name}"
            values = image[..., channel]
            ranges.append(intensity_range(values, how, name=which, trained=trained))
        except InputError as error:
            refused.append(error)
            ranges.append((0.0, 0.0))
    if len(refused) == number:
        raise refused[0]
    low, high = zip(*ranges, strict=True)
    return low, high, ("empty_channel",) if refused else ()


def prepare_channels(
    image: np.ndarray,
    low: Sequence[float],
    high: Sequence[float],
    grid: Grid,
    *,
    interpolation: str,
) -> np.ndarray:
    """Normalises each channel by itself and brings it to the network's grid.

    Args:
        image: `[slices, rows, columns, channels]`.
        low: From `channel_ranges`.
        high: From `channel_ranges`.
        grid: The grid to sample on.
        interpolation: How pixels become the network's.

    Returns:
        `[slices, height, width, channels]` float32 in [0, 1].
    """
    channels = [
        resample_image(
            image[..., index], grid, interpolation=interpolation, stretch=each
        )
        for index, each in enumerate(zip(low, high, strict=True))
    ]
    return np.stack(channels, -1)


def prepare_frames(
    array: np.ndarray, grid: Grid, how: Normalization, *, crop: str, interpolation: str
) -> np.ndarray:
    """Brings a scan to a trained network's grid; each frame is normalised on its own.

    Args:
        array: float32 `[rows, columns, slices, frames, channels]`.
        grid: Where the network's pixels lie in each slice.
        how: How intensities are mapped to 0 and 1.
        crop: "whole" keeps half a float, as the slices were kept in training.
        interpolation: How the scan's pixels become the network's.

    Returns:
        `[slices, height, width, channels]` in [0, 1], the slices of one frame after
        those of another.

    Raises:
        InputError: If a frame shows nothing.
    """
    images = []
    for frame in np.moveaxis(array, (3, 2), (0, 1)):
        low, high, _ = channel_ranges(frame, how, trained=True)
        prepared = prepare_channels(frame, low, high, grid, interpolation=interpolation)
        kept = np.float16 if crop == "whole" else np.float32
        images.append(prepared.astype(kept, copy=False))
    return np.concatenate(images)
