import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data.files.mask import is_mask, read_label, scan_name
from pix2rep_jax.data.files.nifti import read_volume
from pix2rep_jax.errors import InputError
from tests.support.nifti import (
    AFFINE,
    SHAPE,
    make_image,
    make_label,
    read_mask,
    refuse,
    save,
)


def test_mask_that_lies_elsewhere_is_refused(tmp_path):
    """A mask whose axes run the other way has the scan's shape, and other anatomy."""
    path = tmp_path / "mask.nii"
    scan = read_volume(save(tmp_path / "scan.nii", make_image()))

    def read_on_scan(path, scan=scan):
        return read_label(path, shape=SHAPE, num_classes=4, like=scan)

    nearly = AFFINE + np.array([[0, 0, 0, 0.6]] + [[0] * 4] * 3)  # under half a voxel
    for affine in (AFFINE, nearly):
        save(path, make_label(), affine)
        np.testing.assert_array_equal(read_on_scan(path), make_label())
    shifted, flipped = AFFINE.copy(), AFFINE.copy()
    shifted[0, 3] += 12.5
    flipped[:, 1] *= -1
    far = 19 * 2 * np.hypot(0.1, 1.25)  # the last column, from where it belongs
    refuse(save(path, make_label(), shifted), read_on_scan, "12.5 mm", "affine")
    refuse(save(path, make_label(), flipped), read_on_scan, f"{far:.3g} mm")
    # A header may say two places; programs read, and write, the one or the other.
    straight = np.diag([-1.5, -1.25, 8, 1])  # a qform holds no shear
    both = nib.Nifti1Image(make_image(), AFFINE)
    both.set_sform(shifted, 2)
    both.set_qform(straight, 1)
    nib.save(both, tmp_path / "both.nii")
    for affine in (straight, shifted):
        save(path, make_label(), affine)
        read_on_scan(path, scan=read_volume(tmp_path / "both.nii"))
    save(path, make_label(), flipped)
    with pytest.raises(InputError, match="mm away"):
        read_on_scan(path, scan=read_volume(tmp_path / "both.nii"))
    placeless = tmp_path / "placeless.nii"  # says nothing of where it lies
    save(placeless, make_label(), None)
    assert not nib.load(placeless).header["sform_code"]
    np.testing.assert_array_equal(read_on_scan(placeless), make_label())
    np.testing.assert_array_equal(
        read_on_scan(path, scan=read_volume(placeless)), make_label()
    )


@pytest.mark.parametrize("shape", [(20, 16, 3), (16, 20, 4), (16, 20), (16, 20, 3, 2)])
def test_mask_of_another_shape_is_refused(tmp_path, shape):
    """Both shapes are said."""
    path = save(tmp_path / "mask.nii.gz", make_label(shape))
    refuse(path, read_mask, str(shape), str(SHAPE))


@pytest.mark.parametrize("value", [0.5, 4, -1, 255, np.nan, np.inf, 2.02])
def test_mask_with_foreign_label_is_refused(tmp_path, value):
    """A label that is no class, or between two, is named with the setting."""
    array = make_label().astype(np.float32)
    array[2, 3, 1] = value
    path = save(tmp_path / "mask.nii.gz", array)
    remedy = "data.ignore" if value in (-1, 255) else "data.label_values"
    refuse(path, read_mask, f"label {value:g}", "data.classes", "0 to 3", remedy)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_mask_of_any_type_is_read(tmp_path, dtype):
    """Whole numbers are labels, however they are stored."""
    path = save(tmp_path / "mask.nii", make_label().astype(dtype))
    read = read_mask(path)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, make_label())


@pytest.mark.parametrize("dtype", [np.int16, np.uint8])
def test_mask_saved_with_a_slope_is_read(tmp_path, dtype):
    """nibabel stores real numbers under a scan's header of integers times a slope, and
    what comes back is a little beside the labels."""
    scan = save(tmp_path / "scan.nii", make_image().astype(dtype))
    label, path = make_label(), tmp_path / "mask.nii"
    label[label > 0] += 1  # the greatest one is 4: a byte's steps do not meet 1 to 3
    nib.save(nib.Nifti1Image(label.astype(float), None, nib.load(scan).header), path)
    assert not np.isin(np.unique(nib.load(path).dataobj), range(5)).all()
    read = read_label(path, shape=label.shape, num_classes=5)
    np.testing.assert_array_equal(read, label)


def set_forms(path, *, sform=None, qform=None):
    """Writes affines into a file's header as they are, finite or not."""
    content = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(content[:348]))
    for name, affine in (("sform", sform), ("qform", qform)):
        if affine is not None:
            getattr(header, f"set_{name}")(affine, 1)
    content[:348] = header.binaryblock
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("bad", [np.nan, 0])
@pytest.mark.parametrize("form", ["sform", "qform"])
def test_flipped_mask_is_refused_by_its_finite_affine(tmp_path, form, bad):
    """An affine that is not finite, or not invertible, does not decide; the other does.
    A mask that says such a place and no other is refused."""
    straight = np.diag([-1.5, -1.25, 8, 1])
    flipped = straight.copy()
    flipped[:, 1] *= -1
    scan = read_volume(save(tmp_path / "scan.nii", make_image(), straight))
    path = save(tmp_path / "mask.nii", make_label(), None)

    def read_on_scan(path):
        return read_label(path, shape=SHAPE, num_classes=4, like=scan)

    broken = np.eye(4)
    broken[:3] = bad
    other = {"sform": "qform", "qform": "sform"}[form]
    set_forms(path, **{other: straight})
    np.testing.assert_array_equal(read_on_scan(path), make_label())
    if form == "sform":
        set_forms(path, sform=broken)
    else:  # a quaternion holds no singular matrix
        spoil_qform(path)
    np.testing.assert_array_equal(read_on_scan(path), make_label())
    set_forms(path, **{other: flipped})
    refuse(path, read_on_scan, "mm away", "affine")
    save(path, make_label(), None)
    if form == "sform":
        set_forms(path, sform=broken)
    else:
        spoil_qform(path)
    refuse(path, read_on_scan, "affine")


def spoil_qform(path):
    """Makes the qform of a file NaN, and says that it holds a place."""
    content = bytearray(path.read_bytes())
    content[252:254] = np.int16(1).tobytes()  # qform_code
    content[256:268] = np.full(3, np.nan, np.float32).tobytes()  # the quaternion
    path.write_bytes(content)


@pytest.mark.parametrize("shape", [(*SHAPE, 1), (*SHAPE, 1, 1)])
def test_further_axes_of_one_are_dropped(tmp_path, shape):
    """Such as those of a mask of a scan with one frame."""
    path = save(tmp_path / "mask.nii", make_label().reshape(shape))
    np.testing.assert_array_equal(read_mask(path), make_label())
    flat = save(tmp_path / "flat.nii", make_label((16, 20)))
    read = read_label(flat, shape=(16, 20, 1), num_classes=4)
    np.testing.assert_array_equal(read[..., 0], make_label((16, 20)))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ((0, 85, 170, 255), np.uint8),
        ((0, 200, 500, 600), np.int16),
        ((0, 3, 2, 1), np.uint8),
        ((600, 0, -7, 200), np.float32),
        ((0, 200, 500, 600), np.float64),
    ],
)
def test_values_are_mapped_to_their_classes(tmp_path, values, dtype):
    """In the order that is given, which need not be that of the numbers."""
    label = make_label()
    path = save(tmp_path / "mask.nii", np.array(values)[label].astype(dtype))
    read = read_label(path, shape=SHAPE, num_classes=4, values=values)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, label)
    with pytest.raises(InputError, match=r"data(\.|__)label_values"):
        read_label(path, shape=SHAPE, num_classes=4, values=(0, 1, 2, 9))


def test_values_that_are_not_mapped_are_shown(tmp_path):
    """All that were found, and the flag that would name them."""
    path = save(tmp_path / "mask.nii", 255 * (make_label() > 1).astype(np.uint8))
    refuse(
        path,
        read_mask,
        "label 255",
        "(0, 255)",
        "data.label_values=0,255",
        "data.classes=BG,",
    )


def test_masks_are_known_by_their_values(tmp_path):
    """Few whole numbers, or whole numbers on the grid of the scan beside it."""
    scan = save(tmp_path / "a.nii", make_image())
    label = make_label()
    many = np.arange(label.size).reshape(SHAPE).astype(np.int16)
    for array, alone, beside in (
        (label, True, True),
        (label.astype(np.float32), True, True),
        (many, False, True),
        (many + np.float32(0.5), False, False),
        (label.astype(np.int16) - 1, False, False),
        (np.where(label, np.nan, 1), False, False),
    ):
        path = save(tmp_path / "a_seg.nii", array)
        assert is_mask(path) is alone
        assert is_mask(path, scan=scan) is beside
    for shape, affine in (((20, 16, 3), AFFINE), (SHAPE, np.diag([-3, -3, 8, 1]))):
        path = save(tmp_path / "a_seg.nii", many.reshape(shape), affine)
        assert not is_mask(path, scan=scan)
    (tmp_path / "a_seg.nii").write_bytes(b"not NIfTI")
    assert not is_mask(tmp_path / "a_seg.nii", scan=scan)


def test_masks_are_named_after_their_scans():
    """By the ends that this program and ACDC use, in any case."""
    assert scan_name("p1_a_seg") == "p1_a" and scan_name("p1_GT") == "p1"
    assert scan_name("p1_a") == scan_name("seg") == scan_name("p1seg") == ""


@pytest.mark.parametrize("sizes", [(0, 0, 0), (np.nan, 1, 1), (1e20, 1, 1)])
def test_a_mask_needs_no_voxel_size(tmp_path, sizes):
    """It is its scan's; programs that write masks from arrays leave nonsense there."""
    path = save(tmp_path / "mask.nii", make_label(), None)
    content = bytearray(path.read_bytes())
    content[80:92] = np.array(sizes, "<f4").tobytes()  # pixdim[1] to [3]
    path.write_bytes(content)
    np.testing.assert_array_equal(read_mask(path), make_label())
