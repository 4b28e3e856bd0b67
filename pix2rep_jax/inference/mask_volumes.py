"""What lies beside masks: the names of their values, and how large each class is."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pix2rep_jax.data.files import nifti
from pix2rep_jax.data.files.picture_file import (
    NO_PIXEL_SIZE,
    find_pixel_size,
    is_picture,
    read_picture_mask,
)
from pix2rep_jax.data.files.scan import Scan
from pix2rep_jax.runtime.atomic_file import write_whole

__all__ = [
    "LABELS_FILE",
    "VOLUMES_FILE",
    "Row",
    "measure_mask",
    "volume_rows",
    "write_labels",
    "write_volumes",
]

LABELS_FILE = "labels.json"

VOLUMES_FILE = "volumes.csv"

UNITS = ("ml", "mm2", "px")
"""A scan has the first, a picture of known pixel size the second, others the third."""


class Row(NamedTuple):
    """How large the classes of a volume are.

    Attributes:
        frame: Its number in a file of several frames, from 0; None for other files.
        unit: One of `UNITS`.
        sizes: How large each class but the background is, in this unit.
    """

    frame: int | None
    unit: str
    sizes: tuple[float, ...]


def volume_rows(labels: np.ndarray, scan: Scan, *, num_classes: int) -> tuple[Row, ...]:
    """Measures a mask that lies on its scan.

    Args:
        labels: `[rows, columns, slices, frames]` uint8.
        scan: The scan.
        num_classes: How many classes there are.

    Returns:
        A row per frame.
    """
    counts = _count(labels, range(num_classes))
    if scan.volume is not None:
        return _rows(counts, "ml", float(np.prod(scan.spacing_mm)) / 1000)
    side = None if NO_PIXEL_SIZE in scan.notes else scan.spacing_mm[0]
    return _picture_rows(counts, side)


def measure_mask(
    path: Path, scan: Path, *, values: Sequence[int], num_classes: int
) -> tuple[Row, ...]:
    """Measures a mask that was written before.

    Args:
        path: The mask.
        scan: Its scan.
        values: The value of each class in a picture; () for 0, 1, 2, …
        num_classes: How many classes there are.

    Raises:
        InputError: If the mask cannot be read.
    """
    if is_picture(path):
        stored = read_picture_mask(path)[..., None, None]
        counts = _count(stored, values or range(num_classes))
        return _picture_rows(counts, find_pixel_size(scan))
    volume = nifti.read_volume(path)
    labels = volume.array if volume.array.ndim == 4 else volume.array[..., None]
    voxel_ml = float(np.prod(volume.spacing_mm)) / 1000
    return _rows(_count(labels, range(num_classes)), "ml", voxel_ml)


def write_labels(folder: Path, names: Mapping[int, str], *, replace: bool) -> str:
    """Writes labels.json, the name of each value.

    Args:
        folder: The folder of the masks.
        names: Names of the classes by their values in the masks.
        replace: Whether a file that says something else is replaced.

    Returns:
        A note if such a file was left as it is, else "".
    """
    path = folder / LABELS_FILE
    text = json.dumps({str(value): name for value, name in names.items()}, indent=2)
    try:
        if json.loads(path.read_text(encoding="utf-8")) == json.loads(text):
            return ""
        is_there = True
    except (OSError, ValueError, RecursionError):
        is_there = path.exists()
    if is_there and not replace:
        return f"note: {path} says something else, and is left as it is"
    write_whole(path, text + "\n")
    return ""


def write_volumes(
    folder: Path,
    rows: Mapping[str, Sequence[Row]],
    *,
    classes: Sequence[str],
    is_there: Callable[[str], bool],
) -> str:
    """Writes volumes.csv: a line per mask, with the size of each class.

    Lines of other masks are kept if they have the same classes.

    Args:
        folder: The folder of the masks.
        rows: What was measured, by the scans' names.
        classes: Names of the classes, background first.
        is_there: Tells for another scan's name whether its mask is there still.

    Returns:
        A note if the folder has another file of that name, which is left; else "".
    """
    path = folder / VOLUMES_FILE
    known = [f"{name}_{unit}" for unit in UNITS for name in classes[1:]]
    before, header = _read(path)
    if header and header[0] != "name":
        return f"note: {path} is another table, and is left as it is"
    lines = []
    if {*header} <= {"name", "frame", *known}:
        others = [line for line in before if line["name"] not in rows]
        lines = [line for line in others if is_there(line["name"])]
    for name, found in rows.items():
        for row in found:
            line = {"name": name, "frame": "" if row.frame is None else str(row.frame)}
            for each, size in zip(classes[1:], row.sizes, strict=True):
                line[f"{each}_{row.unit}"] = f"{size:.6g}"
            lines.append(line)
    lines.sort(key=lambda line: (line["name"], int(line.get("frame") or 0)))
    used = {"name", *(name for line in lines for name in line if line[name])}
    columns = [name for name in ("name", "frame", *known) if name in used]
    text = io.StringIO()
    writer = csv.DictWriter(
        text, columns, restval="", extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(lines)
    write_whole(path, text.getvalue())
    return ""


def _read(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    """Reads the lines of a table and its columns; none if it cannot be read."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, restval="")
            return list(reader), list(reader.fieldnames or [])
    except (OSError, ValueError, csv.Error):
        return [], []


def _count(labels: np.ndarray, values: Iterable[int]) -> np.ndarray:
    """Counts the voxels of foreground classes, `[frames, classes]`."""
    _, *foreground = values
    frames = np.moveaxis(labels, 3, 0)
    counts = [[np.count_nonzero(x == value) for value in foreground] for x in frames]
    return np.array(counts)


def _picture_rows(counts: np.ndarray, side: float | None) -> tuple[Row, ...]:
    """Makes the row of a picture, whose pixels have this side (mm) if it is known."""
    return _rows(counts, "px", 1) if side is None else _rows(counts, "mm2", side**2)


def _rows(counts: np.ndarray, unit: str, size: float) -> tuple[Row, ...]:
    several = len(counts) > 1
    return tuple(
        Row(frame if several else None, unit, tuple((each * size).tolist()))
        for frame, each in enumerate(counts)
    )
