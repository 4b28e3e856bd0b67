"""Data sets without voxels: their patients, and a split of them."""

import dataclasses
import pathlib

import numpy as np
import pytest

from configs.pix2rep import get_config
from pix2rep_jax.data.dataset import Dataset
from pix2rep_jax.data.slices.volume import VolumeFile, VolumeRecord
from pix2rep_jax.errors import InputError

GROUPS = ("DCM", "HCM", "MINF", "NOR", "RV")
CONFIG = get_config("quick")


def make_data(**changes):
    data = CONFIG.data.copy_and_resolve_references()
    data.name = "acdc"
    with data.ignore_type():  # "auto" is a word where a number may stand
        data.update(changes)
    return data


def patient(number: int) -> str:
    return f"patient{number:03d}"


def make_volumes(numbers, *, subset="training", groups=GROUPS, masks=True, frames=0):
    """Two labelled phases of each patient, in groups by turns, and frames without."""
    volumes = []
    for number in numbers:
        common = dict(
            patient=patient(number),
            subset=subset,
            group=groups[number % len(groups)],
            image_path=pathlib.Path("scan.nii.gz"),
        )
        phases = ["ED", "ES"] + [f"frame{k:02d}" for k in range(frames)]
        for place, phase in enumerate(phases):
            label = pathlib.Path("gt.nii.gz") if masks and place < 2 else None
            name = f"{patient(number)}_{phase}"
            volumes.append(
                VolumeFile(volume_id=name, phase=phase, label_path=label, **common)
            )
    return volumes


def make_dataset(volumes, *, counts=None, exclude=()) -> Dataset:
    """Slices of nothing: a split looks at whose they are."""
    excluded = tuple(each for each in volumes if each.patient in exclude)
    volumes = [each for each in volumes if each.patient not in exclude]
    if counts is None:
        counts = [3 + int(each.patient[-3:]) % 4 for each in volumes]
    index = np.repeat(np.arange(len(volumes), dtype=np.int32), counts)
    return Dataset(
        images=np.zeros((len(index), 1, 1, 1), np.float32),
        labels=np.zeros((len(index), 1, 1), np.uint8),
        volume_index=index,
        slice_index=np.concatenate([np.arange(count) for count in counts]),
        boxes=np.zeros((len(index), 4), np.int32),
        volumes=tuple(VolumeRecord(**vars(each)) for each in volumes),
        excluded=excluded,
    )


def number_scans(dataset: Dataset, first: int = 0) -> Dataset:
    """Gives every volume voxels of its own, and a mask where it has one."""
    volumes = [
        dataclasses.replace(
            each,
            image_digest=f"image{first + index}",
            label_digest=f"label{first + index}" if each.label_path else "",
        )
        for index, each in enumerate(dataset.volumes)
    ]
    return dataclasses.replace(dataset, volumes=tuple(volumes))


def refuse(match, call):
    """The one sentence with which settings are refused."""
    with pytest.raises(InputError, match=match) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
