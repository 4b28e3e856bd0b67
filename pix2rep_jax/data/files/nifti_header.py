"""What a NIfTI header says of a scan's place and voxel size, and which of it counts."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import nibabel as nib
import numpy as np

__all__ = [
    "LARGEST_MM",
    "SMALLEST_MM",
    "Place",
    "apart_mm",
    "find_place",
    "known_places",
    "unit_note",
]

SMALLEST_MM, LARGEST_MM = 1e-3, 1e3
"""Voxel sizes beyond these are absurd: below 1 µm or above 1 m."""

ALIKE = 0.01
"""Voxel sizes that differ by a smaller share are the same."""

USUAL_MM = (0.02, 20.0)
"""Sides of pixels that scanners have."""

_ROUNDING = 1e-3
"""A quaternion that is longer than 1 by more is damaged, and not rounded."""

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
        spacing_mm: Voxel size along the file's first three axes, mm; None if the file
            does not say a possible one.
        notes: Keys of notes in `scan_notes`.
    """

    header: nib.Nifti1Header
    affine: np.ndarray | None
    spacing_mm: tuple[float, float, float] | None
    notes: tuple[str, ...]


def find_place(header: nib.Nifti1Header, shape: Sequence[int]) -> Place:
    """Decides between the transforms and the voxel sizes of a header.

    The sform counts, then the qform; one that is not finite, singular or of absurd size
    never does. The voxel size is that of `pixdim`. It is that of the sform where pixdim
    is 0, not finite, absurd, or 1 along all axes.

    Args:
        header: As it is in the file.
        shape: Lengths of the file's first three axes. Along an axis of length 1 the
            voxel size is not looked at.
    """
    header = header.copy()
    header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])
    if header["pixdim"][0] not in (-1, 1):  # the standard takes any other for 1
        header["pixdim"][0] = 1
    _shorten_quaternion(header)
    long = [axis for axis in range(3) if shape[axis] > 1]
    pixdim = np.asarray(header["pixdim"][1:4], float)
    usable = _is_plausible(pixdim)
    affine, ignored = _drop_unusable_forms(header, long)
    if not usable[long].all():
        ignored.discard("qform")  # it has its voxel size from pixdim
    spacing: np.ndarray | None
    by_affine = None if affine is None else nib.affines.voxel_sizes(affine)
    if not usable[long].all():
        spacing, key = by_affine, "size_by_affine"
    elif by_affine is None or np.allclose(by_affine[long], pixdim[long], ALIKE, 0):
        spacing, key = pixdim, ""
    elif (pixdim[long] == 1).all():
        spacing, key = by_affine, "size_by_affine"
    elif (by_affine[long] == 1).all():  # it says directions alone, as in ACDC
        spacing, key = pixdim, ""
    else:
        spacing, key = pixdim, "sizes_differ"
    sizes = None
    if spacing is not None:
        first, second, third = np.where(_is_plausible(spacing), spacing, 1.0).tolist()
        sizes = (first, second, third)
    if not usable.all():
        header["pixdim"][1:4] = sizes or 1
    keys = tuple(filter(None, ("form_ignored" if ignored else "", key)))
    return Place(header, affine, sizes, keys)


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


def apart_mm(
    one: nib.Nifti1Header, other: nib.Nifti1Header, shape: Sequence[int]
) -> float:
    """Measures how far two files lie apart, mm; 0 if a place is unknown.

    A header may hold two affines, and programs differ in which of them they use. The
    closest pair counts.
    """
    pairs = itertools.product(known_places(one), known_places(other))
    return min((_farthest_apart(*pair, shape) for pair in pairs), default=0.0)


def known_places(header: nib.Nifti1Header) -> list[np.ndarray]:
    """Returns the affines in a header: none, one or two."""
    forms = (header.get_sform(coded=True), header.get_qform(coded=True))
    return [affine for affine, code in forms if code]


def _shorten_quaternion(header: nib.Nifti1Header) -> None:
    """Mends a qform whose rounding made its quaternion longer than 1.

    Such as half a turn: nibabel refuses it from 1 + 2e-7 on, other programs do not.
    """
    fields = ("quatern_b", "quatern_c", "quatern_d")
    parts = np.array([header[name] for name in fields], float)
    with np.errstate(all="ignore"):
        length = np.linalg.norm(parts)
    if 1 < length <= 1 + _ROUNDING:
        for name, part in zip(fields, parts / length, strict=True):
            header[name] = part


def _drop_unusable_forms(
    header: nib.Nifti1Header, long: Sequence[int]
) -> tuple[np.ndarray | None, set[str]]:
    """Clears the transforms of a header that cannot be used.

    Returns:
        The affine of the first that can; and which of "sform" and "qform" were cleared.
    """
    first, cleared = None, set()
    for form, numbers in _FORMS.items():
        if not header[f"{form}_code"] > 0:
            continue
        affine = _read_form(header, form)
        if affine is not None and _is_usable(affine, long):
            first = affine if first is None else first
            continue
        cleared.add(form)
        for field in (f"{form}_code", *numbers):
            header[field] = 0
    return first, cleared


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


def _farthest_apart(
    first: np.ndarray, second: np.ndarray, shape: Sequence[int]
) -> float:
    """Measures the largest distance between a voxel's places under two affines, mm.

    It is largest at a corner.
    """
    corners = list(itertools.product(*((0, size - 1) for size in shape)))
    moved = nib.affines.apply_affine(first - second + np.diag([0, 0, 0, 1]), corners)
    return float(np.linalg.norm(moved, axis=-1).max())
