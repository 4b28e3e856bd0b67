"""What the page has of one scan: slices, embeddings, masks, and where they lie."""

import math
from typing import NamedTuple

import numpy as np

from pix2rep_jax.data.files.scan import Scan
from pix2rep_jax.data.slices.grid import Grid, scan_box
from pix2rep_jax.data.slices.resample import resample_label
from pix2rep_jax.inference.backbone import Backbone
from pix2rep_jax.inference.pixel_embeddings import SLICES_AT_ONCE
from pix2rep_jax.inference.postprocess import keep_largest
from pix2rep_jax.inference.segmenter import Segmenter

__all__ = ["ExploredScan", "explore_scan", "grid_affine"]

IMAGE_PIXELS = 1_200_000
"""Pixels of all scans' images together, at most."""

EMBEDDED_PIXELS = 250_000
"""Pixels with an embedding in all scans together. Each takes up to 35 bytes."""

_FINE, _FEW = 48, 4
"""Rather than fewer pixels along a side there are fewer slices, down to this number."""


class ExploredScan(NamedTuple):
    """One scan on the network's grid, of which a part may be left out.

    Attributes:
        name: What it is called.
        images: uint8 `[slices, rows, columns]`.
        embeddings: float32 `[slices, height, width, d]`; 0 outside of the scan.
        labels: uint8 `[slices, rows, columns]` of the mask; None if there is none.
        predictions: The same of the segmenter.
        slices: The index in the scan of each slice; their distance is the same.
        first: The image's row, and column, of the first embedded pixel.
        step: From one embedded pixel to the next, in pixels of the image.
        affine: `[4, 4]`, from row, column and slice of `images` to mm.
    """

    name: str
    images: np.ndarray
    embeddings: np.ndarray
    labels: np.ndarray | None
    predictions: np.ndarray | None
    slices: np.ndarray
    first: int
    step: int
    affine: np.ndarray


def explore_scan(
    backbone: Backbone,
    scan: Scan,
    *,
    name: str,
    share: float,
    labels: np.ndarray | None = None,
    segmenter: Segmenter | None = None,
) -> ExploredScan:
    """Embeds a scan, as many of its pixels as the page can hold.

    The first of several frames is taken, and the first of several channels is shown.

    Args:
        backbone: Embeds the slices.
        scan: What was read.
        name: What the page calls it.
        share: The scan's share of the page, 0 to 1.
        labels: `[rows, columns, slices]`, the classes of the scan's mask.
        segmenter: Prepares scans as the backbone does, and predicts masks.

    Raises:
        InputError: If the scan shows nothing.
    """
    first_frame = scan.array[:, :, :, :1]
    images, grid = backbone.preparation.prepare(first_frame, spacing_mm=scan.spacing_mm)
    shrink, every, step = _choose_pixels(images.shape[:3], share)
    first = (step - 1) // 2
    slices = np.arange(len(images))[(len(images) - 1) % every // 2 :: every]
    planes = (slice((shrink - 1) // 2, None, shrink),) * 2

    def shown(volume: np.ndarray) -> np.ndarray:
        return volume[(slices, *planes)]

    embeddings = [
        backbone.embed_network(images[slices[start : start + SLICES_AT_ONCE]])
        for start in range(0, len(slices), SLICES_AT_ONCE)
    ]
    top, bottom, left, right = scan_box(grid)
    inside = np.zeros(grid.size, bool)
    inside[top : bottom + 1, left : right + 1] = True
    found = np.concatenate(embeddings) * inside[None, ..., None]
    found = found[(slice(None), *planes)][:, first::step, first::step]
    predictions = None
    if segmenter is not None:
        found_labels = [x.argmax(-1) for x in segmenter.predict_scan(images, frames=1)]
        volume = np.stack(found_labels, -1).astype(np.uint8)
        kept = keep_largest(volume, segmenter.pieces)
        predictions = shown(np.moveaxis(kept, -1, 0))
    if labels is not None:
        interpolation = backbone.preparation.interpolation
        planes_of = np.moveaxis(labels, 2, 0)
        labels = shown(resample_label(planes_of, grid, interpolation=interpolation))
    return ExploredScan(
        name=name,
        images=np.rint(255 * shown(images[..., 0].astype(np.float32))).astype(np.uint8),
        embeddings=np.ascontiguousarray(found, np.float32),
        labels=labels,
        predictions=predictions,
        slices=slices,
        first=first,
        step=step,
        affine=grid_affine(scan, grid) @ _thinned(shrink, int(slices[0]), every),
    )


def grid_affine(scan: Scan, grid: Grid) -> np.ndarray:
    """Finds where the network's pixels lie in space.

    Args:
        scan: The scan.
        grid: The grid of its slices.

    Returns:
        `[4, 4]`, from the network's row and column and the scan's slice to mm. A
        picture, which lies nowhere, begins at 0.
    """
    (row, column), (row_step, column_step) = grid.origin, grid.step
    in_slices = np.diag([row_step, column_step, 1.0, 1.0])
    in_slices[:2, 3] = row, column
    if scan.volume is None:
        return np.diag([*scan.spacing_mm, 1.0]) @ in_slices
    in_file = np.zeros((4, 4))
    in_file[3, 3] = 1
    shape = scan.array.shape[:3]
    for axis, (own, flipped) in enumerate(
        zip(scan.axes.order, scan.axes.flipped, strict=True)
    ):
        in_file[own, axis] = -1 if flipped else 1
        in_file[own, 3] = shape[axis] - 1 if flipped else 0
    return scan.volume.affine @ in_file @ in_slices


def _choose_pixels(shape: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    """Decides what is left out of a scan that is too large for its share of the page.

    Returns:
        Three steps of one or more. The first is between the network's pixels that are
        in the image, in both directions. The second is between slices. The third is
        between the image's pixels that have an embedding, in both directions.
    """
    slices, height, width = shape
    shrink = math.ceil(math.sqrt(max(1.0, height * width / (share * IMAGE_PIXELS))))
    sides = [-(-side // shrink) for side in (height, width)]
    every = step = 1

    def pixels() -> int:
        return -(-slices // every) * math.prod(-(-side // step) for side in sides)

    while pixels() > share * EMBEDDED_PIXELS and step < max(sides):
        is_fine = max(sides) / (step + 1) >= _FINE
        if is_fine or -(-slices // every) <= _FEW:
            step += 1
        else:
            every += 1
    return shrink, every, step


def _thinned(shrink: int, first_slice: int, every: int) -> np.ndarray:
    """The affine from what is shown to the network's pixels and the scan's slices."""
    affine = np.diag([shrink, shrink, every, 1.0])
    affine[:3, 3] = (shrink - 1) // 2, (shrink - 1) // 2, first_slice
    return affine
