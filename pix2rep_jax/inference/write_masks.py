"""From files to masks: reading, the network and writing beside each other."""

import contextlib
import functools
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pix2rep_jax.data.files.scan import Scan, write_mask
from pix2rep_jax.data.slices.grid import Grid
from pix2rep_jax.inference.in_background import map_in_background
from pix2rep_jax.inference.predict import predict_joined, restore_scan
from pix2rep_jax.inference.scan_files import find_channels
from pix2rep_jax.inference.segmenter import Segmenter

__all__ = ["Outcome", "write_masks"]

AHEAD = 3
"""Scans that are read before the network takes them."""

BEHIND = 2
"""Scans that the network has seen and whose masks are not written."""


class Outcome(NamedTuple):
    """What became of a scan.

    Attributes:
        scan: Its path.
        notes: Keys of notes in `scan_notes`, if the mask is written.
        error: Why it is not written.
    """

    scan: Path
    notes: tuple[str, ...] = ()
    error: Exception | None = None


class _Scan(NamedTuple):
    """A scan without its pixels: those on the network's grid are beside it.

    Attributes:
        path: The file of the scan.
        target: The file of its mask.
        scan: What was read, or why it was not. Its array holds no pixels.
        grid: Where the network's pixels lie.
    """

    path: Path
    target: Path
    scan: Scan | Exception
    grid: Grid | None = None


def write_masks(
    segmenter: Segmenter, pairs: Iterable[tuple[Path, Path]], *, overwrite: bool
) -> Generator[Outcome]:
    """Writes the mask of each scan as soon as it is known.

    One thread reads scans and resamples them, a few ahead. The caller's thread runs the
    network, whose batches join the slices of several scans. Another thread takes the
    masks to the scans' grids and writes them. Few scans are in memory at once.

    Args:
        segmenter: Its network and its settings.
        pairs: The file of each scan, or of one of its channels, and that of its mask.
        overwrite: Whether masks that exist are replaced.

    Yields:
        What became of each scan, in their order. A scan that cannot be segmented
        changes nothing for the others.
    """
    values = segmenter.inputs.label_values
    write = functools.partial(_write, values=values, overwrite=overwrite)
    reading = map_in_background(functools.partial(_read, segmenter), pairs, most=AHEAD)
    with contextlib.closing(reading) as scans:  # also if the network is interrupted
        predicted = predict_joined(
            segmenter.predict_network, scans, batch_size=segmenter.batch_size
        )
        yield from map_in_background(write, predicted, most=BEHIND, at_once=True)


def _read(segmenter: Segmenter, pair: tuple[Path, Path]) -> tuple[_Scan, np.ndarray]:
    """Reads a scan; returns it with its slices on the network's grid."""
    path, target = pair
    try:
        scan = segmenter.read_files(find_channels(path, segmenter.inputs.files))
        images, grid = segmenter.prepare(scan.array, spacing_mm=scan.spacing_mm)
    except Exception as error:  # one bad file must not cost the next its mask
        return _Scan(path, target, error), np.zeros((0, 1, 1, 1), np.float32)
    # Its pixels are not needed any more, and would fill the memory.
    return _Scan(path, target, scan.without_voxels(), grid), images


def _write(
    predicted: tuple[_Scan, Sequence[np.ndarray] | Exception],
    *,
    values: tuple[int, ...],
    overwrite: bool,
) -> Outcome:
    """Takes a scan's probabilities to its own grid, and writes the mask."""
    (path, target, scan, grid), probabilities = predicted
    try:
        if isinstance(scan, Exception):
            raise scan
        if isinstance(probabilities, Exception):
            raise probabilities
        assert grid is not None
        labels = restore_scan(probabilities, grid, shape=scan.array.shape[:4])
        target.parent.mkdir(parents=True, exist_ok=True)
        write_mask(target, labels, scan, values=values, overwrite=overwrite)
    except Exception as error:  # as above
        return Outcome(path, error=error)
    return Outcome(path, scan.notes)
