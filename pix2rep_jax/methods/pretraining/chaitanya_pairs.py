"""Which slices and regions Chaitanya et al. 2020 call alike and unlike."""

import jax
import numpy as np

__all__ = [
    "MIN_MAP",
    "NUM_REGIONS",
    "REGION_SIZE",
    "global_pairs",
    "local_pairs",
    "near_regions",
    "region_corners",
    "take_regions",
]

REGION_SIZE = 3
"""Side of a region (px of the decoder's map); Chaitanya et al. 2020."""

NUM_REGIONS = 13
"""Number of regions of a map; Chaitanya et al. 2020."""

MIN_MAP = 7
"""Side of the smallest map whose regions all differ (px)."""


def global_pairs(
    num_volumes: int, num_partitions: int, *, loss: str
) -> tuple[np.ndarray, np.ndarray]:
    """Lists the pairs of images of a batch that are alike and unlike.

    The rows of the batch are ordered by view, volume and partition.

    Args:
        num_volumes: Number of volumes in the batch.
        num_partitions: Number of slices of each volume, one per partition.
        loss: "GR": the two views of a slice are alike, and all other slices are unlike.
            "GD-": slices of the same partition are neither alike nor unlike.
            "GD": they are alike if their views have the same number.

    Returns:
        The positive and the negative pairs, `[rows, rows]` bool.
    """
    shape = (2, num_volumes, num_partitions)
    view, volume, partition = map(_same_index, np.indices(shape).reshape(3, -1))
    image = volume & partition
    positive = image & ~view
    if loss == "GD":
        positive |= view & partition & ~volume
    return positive, ~image if loss == "GR" else ~partition


def local_pairs(
    num_volumes: int, num_partitions: int, near: np.ndarray, *, loss: str
) -> tuple[np.ndarray, np.ndarray]:
    """Lists the pairs of regions of a batch that are alike and unlike.

    The rows are ordered by view, volume, partition and region.

    Args:
        num_volumes: Number of volumes in the batch.
        num_partitions: Number of slices of each volume.
        near: `[regions, regions]` bool, from `near_regions`. These regions of an image
            are unlike, in either view.
        loss: "LR": the two views of a region are alike. "LD": the same region in the
            same partition of other volumes is alike too, if their views have the same
            number.

    Returns:
        The positive and the negative pairs, `[rows, rows]` bool.
    """
    indices = np.indices((2, num_volumes, num_partitions, len(near))).reshape(4, -1)
    view, volume, partition, region = map(_same_index, indices)
    image = volume & partition
    positive = image & region & ~view
    if loss == "LD":
        positive |= view & partition & region & ~volume
    return positive, image & near[np.ix_(indices[3], indices[3])]


def _same_index(index: np.ndarray) -> np.ndarray:
    """Tells for each pair of rows whether they have the same index."""
    return index[:, None] == index[None, :]


def region_corners(size: int) -> np.ndarray:
    """Places the 13 regions of a square map.

    Args:
        size: Side of the map (px).

    Returns:
        `[13, 2]` int32, the upper left pixels. Corners, edges and centre come first,
        row by row; then the four quarter points.
    """
    last = size - REGION_SIZE
    grid = [(r, c) for r in (0, 0.5, 1) for c in (0, 0.5, 1)]
    quarters = [(r, c) for r in (0.25, 0.75) for c in (0.25, 0.75)]
    return np.floor(np.array(grid + quarters) * last + 0.5).astype(np.int32)


def near_regions(corners: np.ndarray, number: int) -> np.ndarray:
    """Finds the regions nearest to each region.

    Among equally near regions the first ones are taken.

    Args:
        corners: `[regions, 2]`.
        number: How many to find, fewer than there are regions.

    Returns:
        `[regions, regions]` bool with `number` in each row.
    """
    between = np.linalg.norm(corners[:, None] - corners[None, :], axis=-1)
    between[np.diag_indices(len(corners))] = np.inf
    order = np.argsort(between, axis=1, kind="stable")[:, :number]
    near = np.zeros(between.shape, bool)
    np.put_along_axis(near, order, True, axis=1)
    return near


def take_regions(maps: jax.Array, corners: np.ndarray) -> jax.Array:
    """Cuts regions out of maps, and makes each region a vector.

    Args:
        maps: `[batch, height, width, d]`.
        corners: `[regions, 2]`, the upper left pixels.

    Returns:
        `[batch x regions, REGION_SIZE² x d]`.
    """
    offsets = np.arange(REGION_SIZE)
    rows = (corners[:, 0, None] + offsets)[:, :, None]
    columns = (corners[:, 1, None] + offsets)[:, None, :]
    regions = maps[:, rows, columns]
    return regions.reshape(maps.shape[0] * len(corners), -1)
