"""The experts' masks of scans that were given by their files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data.files.file_names import mask_stem, partners
from pix2rep_jax.data.files.mask import label_values, read_label
from pix2rep_jax.data.files.nifti_paths import list_folder, scan_stem
from pix2rep_jax.data.files.scan import Scan
from pix2rep_jax.data.layout.class_values import find_class_values
from pix2rep_jax.data.layout.recognise import IMAGE_FOLDERS, recognise
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.found_scans import TESTING, TRAINING

__all__ = ["find_masks", "name_classes", "read_scan_mask"]


def find_masks(scans: Sequence[Path], input: Path) -> dict[Path, Path]:
    """Finds the masks that lie beside scans.

    Args:
        scans: The files of scans, or of their first channels.
        input: The file or folder that they were found in.

    Returns:
        The mask of each scan that has one: as training takes it, where the layout of
        the folder is known, or a file beside it with a name such as NAME_seg.
    """
    holders = (*IMAGE_FOLDERS, TRAINING, TESTING)
    roots = {input} if input.is_dir() else set()
    roots |= {x.parent.parent for x in scans if x.parent.name.casefold() in holders}
    masks: dict[Path, Path] = {}
    for root in sorted(roots):
        try:
            layout = recognise(root)
        except InputError:  # masks may still lie beside the scans
            continue
        for name, files in {**layout.scans, **layout.test_scans}.items():
            if name in layout.masks:
                masks[files[0].resolve()] = layout.masks[name]
    for folder in sorted({scan.parent for scan in scans}):
        listed = {file.name: file.path for file in list_folder(folder).files}
        near = {name: mask_stem(name) for name in listed} | partners(listed, listed)
        for name, stem in near.items():
            if stem:
                masks.setdefault(folder.resolve() / stem, listed[name])
    found = {}
    for scan in scans:
        place, stem = scan.resolve(), scan_stem(scan.name) or ""
        beside = scan.parent.resolve()
        names = (place, beside / stem, beside / stem.removesuffix("_0000"))
        mask = next((masks[name] for name in names if name in masks), None)
        if mask is not None and mask.resolve() != place:
            found[scan] = mask
    return found


def name_classes(
    masks: Sequence[Path], data: Mapping[str, Any]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names the values of masks.

    Args:
        masks: Files of masks, at least one.
        data: The `data` section of a run, whose classes are taken if they fit.

    Returns:
        The classes, background first, and their values in the masks.

    Raises:
        InputError: If a mask cannot be read, or does not hold labels.
    """
    found = label_values(masks, ignore=tuple(data.get("ignore", ())))
    names = tuple(data["classes"])
    try:
        values = find_class_values(ConfigDict(data))
    except InputError:  # its scans may have been moved or changed since
        values = tuple(range(len(names)))
    if names and {*found} <= {*values}:
        return names, values
    return ("background", *map(str, found[1:])), found


def read_scan_mask(
    path: Path, scan: Scan, values: Sequence[int], *, ignore: Sequence[int] = ()
) -> np.ndarray:
    """Reads a scan's mask.

    Args:
        path: Its file.
        scan: The scan; of several frames the first one's mask is taken.
        values: The value of each class in the file.
        ignore: The values of pixels without a label.

    Returns:
        `[rows, columns, slices]` uint8 classes.

    Raises:
        InputError: If it cannot be read, or does not fit the scan.
    """
    return read_label(
        path,
        shape=scan.array.shape[:3],
        num_classes=len(values),
        values=values,
        axes=scan.axes,
        like=scan.volume,
        frame=0,
        ignore=ignore,
    )
