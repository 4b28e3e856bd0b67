"""The masked scans of in-context segmentation: a folder, or one scan with its mask."""

import logging
import os
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data.checks import check_masks, shown_classes
from pix2rep_jax.data.dataset import load_volumes
from pix2rep_jax.data.files.file_names import partners
from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.data.files.mask import label_values as find_values
from pix2rep_jax.data.files.nifti_paths import list_folder, scan_stem
from pix2rep_jax.data.fit.settle import settle_data
from pix2rep_jax.data.layout.class_values import find_class_values, with_doubt
from pix2rep_jax.data.layout.fourth_axis import find_fourth_axis, name_fourth_axis
from pix2rep_jax.data.layout.recognise import recognise
from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.data.volume_list import list_included, meaning_of_masks
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.scan_files import find_channels
from pix2rep_jax.inference.scan_format import check_formats
from pix2rep_jax.runs.data_checks import check_same_channels
from pix2rep_jax.runs.run_record import RunRecord

__all__ = ["SETTINGS", "SupportScans", "read_support"]

_LOG = logging.getLogger(__name__)

SETTINGS = ("ignore", "empty_slices", "fourth_axis", "exclude", "patient_regex")
"""Of the section `data`, what may be told of masked scans besides their classes."""

_OPEN = {"name": "auto", "exclude": (), "patient_regex": "auto", "all_frames": False}
"""What is asked of another folder in place of the run's own settings."""


class SupportScans(NamedTuple):
    """Slices with masks, on the network's grid.

    Attributes:
        images: `[slices, height, width, channels]` in [0, 1]; like the labels, they
            may lie on the disk.
        labels: `[slices, height, width]` classes.
        boxes: `[slices, 4]`, the pixels that lie in the scan, as in `Dataset`.
        classes: Names of the classes, background first.
        values: The value of each class in the masks; () for 0, 1, 2, …
        volumes: How many scans these are.
    """

    images: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    classes: tuple[str, ...]
    values: tuple[int, ...]
    volumes: int


def read_support(
    path: str | Path,
    before: Mapping[str, Any],
    record: RunRecord,
    *,
    run: Path,
    classes: Sequence[str] = (),
    label_values: Sequence[int] = (),
    settings: Mapping[str, Any] = types.MappingProxyType({}),
) -> SupportScans:
    """Reads masked scans and prepares them as a run's scans.

    The classes are those that are given, or those that the folder names. If nothing
    names them they are the run's own, if the masks have no other values, and else as
    many as the masks have values. Pixels without a label are marked by the value that
    is given, or that the folder names, or that the run knows.

    Args:
        path: A folder in any layout, or the file of one scan or of its mask, which lies
            beside it as `NAME_seg` or `NAME_gt`.
        before: The `data` section of the run's configuration.
        record: The run's record.
        run: The run's folder.
        classes: Names of the classes, background first.
        label_values: The value of each class in the masks; () for 0, 1, 2, …
        settings: What else is to be known of these scans, by the names in `SETTINGS`.

    Raises:
        InputError: If a setting is unknown, if there is no masked scan, if a mask holds
            another value than the classes have, or if the scans have other channels
            than the run's.
    """
    if unknown := sorted({*settings} - {*SETTINGS}):
        raise InputError(
            f"support has no setting {unknown[0]!r}: it has {', '.join(SETTINGS)}"
        )
    if not os.fspath(path):
        raise InputError("--support is empty: name masked scans, or leave it out")
    path = Path(path).expanduser()
    if not os.path.exists(path):  # its name may be too long
        raise InputError(f"there is no file or folder {path}: check --support")
    if label_values and not classes:
        raise InputError(
            "label_values belong to classes, and no classes are given: name these too, "
            "background first"
        )
    inputs, own = record.inputs, {**before, **_OPEN}
    if inputs.channels > inputs.files and not inputs.pictures:
        own["fourth_axis"] = "channels"  # the run's own dataset.json may have said it
    data = ConfigDict({**own, **settings})
    data.classes, data.label_values = tuple(classes), tuple(label_values)
    data.ignore = tuple(data.get("ignore", ()))
    if path.is_dir():
        data.root = str(path.resolve())
        volumes = _list_folder(data, before, told_ignore="ignore" in settings)
    else:
        data.root = str(path.resolve().parent)
        volumes = _list_file(path, data, before, inputs.files)
    check_masks(volumes, data)
    masked = [each for each in volumes if each.label_path is not None]
    dataset = load_volumes(masked, data, expected=record.slice_axis)
    check_same_channels(dataset.images.shape[-1], inputs.channels, run)
    for note in check_formats(dataset.volumes, inputs):
        _LOG.warning(note)
    if with_doubt(data) is not data:
        _LOG.warning(
            f"note: the value {UNLABELLED} in the masks of the support looks like "
            "pixels that nobody has labelled, and it is taken for a class: ignore it "
            f"by --config.data.ignore={UNLABELLED}"
        )
    shown = shown_classes(dataset.labels, range(len(data.classes)))
    if not shown - {0, UNLABELLED}:
        raise InputError(
            f"the masks in {path} show nothing but background within the network's "
            "field of view: check them, and that they belong to their scans"
        )
    if unseen := [x for value, x in enumerate(data.classes) if value not in shown]:
        _LOG.warning(
            f"note: no mask of the support shows {', '.join(unseen)}, so no pixel "
            "becomes that"
        )
    values = find_class_values(data)
    return SupportScans(
        dataset.images,
        dataset.labels,
        dataset.boxes,
        tuple(data.classes),
        () if values == tuple(range(len(values))) else values,
        len(masked),
    )


def _list_folder(
    data: ConfigDict, before: Mapping[str, Any], *, told_ignore: bool
) -> list[VolumeFile]:
    """Lists the scans of a folder, and settles the names of the classes in `data`."""
    told, facts = bool(data.classes), recognise(data.root).facts
    if not told_ignore:
        named = {*facts.classes.values()}
        data.ignore = facts.ignore or tuple(x for x in data.ignore if x not in named)
    settled = settle_data(data).settings
    data.name = settled["name"]
    if not told and "classes" in settled:
        data.classes = tuple(settled["classes"])
        data.label_values = tuple(settled.get("label_values", ()))
        if not (data.name == "acdc" or facts.classes):
            found = data.label_values or tuple(range(len(data.classes)))
            _take_names(data, before, found)
    return list_included(data)[0]


def _list_file(
    path: Path, data: ConfigDict, before: Mapping[str, Any], files: int
) -> list[VolumeFile]:
    """Lists one scan, and settles the names of the classes in `data`.

    Raises:
        InputError: If the scan or its mask is missing.
    """
    data.name = "nifti"
    scan, mask = _pair(path)
    if not data.classes:
        found = find_values([mask], ignore=data.ignore)
        data.classes = ("background", *map(str, found[1:]))
        data.label_values = found
        _take_names(data, before, found)
    first, *others = find_channels(scan, files)
    name = str(scan_stem(scan.name))
    volume = VolumeFile(
        volume_id=name,
        patient=name,
        subset="training",
        phase="",
        group="",
        image_path=first,
        label_path=mask,
        **meaning_of_masks(data, find_class_values(data)),
        more_channels=tuple(others),
    )
    return name_fourth_axis([volume], find_fourth_axis(data))


def _pair(path: Path) -> tuple[Path, Path]:
    """Finds a scan and the mask beside it, of which one is given."""
    stem = scan_stem(path.name)
    if stem is None:
        raise InputError(
            f"{path} is not named like NIfTI or a picture: --support takes a folder of "
            "scans and masks, or one scan with its mask beside it"
        )
    beside = {each.name: each.path for each in list_folder(path.parent).files}
    if scan := partners([stem], beside).get(stem):
        return beside[scan], path
    case = stem.removesuffix("_0000")
    masks = [beside[name] for name, x in partners(beside, beside).items() if x == stem]
    if len(masks) != 1:
        raise InputError(
            f"{len(masks)} files beside {path} are named like its mask: put one mask "
            f"there, as {case}_seg.nii.gz, or name the mask itself by --support"
        )
    return path, masks[0]


def _take_names(
    data: ConfigDict, before: Mapping[str, Any], found: Sequence[int]
) -> None:
    """Gives the values of masks the names that the run's classes have, if they fit."""
    names = tuple(before["classes"])
    values = tuple(before["label_values"]) or tuple(range(len(names)))
    if names and {*found} <= {*values}:
        data.classes, data.label_values = names, values
