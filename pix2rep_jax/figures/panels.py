"""Slices on their scans' own grids, with the expert's and the network's classes."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from pix2rep_jax.data.dataset import Dataset
from pix2rep_jax.data.files.labels import foreground
from pix2rep_jax.data.files.scan import read_scan
from pix2rep_jax.data.slices import resample
from pix2rep_jax.data.slices.grid import Grid
from pix2rep_jax.data.slices.volume import VolumeRecord, read_expert, take_frame
from pix2rep_jax.evaluation.dice import dice_per_class
from pix2rep_jax.evaluation.volume_score import display_order
from pix2rep_jax.figures.selection import middle_slice
from pix2rep_jax.inference.predict import predict_volume

__all__ = [
    "Panel",
    "field_of_view",
    "predicted_panel",
    "read_own_grid",
    "scan_panels",
    "volume_title",
]


class Panel(NamedTuple):
    """A slice on its scan's own grid.

    Attributes:
        title: The text above it.
        image: `[rows, columns]` in [0, 1].
        label: `[rows, columns]`, the expert's classes, or None.
        spacing: Distance of rows and of columns, mm.
        box: The part to show: first and last row, first and last column, px.
        prediction: `[rows, columns]`, the network's classes, or None.
    """

    title: str
    image: np.ndarray
    label: np.ndarray | None
    spacing: tuple[float, float]
    box: tuple[float, float, float, float]
    prediction: np.ndarray | None = None


def scan_panels(record: VolumeRecord, *, num_classes: int) -> list[Panel]:
    """Takes the first, middle and last of the slices of a scan that show a structure.

    In a short-axis stack they are base, middle and apex. Without an expert's mask
    they are the first, middle and last of all slices.

    Args:
        record: The volume.
        num_classes: Number of classes in the masks, background included.

    Raises:
        InputError: If a file cannot be read.
    """
    image, label = read_own_grid(record, num_classes=num_classes)
    kept = np.flatnonzero(np.isfinite(record.grids).all(axis=1))
    shown = kept
    if label is not None:
        drawn = np.flatnonzero(foreground(label).any((0, 1)))
        if len(both := np.intersect1d(kept, drawn)):
            shown = both
    places = {"first": shown[0], "middle": shown[len(shown) // 2], "last": shown[-1]}
    return [
        Panel(
            title=f"{record.phase} {place}".strip(),
            image=image[..., i],
            label=None if label is None else label[..., i],
            spacing=record.spacing_mm[:2],
            box=field_of_view(record.grid(i)),
        )
        for place, i in places.items()
    ]


def predicted_panel(
    predict: Callable[[np.ndarray], np.ndarray],
    dataset: Dataset,
    volume: int,
    *,
    rank: str,
    classes: Sequence[str],
) -> Panel:
    """Segments a volume, and takes its middle slice.

    Args:
        predict: Maps slices `[slices, height, width, channels]` to probabilities
            `[slices, height, width, num_classes]`.
        dataset: Holds the volume.
        volume: Index into `dataset.volumes`. The volume has an expert's mask.
        rank: The beginning of the title, for example "best"; the volume's 3D Dice
            follows.
        classes: Names of the classes, background first.

    Raises:
        InputError: If a file cannot be read.
        ValueError: If the volume does not have an expert's mask.
    """
    record = dataset.volumes[volume]
    _, prediction = predict_volume(predict, dataset, volume)
    image, label = read_own_grid(record, num_classes=len(classes))
    if label is None:
        raise ValueError(f"{record.volume_id} has no expert's mask")
    dice = dice_per_class(prediction, label, num_classes=len(classes))
    by_name = dict(zip(classes, dice, strict=True))
    i = int(dataset.slice_index[middle_slice(dataset, volume)])
    return Panel(
        title=f"{rank}: {volume_title(record)}, Dice {np.nanmean(dice[1:]):.3f}\n"
        + ", ".join(f"{n} {by_name[n]:.2f}" for n in display_order(classes)[:-1]),
        image=image[..., i],
        label=label[..., i],
        spacing=record.spacing_mm[:2],
        box=field_of_view(record.grid(i)),
        prediction=prediction[..., i],
    )


def read_own_grid(
    record: VolumeRecord, *, num_classes: int, with_label: bool = True
) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads a volume on its own grid.

    Args:
        record: The volume.
        num_classes: Number of classes in the masks, background included.
        with_label: Whether the mask is read too.

    Returns:
        `[rows, columns, slices]` in [0, 1], the first channel, normalised like the
        network's slices, and the expert's classes, or None.

    Raises:
        InputError: If a file cannot be read.
    """
    scan = read_scan(record.image_paths, record.axes, fourth_axis=record.fourth_axis)
    first = take_frame(record, scan)[..., 0]
    image = resample.normalise(first, record.low[0], record.high[0])
    if record.label_path is None or not with_label:
        return image, None
    return image, read_expert(record, num_classes=num_classes)


def field_of_view(grid: Grid) -> tuple[float, float, float, float]:
    """Returns the network's field of view: first and last row and column, px."""
    (first_row, last_row), (first_column, last_column) = (
        (origin - step / 2, origin + step * (size - 0.5))
        for origin, step, size in zip(grid.origin, grid.step, grid.size, strict=True)
    )
    return first_row, last_row, first_column, last_column


def volume_title(record: VolumeRecord) -> str:
    """Names a volume for a title, for example "patient041 ED (DCM)"."""
    group = f" ({record.group})" if record.group else ""
    return f"{record.patient} {record.phase}".strip() + group
