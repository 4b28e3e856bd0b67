"""How a run prepares scans: from a scan's own pixels to the network's."""

from typing import NamedTuple

import numpy as np

from pix2rep_jax.data.slices.channels import prepare_frames
from pix2rep_jax.data.slices.grid import Grid, middle_side, scan_grid
from pix2rep_jax.data.slices.normalization import Normalization
from pix2rep_jax.wording import count

__all__ = ["Preparation"]


class Preparation(NamedTuple):
    """What decides how a scan is brought to the network's grid.

    Attributes:
        percentiles: Percentiles of a volume's intensities that are mapped to 0 and 1.
        fov_mm: What `size` pixels measure, mm.
        size: Side of the network's grid, or of a patch, px.
        interpolation: How a scan's pixels become the network's.
        window: Intensities that are mapped to 0 and 1 in place of the percentiles.
        crop: "center", or "middle" or "whole", which see more than a patch.
    """

    percentiles: tuple[float, float]
    fov_mm: float
    size: int
    interpolation: str = "linear"
    window: tuple[float, ...] = ()
    crop: str = "center"

    def describe(self, channels: int) -> str:
        """Says in one line what a network sees of a scan."""
        seen = f"{self.fov_mm:g} mm as {self.size} x {self.size} px"
        if self.crop == "whole":
            seen = f"whole slices, in training patches of {seen}"
        elif self.crop == "middle":
            side = middle_side(self.size)
            seen = (
                f"the middle {self.fov_mm * side / self.size:g} mm as {side} x {side} "
                f"px, in training patches of {self.size} px"
            )
        low, high = self.window or self.percentiles
        kind = "" if self.window else "of percentiles "
        levels = f"intensities {kind}{low:g} to {high:g}"
        return f"{seen}, {count(channels, 'channel')}, {levels}"

    def prepare(
        self, array: np.ndarray, *, spacing_mm: tuple[float, ...]
    ) -> tuple[np.ndarray, Grid]:
        """Brings a scan to the network's grid; each frame is normalised on its own.

        Args:
            array: float32 `[rows, columns, slices, frames, channels]`.
            spacing_mm: Distance of rows and of columns, mm.

        Returns:
            `[slices, height, width, channels]` in [0, 1], the slices of one frame after
            those of another; and the grid of all of them.

        Raises:
            InputError: If a frame shows nothing.
        """
        grid = scan_grid(
            array.shape[:2],
            spacing_mm[:2],
            crop=self.crop,
            fov_mm=self.fov_mm,
            size=self.size,
        )
        how = Normalization(self.percentiles, self.window)
        images = prepare_frames(
            array, grid, how, crop=self.crop, interpolation=self.interpolation
        )
        return images, grid
