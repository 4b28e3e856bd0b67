"""From files to masks: reading, the network and writing beside each other."""

import contextlib
import functools
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pix2rep_jax.data.files.nifti_writer import store_probabilities
from pix2rep_jax.data.files.scan import Scan, write_mask, write_probabilities
from pix2rep_jax.data.slices.grid import Grid
from pix2rep_jax.inference.ensemble import (
    Prediction,
    mean_labels,
    mean_slice,
    slice_by_slice,
)
from pix2rep_jax.inference.in_background import map_in_background
from pix2rep_jax.inference.joined_batches import predict_joined
from pix2rep_jax.inference.mask_volumes import Row, volume_rows
from pix2rep_jax.inference.postprocess import keep_largest
from pix2rep_jax.inference.predict import restore_scan
from pix2rep_jax.inference.scan_files import find_channels
from pix2rep_jax.inference.segmenter import Segmenter
from pix2rep_jax.runtime.progress_bar import open_progress_bar

__all__ = ["Outcome", "write_masks"]

AHEAD = 3
"""Scans that are read before the network takes them."""

BEHIND = 2
"""Scans that the network has seen and whose masks are not written."""


class Outcome(NamedTuple):
    """What became of a scan.

    Attributes:
        scan: Its path.
        target: The path of its mask.
        notes: Keys of notes in `scan_notes`, if the mask is written.
        error: Why it is not written.
        rows: The volumes of its classes, if this command has written the mask.
    """

    scan: Path
    target: Path
    notes: tuple[str, ...] = ()
    error: Exception | None = None
    rows: tuple[Row, ...] = ()


class _Slice(NamedTuple):
    """A slice on the scan's grid.

    Attributes:
        labels: `[rows, columns]` uint8.
        probabilities: `[rows, columns, classes]` as they are stored; None if they are
            not.
    """

    labels: np.ndarray
    probabilities: np.ndarray | None


class _Results(NamedTuple):
    """What is written of a scan.

    Attributes:
        labels: Gives the classes `[rows, columns, slices, frames]`.
        probabilities: Gives `[rows, columns, classes]` of a slice and some classes.
    """

    labels: Callable[[], np.ndarray]
    probabilities: Callable[[int, slice], np.ndarray]


class _Scan(NamedTuple):
    """A scan without its pixels.

    Attributes:
        path: The file of the scan.
        target: The file of its mask.
        scan: What was read, or why it was not. Its array holds no pixels.
        images: Its slices on each grid that the networks do not have yet.
        grids: Where the networks' pixels lie, for each grid.
        found: The probabilities on the grids that are done, or what was raised; or the
            finished slices of all grids together.
    """

    path: Path
    target: Path
    scan: Scan | Exception
    images: tuple[np.ndarray, ...] = ()
    grids: tuple[Grid, ...] = ()
    found: tuple[Sequence[Any] | Exception, ...] = ()


def write_masks(
    segmenter: Segmenter,
    pairs: Iterable[tuple[Path, Path]],
    *,
    overwrite: bool,
    probabilities_path: Callable[[Path], Path] | None = None,
) -> Generator[Outcome]:
    """Writes the mask of each scan as soon as it is known.

    One thread reads scans and resamples them, a few ahead. The caller's thread runs the
    network, whose batches join the slices of several scans. Another thread takes the
    masks to the scans' grids and writes them. Few scans are in memory at once.

    Args:
        segmenter: Its networks and its settings.
        pairs: The file of each scan, or of one of its channels, and that of its mask.
        overwrite: Whether masks that exist are replaced. If not, they are kept, and
            their outcomes have no rows.
        probabilities_path: Names the file of the probabilities for that of a mask. They
            are written before the mask, and replace what is there. None writes none.

    Yields:
        What became of each scan, in their order. A scan that cannot be segmented
        changes nothing for the others.
    """
    members = segmenter.members
    # The probabilities of all whole slices would fill the memory.
    at_once = segmenter.predict_frames is None and any(
        each.crop == "whole" for each in members
    )
    write = functools.partial(
        _write,
        segmenter,
        at_once=at_once,
        overwrite=overwrite,
        probabilities_path=probabilities_path,
    )
    reading = map_in_background(functools.partial(_read, segmenter), pairs, most=AHEAD)
    finish = functools.partial(
        _finish, with_probabilities=probabilities_path is not None
    )
    with contextlib.closing(reading):  # also if the network is interrupted
        scans: Iterator[_Scan] = reading
        if at_once and len(members) > 1:
            scans = (_predict_together(segmenter, each, finish) for each in reading)
        else:
            for each in members:
                scans = _predict(each, scans, finish=finish if at_once else None)
        yield from map_in_background(write, scans, most=BEHIND, at_once=True)


def _read(segmenter: Segmenter, pair: tuple[Path, Path]) -> _Scan:
    """Reads a scan, with its slices on the networks' grids."""
    path, target = pair
    try:
        scan = segmenter.read_files(find_channels(path, segmenter.inputs.files))
        prepared = [
            each.prepare(scan.array, spacing_mm=scan.spacing_mm)
            for each in segmenter.members
        ]
    except Exception as error:  # one bad file must not cost the next its mask
        return _Scan(path, target, error)
    # Its pixels are not needed any more, and would fill the memory.
    images, grids = zip(*prepared, strict=True)
    return _Scan(path, target, scan.without_voxels(), images, grids)


def _predict(
    segmenter: Segmenter,
    scans: Iterable[_Scan],
    *,
    finish: Callable[[_Scan, Sequence[Prediction]], _Slice] | None,
) -> Iterator[_Scan]:
    """Runs the networks of one grid, in batches that join slices of several scans.

    With `finish` each slice is finished before the next ones are predicted.
    """
    if segmenter.predict_frames is not None:
        yield from (_predict_alone(segmenter, each) for each in scans)
        return
    nothing = np.zeros((0, 1, 1, 1), np.float32)
    joined = (
        (each._replace(images=each.images[1:]), (*each.images, nothing)[0])
        for each in scans
    )
    options: dict[str, Any] = {"batch_size": segmenter.batch_size}
    if finish is not None:
        options["finish"] = lambda scan, probabilities: finish(
            scan, [Prediction([probabilities], scan.grids[0])]
        )
    for each, found in predict_joined(segmenter.predict_network, joined, **options):
        yield each._replace(found=(*each.found, found))


def _predict_together(
    segmenter: Segmenter,
    scan: _Scan,
    finish: Callable[[_Scan, Sequence[Prediction]], _Slice],
) -> _Scan:
    """Runs the networks of all grids on a scan, and finishes slice by slice."""
    found: Sequence[_Slice] | Exception = []
    left = scan._replace(images=())
    try:
        if not isinstance(scan.scan, Exception):
            frames = scan.scan.array.shape[3]
            predictions = [
                Prediction(each.predict_scan(images, frames=frames), grid, each.weight)
                for each, images, grid in zip(
                    segmenter.members, scan.images, scan.grids, strict=True
                )
            ]
            found = [finish(left, each) for each in slice_by_slice(predictions)]
    except Exception as error:  # as above
        found = error
    return left._replace(found=(found,))


def _finish(
    scan: _Scan, predictions: Sequence[Prediction], *, with_probabilities: bool
) -> _Slice:
    """Takes the predictions of a slice to the scan's grid."""
    assert isinstance(scan.scan, Scan)
    shape = (*scan.scan.array.shape[:2], 1)
    if not with_probabilities:
        return _Slice(mean_labels(predictions, shape=shape)[..., 0], None)
    labels = mean_labels(predictions, shape=shape)[..., 0]
    mean = mean_slice(predictions, 0)
    # A third of the memory; a picture has one slice.
    is_nifti = scan.scan.volume is not None
    return _Slice(labels, store_probabilities(mean) if is_nifti else mean)


def _predict_alone(segmenter: Segmenter, scan: _Scan) -> _Scan:
    """Predicts the frames of one scan together."""
    if isinstance(scan.scan, Exception):
        return scan._replace(found=(*scan.found, []))
    found: Sequence[np.ndarray] | Exception
    images, *left = scan.images
    try:
        frames = scan.scan.array.shape[3]
        found, show = [], frames == 1  # several frames have a bar of their own
        with open_progress_bar(
            len(images),
            description="compare",
            unit="slice",
            delay_s=5,
            show=show,
            leave=False,
        ) as bar:
            for each in segmenter.predict_scan(images, frames=frames):
                found.append(each)
                bar.update()
    except Exception as error:  # as above
        found = error
    return scan._replace(images=tuple(left), found=(*scan.found, found))


def _finished(segmenter: Segmenter, predicted: _Scan, scan: Scan) -> _Results:
    """Joins slices that are finished."""
    del segmenter
    (slices,) = predicted.found
    assert not isinstance(slices, Exception)
    shape, (grid, *_) = scan.array.shape[:4], predicted.grids
    return _Results(
        lambda: restore_scan((each.labels for each in slices), grid, shape=shape),
        lambda index, classes: slices[index].probabilities[..., classes],
    )


def _brought_back(segmenter: Segmenter, predicted: _Scan, scan: Scan) -> _Results:
    """Takes the probabilities of every grid to the scan's."""
    members = zip(segmenter.members, predicted.grids, predicted.found, strict=True)
    predictions = [
        Prediction(found, grid, each.weight)
        for each, grid, found in members
        if not isinstance(found, Exception)
    ]
    return _Results(
        lambda: mean_labels(predictions, shape=scan.array.shape[:4]),
        lambda index, classes: mean_slice(predictions, index, classes),
    )


def _write(
    segmenter: Segmenter,
    predicted: _Scan,
    *,
    at_once: bool,
    overwrite: bool,
    probabilities_path: Callable[[Path], Path] | None,
) -> Outcome:
    """Takes a scan's probabilities to its own grid, and writes the mask."""
    path, target, scan = predicted.path, predicted.target, predicted.scan
    rows: tuple[Row, ...] = ()
    try:
        if isinstance(scan, Exception):
            raise scan
        for found in predicted.found:
            if isinstance(found, Exception):
                raise found
        join = _finished if at_once else _brought_back
        results = join(segmenter, predicted, scan)
        target.parent.mkdir(parents=True, exist_ok=True)
        slices = scan.array.shape[2]
        if probabilities_path is not None:
            write_probabilities(
                probabilities_path(target),
                lambda frame, index, classes: results.probabilities(
                    frame * slices + index, classes
                ),
                scan,
                num_classes=len(segmenter.classes),
            )
        if overwrite or not os.path.exists(target):  # another process may write too
            labels = keep_largest(results.labels(), segmenter.pieces)
            values = segmenter.inputs.label_values
            write_mask(target, labels, scan, values=values, overwrite=overwrite)
            rows = volume_rows(labels, scan, num_classes=len(segmenter.classes))
    except Exception as error:  # as above
        return Outcome(path, target, error=error)
    return Outcome(path, target, scan.notes, rows=rows)
