import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.files.mask import is_mask, read_label
from pix2rep_jax.data.files.picture_file import (
    PICTURE_AXES,
    find_pixel_size,
    is_dicom,
    is_picture,
    read_picture,
    read_picture_mask,
    write_picture_mask,
)
from pix2rep_jax.data.files.scan import read_scan, write_mask
from pix2rep_jax.errors import InputError
from tests.support.program import ROOT

DRAW = np.random.default_rng(0)
GREY = DRAW.integers(0, 256, (6, 9), np.uint8)
COLOUR = DRAW.integers(0, 256, (6, 9, 3), np.uint8)


def store(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif", "A.TIFF", "a.PNG"])
@pytest.mark.parametrize(
    "array", [GREY, COLOUR, GREY.astype(np.uint16) * 257], ids=["L", "RGB", "I;16"]
)
def test_pictures_are_read_as_they_are(tmp_path, name, array):
    """All bits are kept, and three channels are those of the colours."""
    found = read_picture(store(tmp_path / name, array))
    np.testing.assert_array_equal(found, array.reshape(6, 9, -1))


def test_alpha_is_dropped(tmp_path):
    """It is not an intensity."""
    alpha = np.full((6, 9, 1), 128, np.uint8)
    rgba = store(tmp_path / "a.png", np.concatenate([COLOUR, alpha], -1))
    np.testing.assert_array_equal(read_picture(rgba), COLOUR)
    la = Image.merge("LA", [Image.fromarray(each) for each in (GREY, alpha[..., 0])])
    la.save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "la.png")[..., 0], GREY)


def test_a_picture_is_a_scan_of_one_slice(tmp_path):
    """Its columns come first, so that it lies as a slice of NIfTI does."""
    scan = read_scan([store(tmp_path / "a.png", COLOUR)])
    assert scan.array.shape == (9, 6, 1, 1, 3) and scan.spacing_mm == (1, 1, 1)
    np.testing.assert_array_equal(scan.array[:, :, 0, 0], COLOUR.swapaxes(0, 1))
    assert scan.notes == ("no_pixel_size",)
    (tmp_path / "pixel_sizes.csv").write_text("name,mm\na,0.25\n")
    scan = read_scan([tmp_path / "a.png"])
    assert scan.spacing_mm == (0.25, 0.25, 1) and scan.notes == ()


@pytest.mark.parametrize("where", ["", "images"])
def test_pixel_sizes_lie_beside_the_pictures_or_above(tmp_path, where):
    """Names with and without suffix; a table that lacks the picture is refused."""
    folder = tmp_path / "images"
    folder.mkdir()
    path = store(folder / "a.png", GREY)
    assert find_pixel_size(path) is None
    table = tmp_path / where / "pixel_sizes.csv"
    table.write_text("a.png,0.5\n\nb,0.7\n")
    assert find_pixel_size(path) == 0.5
    assert find_pixel_size(folder / "b.png") == 0.7
    with pytest.raises(InputError, match=r"c\.png"):
        find_pixel_size(folder / "c.png")
    for line in ("a.png,0", "a.png,-1", "a.png,nan", "b.png,1\na.png,x", "b,1\na"):
        table.write_text(f"name,mm\n{line}\n\n")
        with pytest.raises(InputError, match=r"pixel_sizes\.csv"):
            find_pixel_size(path)


def test_masks_come_back_as_they_were_written(tmp_path):
    """Values are those of the classes; a mask is as large as its picture."""
    scan = read_scan([store(tmp_path / "a.png", COLOUR)])
    classes = DRAW.integers(0, 3, (9, 6, 1, 1)).astype(np.uint8)
    for values in ((), (0, 128, 255), (0, 3, 700)):
        path = tmp_path / f"a{len(values)}_{sum(values)}.png"
        write_mask(path, classes, scan, values=values)
        stored = np.asarray(values or (0, 1, 2))[classes[..., 0, 0].T]
        with Image.open(path) as image:
            assert image.size == (9, 6) and image.mode in ("L", "I;16")
            np.testing.assert_array_equal(np.asarray(image), stored)
        again = read_label(
            path, shape=(9, 6, 1), num_classes=3, values=values, axes=PICTURE_AXES
        )
        np.testing.assert_array_equal(again, classes[..., 0])
        with pytest.raises(InputError, match="--overwrite"):
            write_mask(path, classes, scan)
    assert is_mask(tmp_path / "a3_383.png")
    with pytest.raises(InputError, match="255"):  # never by guess
        read_label(
            tmp_path / "a3_383.png", shape=(9, 6, 1), num_classes=3, axes=PICTURE_AXES
        )
    with pytest.raises(InputError, match="cannot be written"):
        write_picture_mask(tmp_path / "no" / "a.png", GREY, values=())


def test_indices_of_a_palette_are_labels_but_not_intensities(tmp_path):
    """What colours they have says nothing."""
    labels = DRAW.integers(0, 3, (6, 9)).astype(np.uint8)
    image = Image.fromarray(labels)
    image.putpalette([0, 0, 0, 255, 0, 0, 9, 9, 9])
    image.save(tmp_path / "mask.png")
    assert image.mode == "P"
    np.testing.assert_array_equal(read_picture_mask(tmp_path / "mask.png"), labels)
    with pytest.raises(InputError, match="palette"):
        read_picture(tmp_path / "mask.png")


def test_masks_with_colours_are_refused(tmp_path):
    """Three equal channels are grey; a JPEG does not keep labels."""
    equal = store(tmp_path / "a.png", np.repeat(GREY[..., None], 3, -1))
    np.testing.assert_array_equal(read_picture_mask(equal), GREY)
    with pytest.raises(InputError, match="colours"):
        read_picture_mask(store(tmp_path / "b.png", COLOUR))
    with pytest.raises(InputError, match="JPEG"):
        read_picture_mask(store(tmp_path / "c.jpg", GREY))


def too_large(path):
    """A PNG whose header says 60,000 x 60,000 px."""

    def chunk(kind, content):
        body = kind + content
        size = struct.pack(">I", len(content))
        return size + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY).save(path, exif=exif)


def several(path):
    pages = [Image.fromarray(GREY)] * 2
    pages[0].save(path, format="TIFF", save_all=True, append_images=pages[1:])


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"GIF89a nothing"),
        lambda path: path.write_bytes(store(path, COLOUR).read_bytes()[:60]),
        lambda path: Image.fromarray(COLOUR).convert("CMYK").save(path, format="JPEG"),
        too_large,
        turned,
        several,
    ],
    ids=[
        "missing",
        "empty",
        "other",
        "truncated",
        "colours",
        "bomb",
        "turned",
        "several",
    ],
)
def test_pictures_that_cannot_be_used_are_refused(tmp_path, make):
    """One sentence that names the file."""
    path = tmp_path / "a.png"
    make(path)
    with pytest.raises(InputError, match=r"a\.png") as caught:
        read_picture(path)
    assert "\n" not in str(caught.value)


def test_dicom_is_known_by_its_name_and_by_its_bytes(tmp_path):
    """The sentence names the program that converts it."""
    named, bare = tmp_path / "a.IMA", tmp_path / "b.nii"
    named.write_bytes(b"")
    bare.write_bytes(bytes(128) + b"DICM" + bytes(400))
    for path in (named, bare):
        assert is_dicom(path) and not is_picture(path)
        with pytest.raises(InputError, match="dcm2niix"):
            read_scan([path])
    assert not is_dicom(store(tmp_path / "a.png", GREY))


def test_a_folder_of_pictures_is_a_data_set(tmp_path):
    """Grey beside RGB is refused, and so is a mask of another size or kind."""
    from tests.data.test_dataset import make_data

    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    store(tmp_path / "images" / "a_1.png", GREY)
    store(tmp_path / "labels" / "a_1.png", (GREY > 128).astype(np.uint8))
    store(tmp_path / "images" / "b_1.png", GREY[:, ::-1])
    data = make_data(tmp_path, name="nifti", spacing_mm=1.0, size=16)
    data.classes = ("BG", "X")
    dataset = load_dataset(data)
    assert dataset.images.shape == (2, 16, 16, 1)
    (tmp_path / "pixel_sizes.csv").write_text("a_1,0.5\nb_1,0.5\n")
    finer = load_dataset(data)  # not the cache of the other pixel size
    assert finer.volumes[0].spacing_mm == (0.5, 0.5, 1)
    store(tmp_path / "images" / "b_1.png", COLOUR)
    with pytest.raises(InputError, match=r"b_1\.png has 3"):
        load_dataset(data)
    store(tmp_path / "images" / "b_1.png", GREY)
    store(tmp_path / "labels" / "a_1.png", (GREY > 128).astype(np.uint8).T.copy())
    with pytest.raises(InputError, match="shape"):
        load_dataset(data)


FETAL_HEADS = ROOT.parent / "shared/data/FetalHead"


@pytest.mark.skipif(not FETAL_HEADS.is_dir(), reason="needs shared/data/FetalHead")
def test_ultrasound_pictures_and_their_masks_lie_upon_each_other():
    """Pictures are 800 x 540 px of the size that the table says."""
    for name in ("010_HC.png", "010_2HC.png"):
        scan = read_scan([FETAL_HEADS / "images" / name])
        assert scan.array.shape == (800, 540, 1, 1, 1) and scan.notes == ()
        assert 0.05 < scan.spacing_mm[0] == scan.spacing_mm[1] < 0.4
        mask = read_label(
            FETAL_HEADS / "labels" / name,
            shape=(800, 540, 1),
            num_classes=2,
            axes=scan.axes,
        )
        area_mm2 = mask.sum() * scan.spacing_mm[0] ** 2
        assert 300 < area_mm2 < 20_000  # a head of 20 to 160 mm
