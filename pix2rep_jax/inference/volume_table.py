"""The tables in a folder of masks, complete after a command that went on."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pix2rep_jax.data.files.picture_file import is_picture
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.mask_volumes import (
    Row,
    measure_mask,
    write_labels,
    write_volumes,
)
from pix2rep_jax.inference.scan_files import case_name
from pix2rep_jax.runtime.progress_bar import open_progress_bar

__all__ = ["write_tables"]


def write_tables(
    folder: Path,
    pairs: Sequence[tuple[Path, Path]],
    measured: Mapping[Path, tuple[Row, ...]],
    *,
    classes: Sequence[str],
    values: Sequence[int],
    suffix: str,
    replace: bool,
) -> list[str]:
    """Writes labels.json and volumes.csv.

    Masks that were there before are measured as they are in their files.

    Args:
        folder: The folder of the masks.
        pairs: The file of each scan, and that of its mask.
        measured: The rows of the masks that were written now.
        classes: Names of the classes, background first.
        values: The value of each class in a picture; () for 0, 1, 2, …
        suffix: What a mask's name adds to its scan's.
        replace: Whether a `labels.json` that says something else is replaced.

    Returns:
        Notes.
    """
    rows: dict[str, Sequence[Row]] = {}
    notes = []
    there = [(scan, target) for scan, target in pairs if os.path.exists(target)]
    with open_progress_bar(
        len(there), description="measure masks", unit="mask", delay_s=5
    ) as bar:
        for scan, target in there:
            stem = case_name(target, suffix=suffix)
            name = target.relative_to(folder).with_name(stem).as_posix()
            try:
                rows[name] = measured.get(target) or measure_mask(
                    target, scan, values=values, num_classes=len(classes)
                )
            except InputError as error:
                notes.append(f"note: {target} is not measured: {error}")
            bar.update()
    pictures = all(is_picture(target) for _, target in there)
    used = values if values and pictures else range(len(classes))
    ending = ".png" if pictures else ".nii.gz"

    def is_there(name: str) -> bool:
        return os.path.exists(folder / f"{name}{suffix}{ending}")

    if rows:
        names = dict(zip(used, classes, strict=True))
        notes.append(write_labels(folder, names, replace=replace))
        notes.append(write_volumes(folder, rows, classes=classes, is_there=is_there))
    return [note for note in notes if note]
