"""What a NIfTI header says of a scan's place and voxel size, and which of it counts."""

from collections.abc import Sequence
from typing import NamedTuple

import nibabel as nib
import numpy as np

from pix2rep_jax.errors import InputError

__all__ = ["Place", "find_place", "unit_note"]

SMALLEST_MM, LARGEST_MM = 1e-3, 1e3
"""Voxel sizes beyond these are absurd: below 1 µm or above 1 m."""

ALIKE = 0.01
"""Voxel sizes that differ by a smaller share are the same."""

USUAL_MM = (0.02, 20.0)
"""Sides of pixels that scanners have."""

_SINGULAR = 1e-3
"""Smallest volume that three axes of length 1 may span."""

_FORMS = {
    "sform": ("srow_x", "srow_y", "srow_z"),
    "qform": (
        *("quatern_b", "quatern_c", "quatern_d"),
        *("qoffset_x", "qoffset_y", "qoffset_z"),
    ),
}
"""A header's transforms, and the fields that hold their numbers."""


class Place(NamedTuple):
    """Where a scan lies, as far as its header can be believed.

    Attributes:
        header: The header without sizes and transforms that cannot be used.
        affine: `[4, 4]` float64, maps voxel indices to mm; None if the file does not
            say a place.
        spacing_mm: Voxel size along the file's first three axes, mm.
        notes: Keys of notes in `scan_notes`.
    """

    header: nib.Nifti1Header
    affine: np.ndarray | None
    spacing_mm: tuple[float, float, float]
    notes: tuple[str, ...]


def find_place(header: nib.Nifti1Header, shape: Sequence[int], *, name: str) -> Place:
    """Decides between the transforms and the voxel sizes of a header.

    The sform counts, then the qform; one that is not finite, singular or of absurd size
    never does. The voxel size is that of `pixdim`. It is that of the sform where pixdim
    is 0, not finite, absurd, or 1 along all axes.

    Args:
        header: As it is in the file.
        shape: Lengths of the file's first three axes. Along an axis of length 1 the
            voxel size is not looked at.
        name: Name of the file in the error message.

    Raises:
        InputError: If neither gives a voxel size.
    """
    header = header.copy()
    header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])
    if header["pixdim"][0] not in (-1, 1):  # the standard takes any other for 1
        header["pixdim"][0] = 1
    long = [axis for axis in range(3) if shape[axis] > 1]
    forms = _drop_unusable_forms(header, long)
    affine = next((form for form in forms if form is not None), None)
    ignored = "form_ignored" if any(form is None for form in forms) else ""
    pixdim = np.asarray(header["pixdim"][1:4], float)
    by_affine = None if affine is None else nib.affines.voxel_sizes(affine)
    usable = _is_plausible(pixdim)
    if not usable[long].all():
        if by_affine is None:
            raise InputError(_no_size(pixdim, name))
        spacing, key = by_affine, "size_by_affine"
    elif by_affine is None or np.allclose(by_affine[long], pixdim[long], ALIKE, 0):
        spacing, key = pixdim, ""
    elif (pixdim[long] == 1).all():
        spacing, key = by_affine, "size_by_affine"
    else:
        spacing, key = pixdim, "sizes_differ"
    spacing = np.where(_is_plausible(spacing), spacing, 1.0)
    if not usable.all():
        header["pixdim"][1:4] = spacing
    first, second, third = spacing.tolist()
    keys = tuple(filter(None, (ignored, key)))
    return Place(header, affine, (first, second, third), keys)


def unit_note(sides_mm: Sequence[float]) -> str:
    """Tells whether the sides of a pixel are given in another unit than mm.

    Args:
        sides_mm: As the header says.

    Returns:
        "metres" or "micrometres", which are keys of notes in `scan_notes`; "" if
        scanners have such pixels.
    """
    least, most = USUAL_MM[0] * (1 - 1e-6), USUAL_MM[1] * (1 + 1e-6)  # float32
    if least <= min(sides_mm) and max(sides_mm) <= most:
        return ""
    return "metres" if min(sides_mm) < least else "micrometres"


def _drop_unusable_forms(
    header: nib.Nifti1Header, long: Sequence[int]
) -> list[np.ndarray | None]:
    """Returns sform and qform if they have a code, and clears the unusable ones.

    Returns:
        For each form that has a code its affine, or None if it is unusable.
    """
    forms: list[np.ndarray | None] = []
    for form, numbers in _FORMS.items():
        if not header[f"{form}_code"] > 0:
            continue
        affine = _read_form(header, form)
        if affine is None or not _is_usable(affine, long):
            affine, header[f"{form}_code"] = None, 0
            for number in numbers:
                header[number] = 0
        forms.append(affine)
    return forms


def _read_form(header: nib.Nifti1Header, form: str) -> np.ndarray | None:
    """Computes the affine of "sform" or "qform"; None if its numbers make none."""
    try:
        with np.errstate(all="ignore"):
            return header.get_sform() if form == "sform" else header.get_qform()
    except (ValueError, nib.spatialimages.HeaderDataError):
        return None


def _is_usable(affine: np.ndarray, long: Sequence[int]) -> bool:
    """Whether an affine is finite and spans a volume of a plausible voxel size."""
    if not np.isfinite(affine).all():
        return False
    with np.errstate(all="ignore"):
        sizes = nib.affines.voxel_sizes(affine)
        spanned = abs(np.linalg.det(affine[:3, :3] / sizes))
    return bool(_is_plausible(sizes)[long].all() and spanned > _SINGULAR)


def _is_plausible(sizes_mm: np.ndarray) -> np.ndarray:
    """Tells which voxel sizes are possible."""
    return (sizes_mm >= SMALLEST_MM) & (sizes_mm <= LARGEST_MM)


def _no_size(pixdim: np.ndarray, name: str) -> str:
    """Says that a header has no voxel size that could be used."""
    sizes = ", ".join(f"{size:g}" for size in pixdim)
    return (
        f"{name} says that its voxels measure {sizes} mm, and it has no transform that "
        "says another size: correct the pixdim field of its header"
    )
