"""Which of a file's axes are a scan's rows, columns and slices."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

__all__ = [
    "AS_STORED",
    "AUTO",
    "Axes",
    "SliceAxis",
    "SliceRule",
    "find_axes",
    "most_common",
]

STANDS_OUT = 1.5
"""Slices lie along the axis whose spacing is at least this many times the others'."""

MAX_TILT = np.deg2rad(30)
"""Largest angle (rad) between an axis and the body's that still gives it its name."""

BODY = ("R/L", "A/P", "S/I")
"""Names of the body's axes, in the order of NIfTI's coordinates."""

_OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))
"""The other end of each of the body's axes."""


@dataclasses.dataclass(frozen=True)
class Axes:
    """How a file's first three axes became rows, columns and slices.

    Attributes:
        order: The file's axis that became rows, that became columns, and slices.
        flipped: Whether each of these three runs against the file's axis.
    """

    order: tuple[int, int, int] = (0, 1, 2)
    flipped: tuple[bool, bool, bool] = (False, False, False)

    def to_slices(self, array: np.ndarray) -> np.ndarray:
        """Turns an array of the file into `[rows, columns, slices, ...]`, as a view."""
        return self._flip(np.transpose(array, (*self.order, *range(3, array.ndim))))

    def to_file(self, array: np.ndarray) -> np.ndarray:
        """Turns `[rows, columns, slices, ...]` back into the file's axes, as a view."""
        back = (*np.argsort(self.order), *range(3, array.ndim))
        return np.transpose(self._flip(array), back)

    def of_slices(self, values: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Sorts a value for each of the file's axes: rows', columns', slices'."""
        rows, columns, slices = (values[axis] for axis in self.order)
        return rows, columns, slices

    def of_file(self, values: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Sorts the values of rows, columns and slices by the file's axes."""
        first, second, third = (values[self.order.index(axis)] for axis in range(3))
        return first, second, third

    def _flip(self, array: np.ndarray) -> np.ndarray:
        return array[tuple(slice(None, None, -1 if x else 1) for x in self.flipped)]


AS_STORED = Axes()
"""The axes of a file whose slices lie along its third axis."""


class SliceAxis(NamedTuple):
    """Along which axis the slices lie.

    Attributes:
        axis: Its index, 0 to 2: of the file, or of the turned scan where
            `data.orientation` is "canonical".
        anatomy: "R/L", "A/P" or "S/I"; "" if the file does not say it.
        in_plane: Where rows and columns run to, such as "LP" for left and posterior;
            "" if the file does not say it.
    """

    axis: int = 2
    anatomy: str = ""
    in_plane: str = ""


LAST = SliceAxis()
"""The slice axis of files whose slices lie along the third axis, wherever that is."""


class SliceRule(NamedTuple):
    """How the axes of a set of scans are found.

    Attributes:
        slice_axis: The setting `data.slice_axis`: "auto", or 0 to 2.
        orientation: The setting `data.orientation`: "file" or "canonical".
        expected: The slice axis of the run that the scans are used with; None for the
            run's own scans.
    """

    slice_axis: str | int = "auto"
    orientation: str = "file"
    expected: SliceAxis | None = None


AUTO = SliceRule()
"""The rule of scans that no setting and no run says anything of."""


def find_axes(
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    affine: np.ndarray | None,
    rule: SliceRule,
) -> tuple[Axes, SliceAxis, tuple[str, ...]]:
    """Finds rows, columns and slices. Rows and columns keep the file's order.

    Args:
        shape: Lengths of the file's three axes.
        spacing_mm: Voxel sizes along them, mm.
        affine: `[4, 4]`, from voxel indices to mm; None if the file has none.
        rule: How to find them.

    Returns:
        The axes, along which of them the slices lie, and the keys of notes in
        `scan_notes`.
    """
    names, notes, turned = _body_axes(affine), [], AS_STORED
    if rule.orientation == "canonical":
        if affine is None or names is None:
            notes.append("not_canonical")
        else:
            turned = _canonical(affine)
    anatomy = turned.of_slices(names or ("", "", ""))
    index = _slice_index(
        turned.of_slices(shape), turned.of_slices(spacing_mm), anatomy, rule
    )
    order = [*(axis for axis in range(3) if axis != index), index]
    axes = Axes(_take(turned.order, order), _take(turned.flipped, order))
    in_plane = "" if affine is None or names is None else _ends(affine, axes)[:2]
    found = SliceAxis(index, anatomy[index], in_plane)
    return axes, found, (*notes, *_notes(found, rule))


def most_common(found: Iterable[SliceAxis]) -> SliceAxis:
    """Returns the slice axis of most scans; the first of several as frequent."""
    counted = collections.Counter(found).most_common(1)
    return counted[0][0] if counted else LAST


def _slice_index(
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    anatomy: Sequence[str],
    rule: SliceRule,
) -> int:
    """Decides along which axis the slices lie: the first rule that says it counts."""
    expected = rule.expected
    if rule.slice_axis != "auto" and expected is None:
        return int(rule.slice_axis)
    # 1. An axis of length 1: the file holds one slice.
    if 1 in shape:
        return max(axis for axis in range(3) if shape[axis] == 1)
    # 2. An axis whose spacing stands out, unless the run was told another one.
    if rule.slice_axis == "auto":
        for axis in range(3):
            others = [spacing_mm[other] for other in range(3) if other != axis]
            if spacing_mm[axis] >= STANDS_OUT * max(others):
                return axis
    if expected is None:
        return 2
    # 3. The body's axis along which the run's slices lie, then the same axis.
    if expected.anatomy and expected.anatomy in anatomy:
        return list(anatomy).index(expected.anatomy)
    return expected.axis


def _notes(found: SliceAxis, rule: SliceRule) -> tuple[str, ...]:
    """Lists what a user should know about a scan's slice axis."""
    expected = rule.expected
    if expected is None:
        is_plain = rule.slice_axis != "auto" or rule.orientation == "canonical"
        return () if is_plain or found.axis == 2 else ("slices_not_last",)
    notes = ["turned"] if found.axis != expected.axis else []
    if found.anatomy and expected.anatomy and found.anatomy != expected.anatomy:
        notes.append("other_plane")
    elif found.in_plane and expected.in_plane and found.in_plane != expected.in_plane:
        notes.append("other_ends")
    return tuple(notes)


def _body_axes(affine: np.ndarray | None) -> tuple[str, str, str] | None:
    """Names the body's axis of each of the file's; None if they lie askew."""
    if affine is None or nib.affines.obliquity(affine).max() > MAX_TILT:
        return None
    first, second, third = nib.orientations.io_orientation(affine)[:, 0].astype(int)
    return BODY[first], BODY[second], BODY[third]


def _ends(affine: np.ndarray, axes: Axes) -> str:
    """Tells where rows, columns and slices run to, such as "LPS"."""
    ends = axes.of_slices(nib.orientations.aff2axcodes(affine))
    ways = zip(ends, axes.flipped, strict=True)
    return "".join(_OPPOSITE[end] if flip else end for end, flip in ways)


def _canonical(affine: np.ndarray) -> Axes:
    """Returns the axes that run to the right, to the front and up (RAS+)."""
    orientation = nib.orientations.io_orientation(affine)
    first, second, third = np.argsort(orientation[:, 0]).tolist()
    order = (first, second, third)
    return Axes(order, _take(orientation[:, 1] < 0, order))


def _take(
    values: Sequence[Any] | np.ndarray, order: Sequence[int]
) -> tuple[Any, Any, Any]:
    """Takes three values in another order, as Python's own types."""
    first, second, third = (np.asarray(values)[list(order)]).tolist()
    return first, second, third
