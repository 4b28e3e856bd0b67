"""What the fourth axis of a NIfTI file has: frames in time, or channels."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from pix2rep_jax.data.files.nifti import volume_shape
from pix2rep_jax.data.files.nifti_file import load_header
from pix2rep_jax.data.files.picture_file import is_picture, read_picture
from pix2rep_jax.data.layout.dataset_json import read_channel_names
from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.errors import InputError

__all__ = ["count_channels", "find_fourth_axis", "name_fourth_axis"]


def find_fourth_axis(data: ConfigDict) -> str:
    """Finds what a fourth axis has: the setting says it, or else `dataset.json` does.

    Args:
        data: The `data` section; `fourth_axis` and `root` are read.

    Returns:
        "frames" or "channels"; "" if nothing says it.
    """
    # Runs of earlier versions lack the setting.
    if (told := data.get("fourth_axis", "auto")) != "auto":
        return told
    names = read_channel_names(Path(data.root).expanduser() / "dataset.json")
    return "channels" if len(names) > 1 else ""


def name_fourth_axis(
    volumes: Sequence[VolumeFile], fourth_axis: str
) -> list[VolumeFile]:
    """Makes each frame a volume of its own, or takes files with channels as one volume.

    Args:
        volumes: The volumes of a folder, one per file.
        fourth_axis: From `find_fourth_axis`. With "" nothing changes, so a file with a
            fourth axis is refused where it is read.

    Raises:
        InputError: If a file cannot be read, or if a scan has frames and its mask has
            other ones.
    """
    if fourth_axis == "channels":
        return [dataclasses.replace(each, fourth_axis="channels") for each in volumes]
    if fourth_axis == "frames":
        return [frame for each in volumes for frame in _frames(each)]
    return list(volumes)


def count_channels(volume: VolumeFile) -> int:
    """Counts the channels of a scan by its number of files, or else in the first one.

    Args:
        volume: From `name_fourth_axis`.

    Raises:
        InputError: If the file cannot be read.
    """
    if volume.more_channels:
        return len(volume.image_paths)
    if is_picture(volume.image_path):
        return read_picture(volume.image_path).shape[-1]
    channels = volume.fourth_axis == "channels"
    return _count_frames(volume.image_path) if channels else 1


def _frames(volume: VolumeFile) -> Iterator[VolumeFile]:
    """Yields a volume for each frame of a file; the volume itself if it has none."""
    frames = _count_frames(volume.image_path)
    if frames == 1:
        yield volume
        return
    if volume.label_path and _count_frames(volume.label_path) != frames:
        raise InputError(
            f"{volume.image_path} has {frames} frames, and its mask "
            f"{volume.label_path} has {_count_frames(volume.label_path)}: give the "
            "mask one for each, or split both into one file per frame"
        )
    for frame in range(frames):
        name = f"frame{frame + 1:02d}"
        yield dataclasses.replace(
            volume, volume_id=f"{volume.volume_id}_{name}", phase=name, frame=frame
        )


def _count_frames(path: Path) -> int:
    """Reads the length of a file's fourth axis; 1 if it has none."""
    if is_picture(path):
        return 1
    shape = volume_shape(load_header(path)[1].get_data_shape())
    return shape[3] if len(shape) == 4 else 1
