"""The volumes of a data set: listed from its folder, without those left out."""

import dataclasses
import functools
import logging
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pix2rep_jax.data.layout import acdc, nifti_folder
from pix2rep_jax.data.layout.class_values import (
    find_class_values,
    ignored_values,
    values_note,
)
from pix2rep_jax.data.layout.fourth_axis import find_fourth_axis, name_fourth_axis
from pix2rep_jax.data.phantom import write
from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.errors import InputError, check_choice, plain_text

__all__ = ["NAMES", "list_included", "list_volumes", "meaning_of_masks"]

_LOG = logging.getLogger(__name__)

NAMES = ("phantom", "acdc", "nifti")
"""Kinds of data sets; "auto" has become one of them before scans are listed."""


def list_included(
    data: ConfigDict,
) -> tuple[list[VolumeFile], tuple[VolumeFile, ...]]:
    """Lists the volumes to read, and those that `data.exclude` leaves out.

    Raises:
        InputError: As `list_volumes`, and if `data.exclude` names an unknown patient or
            leaves nothing.
    """
    listed = list_volumes(data)
    unknown = sorted(set(data.exclude) - {volume.patient for volume in listed})
    if unknown:
        raise InputError(
            f"data.exclude names {unknown[0]}, but there is no such patient in "
            f"{data.root or 'the phantom'}: correct the name"
        )
    excluded = tuple(volume for volume in listed if volume.patient in data.exclude)
    volumes = [volume for volume in listed if volume.patient not in data.exclude]
    if not volumes:
        raise InputError("data.exclude names all patients: shorten it")
    return volumes, excluded


def list_volumes(data: ConfigDict) -> list[VolumeFile]:
    """Lists the volumes that a configuration names, and writes the phantom if needed.

    Raises:
        InputError: If `data.name` is unknown, or if its folder is missing.
    """
    root = data.root
    check_choice("data.name", data.name, NAMES)
    if data.name == "phantom":
        counts = (data.phantom_training, data.phantom_testing)
        name = f"phantom-seed{data.phantom_seed}-{counts[0]}-{counts[1]}"
        root = write.write(
            Path(root or Path(data.cache_dir) / name).expanduser(),
            seed=data.phantom_seed,
            num_training=counts[0],
            num_testing=counts[1],
        )
    elif not root:
        raise InputError(
            f"data.name={data.name!r} needs the folder of the scans: add "
            "--config.data.root=FOLDER"
        )
    if data.name == "nifti":
        listed = nifti_folder.list_volumes(root, patient_regex=data.patient_regex)
        listed = name_fourth_axis(listed, find_fourth_axis(data))
    else:
        listed = acdc.list_volumes(
            root, all_frames=data.all_frames, exclude=data.exclude
        )
    listed = [
        dataclasses.replace(
            volume,
            volume_id=plain_text(volume.volume_id),
            patient=plain_text(volume.patient),
        )
        for volume in listed
    ]
    if all(volume.label_path is None for volume in listed):
        return listed
    if not data.classes:
        raise InputError(
            "data.classes is empty, and there are masks: name the classes by their "
            "values, background first, such as --config.data.classes=BG,NAME"
        )
    values = find_class_values(data)
    if note := values_note(data, values):
        _say_once(note)
    meaning = meaning_of_masks(data, values)
    return [dataclasses.replace(volume, **meaning) for volume in listed]


def meaning_of_masks(data: ConfigDict, values: tuple[int, ...]) -> dict[str, Any]:
    """Says what the values in masks are, as fields of `VolumeFile`.

    Args:
        data: The `data` section. Runs of earlier versions lack some of it.
        values: The value of each class, from `find_class_values`.

    Raises:
        InputError: If the settings contradict each other.
    """
    return {
        "label_values": values,
        "ignore": ignored_values(data, values),
        "empty_slices": data.get("empty_slices", "background"),
    }


@functools.cache
def _say_once(note: str) -> None:
    """Logs a note; a process that lists the same scans again does not repeat it."""
    _LOG.warning(note)
