import errno
import gzip
import os

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data.files import nifti_writer
from pix2rep_jax.data.files.mask import read_label
from pix2rep_jax.data.files.nifti import read_volume
from pix2rep_jax.data.files.nifti_writer import write_mask
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


def read_on(volume, path):
    """Reads a mask of four classes that lies on a scan of three axes."""
    return read_label(
        path,
        shape=volume.array.shape,
        num_classes=4,
        axes=volume.axes,
        like=volume,
    )


@pytest.fixture
def scan(tmp_path):
    return read_volume(save(tmp_path / "scan.nii.gz", make_image()))


def patch(path, **fields):
    """Writes fields of a header as they are: nibabel would mend them."""
    content = path.read_bytes()
    plain = gzip.decompress(content) if path.name.endswith(".gz") else content
    header = nib.Nifti1Header(plain[:348], check=False)
    for name, value in fields.items():
        header[name] = (*value, 0, 0, 0, 0) if name == "pixdim" else value
    changed = header.binaryblock + plain[348:]
    path.write_bytes(gzip.compress(changed) if path.name.endswith(".gz") else changed)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 2)])
def test_scan_is_what_nibabel_reads(tmp_path, suffix, dtype, shape):
    """Values, axes, affine and spacing are the file's own, whatever its type."""
    array = make_image(shape, dtype)
    path = save(tmp_path / f"scan{suffix}", array)
    volume = read_volume(str(path))
    assert volume.array.dtype == np.float32 and volume.path == path
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-6)
    lengths = np.linalg.norm(AFFINE[:3, :3], axis=0)
    np.testing.assert_allclose(volume.spacing_mm, lengths, rtol=1e-6)
    assert len(volume.spacing_mm) == 3


def test_stored_slope_is_applied(tmp_path):
    """Integers with a slope and an intercept come out as the numbers they stand for."""
    image = nib.Nifti1Image(make_image(), AFFINE)
    image.header.set_slope_inter(0.5, -3)
    nib.save(image, tmp_path / "scan.nii")
    with open(tmp_path / "scan.nii", "rb") as file:
        file.seek(352)
        stored = np.frombuffer(file.read(), "<i2").reshape(SHAPE, order="F")
    volume = read_volume(tmp_path / "scan.nii")
    np.testing.assert_array_equal(volume.array, 0.5 * stored.astype(np.float32) - 3)
    assert volume.array.std() > 0


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_mask_lies_on_its_scan(tmp_path, scan, suffix):
    """A written mask reads back the same, uint8, with the scan's affine and spacing."""
    path = tmp_path / f"mask{suffix}"
    write_mask(path, make_label(), scan)
    written = nib.load(path)
    assert written.get_data_dtype() == np.uint8
    assert written.header.get_slope_inter() in ((1, 0), (None, None))
    np.testing.assert_array_equal(np.asarray(written.dataobj), make_label())
    np.testing.assert_array_equal(written.affine, scan.affine)
    assert written.header.get_zooms() == scan.header.get_zooms()
    assert written.header.get_xyzt_units() == scan.header.get_xyzt_units()
    np.testing.assert_array_equal(read_mask(path), make_label())
    assert read_mask(path).dtype == np.uint8


def test_equal_masks_are_equal_files(tmp_path, scan):
    """Bit for bit, whenever they were written; and gzip unpacks them."""
    first, second = (tmp_path / f"{name}.nii.gz" for name in ("first", "second"))
    for path, seconds in ((first, 0), (second, 10**9)):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("time.time", lambda seconds=seconds: seconds)
            write_mask(path, make_label(), scan)
    assert first.read_bytes() == second.read_bytes()
    assert gzip.decompress(first.read_bytes())[344:347] == b"n+1"


def test_any_packer_can_have_made_a_scan(tmp_path):
    """Several members in one file, as pigz and bgzip write them; other levels."""
    plain = save(tmp_path / "scan.nii", make_image()).read_bytes()
    packed = tmp_path / "packed.nii.gz"
    parts = [plain[start : start + 5000] for start in range(0, len(plain), 5000)]
    packed.write_bytes(b"".join(gzip.compress(x, i % 10) for i, x in enumerate(parts)))
    expected = read_volume(tmp_path / "scan.nii")
    np.testing.assert_array_equal(read_volume(packed).array, expected.array)


@pytest.mark.parametrize("codes", [(1, 0), (0, 2), (2, 1), (0, 0)])
def test_mask_keeps_both_of_the_scans_forms(tmp_path, codes):
    """Viewers place mask and scan alike, by whichever form they prefer."""
    image = nib.Nifti1Image(make_image(), np.diag([-1.5, -1.25, 8, 1]))
    other = np.diag([-1.5, -1.25, 8, 1])
    other[:3, 3] = 4
    image.set_sform(other, codes[0])
    image.set_qform(image.affine if codes[1] else None, codes[1])
    nib.save(image, tmp_path / "scan.nii")
    volume = read_volume(tmp_path / "scan.nii")
    write_mask(tmp_path / "mask.nii", make_label(), volume)
    scan, mask = (nib.load(tmp_path / name) for name in ("scan.nii", "mask.nii"))
    np.testing.assert_allclose(mask.affine, scan.affine)
    for form in ("get_sform", "get_qform"):
        before, after = (getattr(each, form)(coded=True) for each in (scan, mask))
        if sum(codes):
            assert before[1] == after[1]
        if before[0] is not None:
            np.testing.assert_allclose(after[0], before[0])


def test_mask_of_a_cine_has_its_frames(tmp_path):
    """A 4-D scan gets a 4-D mask with the same time step."""
    image = nib.Nifti1Image(make_image((*SHAPE, 2)), AFFINE)
    image.header.set_zooms((*image.header.get_zooms()[:3], 0.04))
    nib.save(image, tmp_path / "cine.nii")
    volume = read_volume(tmp_path / "cine.nii")
    write_mask(tmp_path / "mask.nii", make_label((*SHAPE, 2)), volume)
    written = nib.load(tmp_path / "mask.nii")
    np.testing.assert_array_equal(written.dataobj, make_label((*SHAPE, 2)))
    np.testing.assert_allclose(written.header.get_zooms()[3], 0.04)


def test_mask_names_nobody(tmp_path):
    """Free text and extensions of the scan's header stay behind; the scan keeps its."""
    image = nib.Nifti1Image(make_image(), AFFINE)
    image.header["descrip"], image.header["db_name"] = b"Jane Doe", b"1234"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Jane Doe"))
    nib.save(image, tmp_path / "scan.nii")
    volume = read_volume(tmp_path / "scan.nii")
    write_mask(tmp_path / "mask.nii", make_label(), volume)
    assert b"Jane" in (tmp_path / "scan.nii").read_bytes()
    assert b"Jane" not in (tmp_path / "mask.nii").read_bytes()
    assert len(volume.header.extensions) == 1
    assert volume.header.get_data_dtype() == np.int16


def test_existing_mask_is_kept(tmp_path, scan):
    """Nothing is replaced unless asked for, and then it is."""
    path = tmp_path / "mask.nii.gz"
    write_mask(path, make_label(), scan)
    empty = np.zeros(SHAPE, np.uint8)
    refuse(path, lambda p: write_mask(p, empty, scan), "--overwrite")
    np.testing.assert_array_equal(read_mask(path), make_label())
    write_mask(path, empty, scan, overwrite=True)
    assert not read_mask(path).any()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mask.nii.gz", "scan.nii.gz"]


@pytest.mark.parametrize("stage", ["_save", "replace"])
@pytest.mark.parametrize("existing", [True, False])
def test_full_disk_leaves_what_was_there(tmp_path, scan, monkeypatch, stage, existing):
    """A write that fails half-way leaves the former mask whole, or none at all."""
    path = tmp_path / "mask.nii.gz"
    if existing:
        write_mask(path, make_label(), scan)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(first, second):
        if stage == "_save":  # called as (image, file); half of it is written
            second.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(nifti_writer if stage == "_save" else os, stage, fail)
    labels = np.zeros(SHAPE, np.uint8)
    refuse(path, lambda p: write_mask(p, labels, scan, overwrite=True), "No space left")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_interrupted_write_leaves_no_half_file(tmp_path, scan, monkeypatch):
    """Ctrl-C while writing leaves neither a mask nor a temporary file."""

    def interrupt(image, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(nifti_writer, "_save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_mask(tmp_path / "mask.nii", make_label(), scan)
    assert [p.name for p in tmp_path.iterdir()] == ["scan.nii.gz"]


@pytest.mark.parametrize("parent", ["missing", "file"])
def test_folder_that_cannot_be_written_is_one_sentence(tmp_path, scan, parent):
    """A folder that is missing, or is a file, is said to be no place for the mask."""
    (tmp_path / "file").write_text("")
    path = tmp_path / parent / "mask.nii.gz"
    refuse(path, lambda p: write_mask(p, make_label(), scan))


def test_labels_that_cannot_lie_on_the_scan_are_a_programs_error(tmp_path, scan):
    """Other shapes and types than the scan's mask has never reach a file."""
    for labels in (make_label()[:-1], make_label().astype(int)):
        with pytest.raises(ValueError, match="uint8"):
            write_mask(tmp_path / "mask.nii", labels, scan)
    assert not (tmp_path / "mask.nii").exists()


@pytest.mark.parametrize("read", [read_volume, read_mask])
def test_files_that_are_no_scans_are_one_sentence(tmp_path, read):
    """Missing, cut-off and foreign files are each named with what is wrong."""
    refuse(tmp_path / "missing.nii.gz", read)
    refuse(tmp_path, read)
    whole = save(tmp_path / "whole.nii.gz", make_image()).read_bytes()
    plain = gzip.decompress(whole)
    contents = {
        "half.nii.gz": whole[: len(whole) // 2],
        "start.nii.gz": whole[:30],
        "empty.nii.gz": b"",
        "noise.nii.gz": b"not gzip at all" * 50,
        "other.nii.gz": gzip.compress(b"text, no scan" * 50),
        "bits.nii.gz": whole[:400] + bytes(255 - b for b in whole[400:]),
        "half.nii": plain[:1000],
        "header.nii": plain[:200],
        "noise.nii": b"not NIfTI at all" * 50,
        "text.txt": b"no scan",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        refuse(tmp_path / name, read, "NIfTI")
    nib.save(nib.MGHImage(make_image(), AFFINE), tmp_path / "scan.mgz")
    refuse(tmp_path / "scan.mgz", read, "NIfTI")


@pytest.mark.parametrize("read", [read_volume, read_mask])
def test_a_flipped_bit_is_seen_where_bytes_follow_the_values(tmp_path, read):
    """The checksum stands at the end, which nobody needs to read for the values."""
    path = save(tmp_path / "scan.nii.gz", make_label())
    plain = gzip.decompress(path.read_bytes()) + bytes(2_000_000)
    packed = bytearray(gzip.compress(plain, 0))  # bytes as they are
    path.write_bytes(packed)
    read(path)
    packed[packed.index(make_label().tobytes(order="F"))] ^= 1
    path.write_bytes(packed)
    refuse(path, read, "NIfTI")


@pytest.mark.parametrize("unit", ["meter", "micron"])
def test_other_units_than_mm_are_refused(tmp_path, unit):
    """Their sizes would be off by a thousand; a header without a unit means mm."""
    image = nib.Nifti1Image(make_image(), AFFINE)
    path = tmp_path / "scan.nii"
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    spacing_mm = read_volume(path).spacing_mm
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    refuse(path, read_volume, unit, "xyzt_units")
    for code in (0, 4, 7 + 64):  # none, and what is no unit at all
        image.header["xyzt_units"] = code
        nib.save(image, path)
        assert read_volume(path).spacing_mm == spacing_mm


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_value_that_is_not_finite_is_counted(tmp_path, value):
    """NaN, infinities and what float32 cannot hold are refused with their number."""
    array = make_image(dtype=np.float64)
    array[3, 4, 1] = array[5, 6, 2] = value
    path = save(tmp_path / "scan.nii.gz", array)
    refuse(path, read_volume, " 2 ")


@pytest.mark.parametrize("shape", [(16,), (16, 20, 3, 2, 2), (16, 20, 3, 1, 2)])
def test_scan_of_other_axes_is_refused(tmp_path, shape):
    """A scan has 3 or 4 axes, and the sentence says which."""
    path = save(tmp_path / "scan.nii", make_image(shape))
    refuse(path, read_volume, str(shape), "axes")


def test_scan_without_voxels_or_size_is_refused(tmp_path):
    """No voxel, and voxels whose size is no length, are named."""
    refuse(save(tmp_path / "a.nii", make_image((16, 0, 3))), read_volume, "(16, 0, 3)")
    for value in (np.nan, np.inf):
        path = save(tmp_path / "b.nii", make_image(), None)
        patch(path, pixdim=(1, 1.5, value, 8))
        refuse(path, read_volume, "pixdim")


def test_colour_scan_is_refused(tmp_path):
    """Three numbers a voxel are not made one in silence."""
    array = np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    refuse(save(tmp_path / "rgb.nii", array), read_volume, str(array.dtype))


@pytest.mark.acdc
def test_real_scans_masks_overlay(acdc_root, tmp_path):
    """An expert's mask written on its scan again is the file's own, with its place."""
    for name in ("patient001/patient001_frame01", "patient090/patient090_frame04"):
        path = acdc_root / "training" / f"{name}.nii.gz"
        volume = read_volume(path)
        expert = nib.load(acdc_root / "training" / f"{name}_gt.nii.gz")
        label = read_label(expert.get_filename(), shape=expert.shape, num_classes=4)
        write_mask(tmp_path / "mask.nii.gz", label, volume, overwrite=True)
        written = nib.load(tmp_path / "mask.nii.gz")
        np.testing.assert_array_equal(written.dataobj, expert.dataobj)
        np.testing.assert_array_equal(written.affine, nib.load(path).affine)
        assert written.header.get_zooms() == nib.load(path).header.get_zooms()


FORMATS = {
    "plain.nii": nib.Nifti1Image,
    "plain.nii.gz": nib.Nifti1Image,
    "two.nii": nib.Nifti2Image,
    "two.nii.gz": nib.Nifti2Image,
    "pair.img": nib.Nifti1Pair,
    "pair.img.gz": nib.Nifti1Pair,
    "pair2.img": nib.Nifti2Pair,
}


@pytest.mark.parametrize("capital", [False, True])
@pytest.mark.parametrize("name, kind", FORMATS.items())
def test_every_format_is_read_and_gets_a_mask_of_its_own(tmp_path, name, kind, capital):
    """NIfTI-1 and 2, pairs and single files, with suffixes in any case."""
    nib.save(kind(make_image(), AFFINE), tmp_path / name)
    if capital:
        for path in list(tmp_path.iterdir()):
            path.rename(path.with_name(path.name.upper()))
        name = name.upper()
    volume = read_volume(tmp_path / name)
    np.testing.assert_array_equal(volume.array, make_image())
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-6)
    assert volume.notes == ()
    if ".img" in name.lower():
        header = name.lower().replace(".img", ".hdr")
        header = header.upper() if capital else header
        assert (tmp_path / header).exists()
        np.testing.assert_array_equal(
            read_volume(tmp_path / header).array, make_image()
        )
    mask = tmp_path / ("MASK.NII.GZ" if capital else "mask.nii.gz")
    write_mask(mask, make_label(), volume)
    np.testing.assert_array_equal(read_mask(mask), make_label())
    assert mask.read_bytes()[:2] == b"\x1f\x8b"
    os.replace(mask, tmp_path / "lower.nii.gz")
    written = nib.load(tmp_path / "lower.nii.gz")
    is_second = kind in (nib.Nifti2Image, nib.Nifti2Pair)
    assert type(written) is (nib.Nifti2Image if is_second else nib.Nifti1Image)
    np.testing.assert_array_equal(written.affine, volume.affine)


def test_half_a_pair_is_one_sentence(tmp_path):
    """Header or values alone, and a header that says they are elsewhere."""
    nib.save(nib.Nifti1Pair(make_image(), AFFINE), tmp_path / "scan.img")
    header, values = tmp_path / "scan.hdr", tmp_path / "scan.img"
    header.rename(tmp_path / "scan.nii")
    refuse(values, read_volume, ".hdr")
    refuse(tmp_path / "scan.nii", read_volume)
    (tmp_path / "scan.nii").rename(header)
    values.unlink()
    refuse(header, read_volume, "scan.img")


@pytest.mark.parametrize(
    "shape, as_read",
    [
        ((16, 20, 3, 1), (16, 20, 3)),
        ((16, 20, 3, 1, 1), (16, 20, 3)),
        ((16, 20, 3, 4, 1), (16, 20, 3, 4)),
        ((16, 20), (16, 20, 1)),
        ((16, 20, 1), (16, 20, 1)),
        ((16, 20, 1, 4), (16, 20, 1, 4)),
        ((1, 16, 20), (16, 20, 1)),
        ((1, 16, 20, 1), (16, 20, 1)),
        ((16, 1, 20, 4), (16, 20, 1, 4)),
    ],
)
def test_axes_of_length_1_are_read_as_what_they_are(tmp_path, shape, as_read):
    """Trailing ones are dropped, one slice is one; the mask has the file's shape."""
    # nibabel drops trailing axes of length 1 from neither shape.
    volume = read_volume(save(tmp_path / "scan.nii", make_image(shape), np.eye(4)))
    assert volume.array.shape == as_read
    np.testing.assert_array_equal(volume.array.ravel(), make_image(shape).ravel())
    label = make_label(as_read)
    write_mask(tmp_path / "mask.nii", label, volume)
    written = nib.load(tmp_path / "mask.nii")
    assert written.shape == shape
    np.testing.assert_array_equal(np.asarray(written.dataobj).ravel(), label.ravel())
    if len(as_read) == 3:  # and the mask is a label again
        read = read_on(volume, tmp_path / "mask.nii")
        np.testing.assert_array_equal(read, label)


@pytest.mark.parametrize("order", [(2, 0, 1), (0, 2, 1), (0, 1, 2)])
def test_slices_lie_along_the_third_axis_wherever_the_file_has_them(tmp_path, order):
    """The axis of the larger spacing; the mask is stored as its scan is."""
    image = nib.Nifti1Image(make_image(), AFFINE)
    moved = np.transpose(make_image(), order)
    path = save(tmp_path / "scan.nii", moved, AFFINE[:, [*order, 3]])
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, make_image())
    np.testing.assert_allclose(volume.spacing_mm, image.header.get_zooms())
    write_mask(tmp_path / "mask.nii", make_label(), volume)
    written = nib.load(tmp_path / "mask.nii")
    np.testing.assert_array_equal(written.dataobj, np.transpose(make_label(), order))
    np.testing.assert_array_equal(written.affine, nib.load(path).affine)
    read = read_on(volume, tmp_path / "mask.nii")
    np.testing.assert_array_equal(read, make_label())


@pytest.mark.parametrize("slope", [np.nan, np.inf, -np.inf])
def test_a_slope_that_is_not_finite_scales_nothing(tmp_path, slope):
    """The values are the stored ones, and a note says so."""
    path = patch(save(tmp_path / "scan.nii", make_image()), scl_slope=slope)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, make_image())
    assert volume.notes == ("slope_ignored",)
    refuse(patch(path, scl_slope=2, scl_inter=np.nan), read_volume)


def test_a_damaged_header_is_told_in_the_error_alone(tmp_path, caplog):
    """nibabel prints what it finds in a header before it raises."""
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5), np.float32), np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[70:72] = (1536).to_bytes(2, "little")  # the data's type: float128
    path.write_bytes(content)
    with pytest.raises(InputError, match="1536"):
        read_volume(path)
    assert not caplog.records
