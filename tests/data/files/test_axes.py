"""Rows, columns and slices are found in every way that a file may hold them."""

import itertools

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data.files.axes import (
    Axes,
    SliceAxis,
    SliceRule,
    find_axes,
    most_common,
)

ORDERS = list(itertools.permutations(range(3)))
ALL = [
    Axes(order, flipped)
    for order in ORDERS
    for flipped in itertools.product((False, True), repeat=3)
]
ONE_MM = (1.0, 1.0, 1.0)


def store(axes, shape=(4, 5, 6), spacing_mm=ONE_MM):
    """A scan that lies to the right, front and top, as a file with other axes."""
    first = np.arange(np.prod(shape)).reshape(shape)
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = -3, 8, 20
    turns = [[axes.order.index(i), 1 - 2 * axes.flipped[i]] for i in range(3)]
    image = nib.Nifti1Image(first.astype(np.int16), affine).as_reoriented(turns)
    return np.asarray(image.dataobj), image.affine, first


def find(shape, spacing_mm=ONE_MM, affine=None, **rule):
    return find_axes(shape, spacing_mm, affine, SliceRule(**rule))


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (1, 3, 1)])
def test_back_is_where_it_came_from(shape):
    """Each of the 48 ways undoes itself, and moves each voxel as it says."""
    array = np.arange(np.prod(shape)).reshape(shape)
    for axes in ALL:
        turned = axes.to_slices(array)
        np.testing.assert_array_equal(axes.to_file(turned), array)
        assert turned.shape == (*(shape[axis] for axis in axes.order), *shape[3:])
        assert axes.of_slices(shape[:3]) == turned.shape[:3]
        assert axes.of_file(turned.shape[:3]) == shape[:3]
        for place in itertools.product(*map(range, shape)):
            ends = [shape[axis] - 1 for axis in axes.order]
            moved = [
                end - place[axis] if flip else place[axis]
                for axis, flip, end in zip(axes.order, axes.flipped, ends, strict=True)
            ]
            assert turned[(*moved, *place[3:])] == array[place]


@pytest.mark.parametrize(
    "shape, spacing_mm, axis",
    [
        ((20, 20, 20), ONE_MM, 2),
        ((20, 20, 20), (1.5, 1, 1), 0),
        ((20, 20, 20), (1, 1.5, 1), 1),
        ((20, 20, 20), (1, 1, 1.5), 2),
        ((20, 20, 20), (1.49, 1, 1), 2),
        ((20, 20, 20), (8, 8, 1), 2),  # no single one stands out
        ((20, 20, 20), (1.4, 1.0, 2.0), 2),
        ((20, 20, 20), (2.0, 1.4, 1.0), 2),  # not of both others
        ((1, 20, 20), ONE_MM, 0),
        ((20, 1, 20), ONE_MM, 1),
        ((20, 20, 1), (9, 1, 1), 2),  # length comes before spacing
        ((1, 20, 20), (1, 1, 9), 0),
        ((1, 20, 1), ONE_MM, 2),
    ],
)
def test_length_decides_then_spacing_then_the_file(shape, spacing_mm, axis):
    """The rule of data.slice_axis=auto; rows and columns keep their order."""
    axes, found, _ = find(shape, spacing_mm)
    assert found == (axis, "", "")
    assert axes.order == (*(i for i in range(3) if i != axis), axis)
    assert axes.flipped == (False, False, False)
    if axis != 2:  # a run's axis does not come before either
        run = SliceAxis(2, "A/P")
        assert find(shape, spacing_mm, expected=run)[1].axis == axis
    for chosen in range(3):
        assert find(shape, spacing_mm, slice_axis=chosen)[1].axis == chosen


@pytest.mark.parametrize("anatomy", ["R/L", "A/P", "S/I"])
def test_the_body_decides_where_the_voxels_are_cubes(anatomy):
    """Wherever the file has the body's axis, it is the slices' axis, as in the run."""
    place = ("R/L", "A/P", "S/I").index(anatomy)
    for axes in ALL:
        array, affine, first = store(axes)
        run = SliceAxis(1, anatomy)
        found, axis, notes = find(array.shape, affine=affine, expected=run)
        assert axis.anatomy == anatomy
        assert found.to_slices(array).shape[2] == first.shape[place]
        assert ("turned" in notes) == (axis.axis != 1)
        fixed = SliceRule(0, "file", SliceAxis(0, anatomy))
        assert find_axes(array.shape, ONE_MM, affine, fixed)[1] == axis


def test_without_an_affine_the_run_decides():
    """A file that says nothing is stored as the run's scans are."""
    assert find((9, 9, 9), expected=SliceAxis(1, "A/P"))[1] == (1, "", "")
    assert find((9, 9, 9), expected=SliceAxis(0, ""))[1] == (0, "", "")
    askew = nib.affines.from_matvec(
        [[0.75, -0.66, 0], [0.66, 0.75, 0], [0, 0, 1]], [0, 0, 0]
    )
    assert find((9, 9, 9), affine=askew, expected=SliceAxis(1, "A/P"))[1] == (1, "", "")


def test_canonical_is_what_nibabel_calls_so():
    """All 48 ways of storing a scan give the same array, and go back."""
    for axes in ALL:
        array, affine, first = store(axes, spacing_mm=(1.0, 1.0, 4.0))
        sizes = nib.affines.voxel_sizes(affine)
        found, axis, notes = find(array.shape, sizes, affine, orientation="canonical")
        np.testing.assert_array_equal(found.to_slices(array), first)
        np.testing.assert_array_equal(found.to_file(first), array)
        assert axis == (2, "S/I", "RA") and notes == ()
        # Coronal slices, all the same way up.
        found, axis, _ = find(
            array.shape, sizes, affine, orientation="canonical", slice_axis=1
        )
        np.testing.assert_array_equal(found.to_slices(array), first.swapaxes(1, 2))
        assert axis == (1, "A/P", "RS")


@pytest.mark.parametrize("degrees, is_turned", [(20, True), (40, False)])
def test_oblique_scans_are_used_as_stored(degrees, is_turned):
    """Between two of the body's axes none is right, and a note says so."""
    angle = np.deg2rad(degrees)
    turn = [[0, 0, 1], [-np.cos(angle), -np.sin(angle), 0]]
    affine = nib.affines.from_matvec([*turn, np.cross(*turn)], [1, 2, 3])
    axes, axis, notes = find((4, 5, 6), affine=affine, orientation="canonical")
    assert (notes == ()) == is_turned
    assert ("not_canonical" in notes) == (not is_turned)
    assert (axes == Axes()) == (not is_turned)
    assert (axis.anatomy != "") == is_turned
    assert find((4, 5, 6), orientation="canonical")[2] == ("not_canonical",)


def test_notes_say_what_is_unlike_the_run():
    """Another axis of the file, another one of the body, or neither."""
    _, affine, _ = store(Axes((2, 0, 1)), spacing_mm=(1.0, 1.0, 5.0))
    sizes = nib.affines.voxel_sizes(affine)
    axis = int(sizes.argmax())

    def notes(expected):
        return find((9, 9, 9), sizes, affine, expected=expected)[2]

    assert axis != 2
    assert notes(SliceAxis(axis, "S/I")) == notes(SliceAxis(axis, "")) == ()
    assert notes(SliceAxis(2, "S/I")) == ("turned",)
    assert notes(SliceAxis(axis, "R/L")) == ("other_plane",)
    assert notes(None) == ("slices_not_last",)
    assert find((9, 9, 9), sizes, affine, slice_axis=axis)[2] == ()


def test_a_mirrored_or_transposed_scan_is_said():
    """Where rows and columns run to is known by the affine, however it is stored."""
    run = SliceAxis(2, "S/I", "RA")
    seen = set()
    for axes in ALL:
        array, affine, _ = store(axes)
        found, axis, notes = find(array.shape, affine=affine, expected=run)
        ends = nib.aff2axcodes(affine)
        assert axis.in_plane == "".join(ends[k] for k in found.order[:2])
        assert ("other_ends" in notes) == (axis.in_plane != "RA")
        seen.add(axis.in_plane)
    assert len(seen) == 8
    # Other slices are another matter, and a run of unknown ends expects none.
    assert "other_ends" not in find((9, 9, 9), affine=affine)[2]
    for expected in (SliceAxis(2, "S/I"), SliceAxis(2, "")):
        assert "other_ends" not in find((9, 9, 9), affine=affine, expected=expected)[2]


def test_the_axis_of_most_scans_is_theirs():
    """The first of several that are as frequent; the third without any."""
    first, second = SliceAxis(0, "S/I"), SliceAxis(2, "")
    assert most_common([first, second, second]) == second
    assert most_common([first, second]) == first
    assert most_common([]) == (2, "", "")
