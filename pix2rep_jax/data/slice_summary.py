"""One line on what a run sees of its scans: which slices, and how large the pixels."""

from typing import NamedTuple

from ml_collections import ConfigDict

from pix2rep_jax.data.dataset import Dataset
from pix2rep_jax.data.files.axes import STANDS_OUT, SliceAxis, most_common
from pix2rep_jax.data.files.picture_file import NO_PIXEL_SIZE, is_picture
from pix2rep_jax.data.preparation import field_of_view_mm
from pix2rep_jax.data.slices.grid import middle_side
from pix2rep_jax.data.slices.volume import VolumeRecord

__all__ = ["Inputs", "describe_inputs", "describe_slices", "usual_slice_axis"]


class Inputs(NamedTuple):
    """What all scans of a run have in common, and its network expects of others.

    Attributes:
        channels: How many channels each has.
        files: In how many files these are.
        pictures: Whether they are pictures (PNG, JPEG, TIFF). Arrays then have the axes
            of a picture.
        label_values: The value of each class in the experts' masks; () if there are
            none, or if they are 0, 1, 2, …
        sizes: Whether they are pictures whose pixel sizes are all known.
    """

    channels: int = 1
    files: int = 1
    pictures: bool = False
    label_values: tuple[int, ...] = ()
    sizes: bool = False


def describe_inputs(dataset: Dataset) -> Inputs:
    """Says what the scans of a data set have in common."""
    masked = [each for each in dataset.volumes if each.label_path]
    values = masked[0].label_values if masked else ()
    pictures = all(is_picture(each.image_path) for each in dataset.volumes)
    unknown = any(NO_PIXEL_SIZE in each.notes for each in dataset.volumes)
    return Inputs(
        channels=dataset.images.shape[-1],
        files=len(dataset.volumes[0].image_paths),
        pictures=pictures,
        label_values=() if values == tuple(range(len(values))) else values,
        sizes=pictures and not unknown,
    )


def usual_slice_axis(dataset: Dataset) -> SliceAxis:
    """Returns along which axis the slices of most volumes lie."""
    return most_common(volume.slice_axis for volume in dataset.volumes)


def describe_slices(dataset: Dataset, data: ConfigDict) -> str:
    """Says along which axis slices were taken, and how the network sees them.

    Args:
        dataset: All slices.
        data: The `data` section that the data set was loaded by.

    Returns:
        A line such as "slices along axis 2 (S/I); the network sees 64 x 64 px of
        2.5 mm". Where voxels are cubes, it adds how to choose other slices.
    """
    usual = usual_slice_axis(dataset)
    anatomy = f" ({usual.anatomy})" if usual.anatomy else ""
    pictures = all(is_picture(volume.image_path) for volume in dataset.volumes)
    which = "pictures" if pictures else f"slices along axis {usual.axis}{anatomy}"
    line = f"{which}; the network sees {data.size} x {data.size}"
    if data.crop == "whole":
        height, width = dataset.labels.shape[1:]
        line = (
            f"{which}; the network sees all of them, up to {height} x {width} px of "
            f"{data.spacing_mm:.3g} mm, and patches of {data.size} px in training"
        )
    elif data.crop == "middle":
        side = middle_side(data.size)
        line = (
            f"{which}; the network sees the middle {side} x {side} px of "
            f"{field_of_view_mm(data) / data.size:.3g} mm, and patches of {data.size} "
            "px in training"
        )
    elif data.crop == "mask_box":
        every = sum(each.shape[2] for each in dataset.volumes)
        line += (
            f" px of a box around the expert's mask, which uses the ground truth; "
            f"{every - len(dataset.images)} of {every} slices have an empty mask and "
            "are left out"
        )
    else:
        line += f" px of {field_of_view_mm(data) / data.size:.3g} mm"
    if (channels := dataset.images.shape[-1]) > 1:
        line += f", {channels} channels"
    cubes = 0 if pictures else sum(map(_is_cubic, dataset.volumes))
    if cubes and data.slice_axis == "auto":
        others = " or ".join(str(axis) for axis in range(3) if axis != usual.axis)
        line += f"; voxels are cubes, so data.slice_axis={others} is possible too"
    return line


def _is_cubic(volume: VolumeRecord) -> bool:
    """Whether neither lengths nor voxel sizes tell where a scan's slices lie."""
    _, middle, most = sorted(volume.spacing_mm)
    return 1 not in volume.shape and most < STANDS_OUT * middle
