"""Distance of a segmentation's surface from the expert's, in mm: HD95 and ASSD."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pix2rep_jax.data.files.labels import UNLABELLED

__all__ = ["SurfaceDistances", "surface_distances"]


class SurfaceDistances(NamedTuple):
    """Distances in one volume by class; NaN where they are not defined.

    Attributes:
        hd95_mm: `[num_classes]` float64, the 95th percentile of the Hausdorff distance.
        assd_mm: `[num_classes]` float64, the average symmetric surface distance.
    """

    hd95_mm: np.ndarray
    assd_mm: np.ndarray


def surface_distances(
    prediction: np.ndarray,
    label: np.ndarray,
    *,
    num_classes: int,
    spacing_mm: Sequence[float],
) -> SurfaceDistances:
    """Measures the distances between the surfaces of each foreground class.

    The surface of a class consists of its voxels that share a face with a voxel outside
    the class, or with the outside of the volume. Distances are between voxel centres.
    A volume of one slice is measured as a plane: its voxels have four faces.

    Voxels that nobody has labelled are taken out of both masks. A face towards such a
    voxel is not a surface, because nobody knows whether the structure ends there.

    HD95 is the larger of the two directed 95th percentiles. (MedPy takes one percentile
    of both directions together, which is mostly smaller.) ASSD is the mean over the
    voxels of both surfaces together, as in MedPy.

    Args:
        prediction: `[rows, columns, slices]` integer classes.
        label: The expert's classes, same shape. 255 (`UNLABELLED`) marks voxels without
            a label.
        num_classes: Number of classes, background (0) included.
        spacing_mm: Distance of rows, of columns and of slices (mm).

    Returns:
        The distances. Background is NaN, and so is a class that has no surface in the
        labelled part of the prediction or of the label.

    Raises:
        ValueError: If the shapes differ, or if there is not one spacing per axis.

    Reference:
        Maier-Hein, Reinke et al., "Metrics reloaded: recommendations for image
        analysis validation", Nature Methods 2024.
    """
    prediction, label = np.asarray(prediction), np.asarray(label)
    if prediction.shape != label.shape or len(spacing_mm) != label.ndim:
        raise ValueError(
            f"a prediction of shape {prediction.shape}, a label of shape {label.shape} "
            f"and a spacing of {tuple(spacing_mm)} mm do not fit"
        )
    # A volume of one slice has no neighbours above and below: its surface is a line.
    long = tuple(axis for axis, length in enumerate(label.shape) if length > 1)
    flat = tuple(axis for axis in range(label.ndim) if axis not in long)
    if len(long) > 1:
        prediction, label = prediction.squeeze(flat), label.squeeze(flat)
        spacing_mm = [spacing_mm[axis] for axis in long]
    result = SurfaceDistances(*np.full((2, num_classes), np.nan))
    known = label != UNLABELLED
    unknown = None if known.all() else ~known
    for value in range(1, num_classes):
        masks = (prediction == value) & known, label == value
        if not all(mask.any() for mask in masks):
            continue
        one, other = directed_distances(*masks, spacing_mm=spacing_mm, unknown=unknown)
        if not (len(one) and len(other)):
            continue
        result.hd95_mm[value] = max(np.percentile(one, 95), np.percentile(other, 95))
        result.assd_mm[value] = np.concatenate([one, other]).mean()
    return result


def directed_distances(
    mask_a: np.ndarray,
    mask_b: np.ndarray,
    *,
    spacing_mm: Sequence[float],
    unknown: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Measures how far each surface voxel of a mask is from the other's surface.

    Args:
        mask_a: Bool, not empty.
        mask_b: Bool, not empty, same shape.
        spacing_mm: Voxel spacing along each axis (mm).
        unknown: Bool, same shape: voxels in neither mask that may belong to both.

    Returns:
        The distances from a to b and from b to a (mm), one number per surface voxel.
        Both are empty if one of the masks borders on unknown voxels alone.
    """
    # Late: a run that has not trained yet need not wait for SciPy's import.
    from scipy import ndimage

    # The box around both masks gives the same result in a tenth of the volume.
    (box,) = ndimage.find_objects((mask_a | mask_b).astype(np.int8))
    if unknown is None:
        inner = mask_a[box], mask_b[box]
    else:  # the voxels beside the masks are needed too
        box = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)
        inner = mask_a[box] | unknown[box], mask_b[box] | unknown[box]
    surfaces = [
        mask[box] & ~ndimage.binary_erosion(filled)
        for mask, filled in zip((mask_a, mask_b), inner, strict=True)
    ]
    if not all(surface.any() for surface in surfaces):
        return np.zeros(0), np.zeros(0)
    to_a, to_b = (
        ndimage.distance_transform_edt(~surface, sampling=spacing_mm)
        for surface in surfaces
    )
    return to_b[surfaces[0]], to_a[surfaces[1]]
