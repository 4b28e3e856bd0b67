"""Scans prepared once: the right slices in the right order, cached and checked."""

import errno
import io
import os
import pathlib
import runpy
import shutil
import zipfile

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data.checks import reading_notes
from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.files import mask, nifti
from pix2rep_jax.data.files.axes import SliceAxis, most_common
from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.data.preparation import field_of_view_mm
from pix2rep_jax.data.slices import slice_cache
from pix2rep_jax.data.slices.grid import centre_grid, mask_box_grid
from pix2rep_jax.data.slices.resample import (
    normalise,
    resample_image,
    resample_label,
)
from pix2rep_jax.errors import InputError
from pix2rep_jax.evaluation.score_volumes import evaluate_volumes

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = runpy.run_path(str(ROOT / "configs" / "pix2rep.py"))["get_config"]("quick")
ARRAYS = ("images", "labels", "volume_index", "slice_index")
SHAPES = {
    "patient001_frame01": (20, 24, 3),
    "patient001_frame05": (20, 24, 3),
    "patient002_frame07": (12, 30, 2),  # fewer rows than the field of view
    "patient002_frame03": (17, 15, 4),
}


def save(path, array, spacing_mm=(1.5, 1.5, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([*spacing_mm, 1])), path)


def make_image(seed, shape):
    return np.random.default_rng(seed).integers(50, 900, shape).astype(np.int16)


def make_mask(seed, shape):
    """Labels about the middle of all slices but the last one."""
    labels = np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint8)
    inside = np.zeros(shape, bool)
    inside[shape[0] // 3 : -shape[0] // 3, shape[1] // 3 : -shape[1] // 3, :-1] = True
    return np.where(inside, labels, 0).astype(np.uint8)


@pytest.fixture
def root(tmp_path) -> pathlib.Path:
    """Two patients in ACDC's layout, of four sizes."""
    training = tmp_path / "ACDC" / "training"
    for seed, (stem, shape) in enumerate(SHAPES.items()):
        path = training / stem[:10] / f"{stem}.nii.gz"
        save(path, make_image(seed, shape))
        save(path.with_name(f"{stem}_gt.nii.gz"), make_mask(seed, shape))
    for number, phases, group in ((1, (1, 5), "DCM"), (2, (7, 3), "RV")):
        path = training / f"patient{number:03d}" / "Info.cfg"
        path.write_text(f"ED: {phases[0]}\nES: {phases[1]}\nGroup: {group}\n")
    return tmp_path / "ACDC"


def scan_path(root, stem="patient002_frame07"):
    return root / "training" / stem[:10] / f"{stem}.nii.gz"


def make_data(root, /, **changes):
    """Pixels as large as the scans', so that slices are cropped or padded, no more."""
    data = CONFIG.data.copy_and_resolve_references()
    data.update(
        name="acdc",
        root=str(root),
        cache_dir=str(root.parent / "cache"),
        spacing_mm=1.5,
        crop_px=16,
        size=16,
    )
    with data.ignore_type():  # a number in place of "auto"
        data.update(changes)
    return data


def crop(plane: np.ndarray, size: int = 16) -> np.ndarray:
    """The middle of a plane whose sides are even, black where it ends."""
    padded = np.pad(plane, size)
    first = [(length - size) // 2 for length in padded.shape]
    return padded[first[0] : first[0] + size, first[1] : first[1] + size]


def check_equal(one, other) -> None:
    """Bit for bit, with all that is known of the volumes."""
    for name in ARRAYS:
        first, second = getattr(one, name), getattr(other, name)
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first, second)
    assert one.volumes == other.volumes and one.excluded == other.excluded
    for first, second in zip(one.volumes, other.volumes, strict=True):
        assert list(map(type, vars(first).values())) == list(
            map(type, vars(second).values())
        )
        np.testing.assert_array_equal(first.grids, second.grids)


def caches(data) -> list[pathlib.Path]:
    folder = pathlib.Path(data.cache_dir)
    return sorted(folder.iterdir()) if folder.is_dir() else []


def refuse(data, match) -> None:
    """The one sentence with which data are refused; nothing is cached."""
    with pytest.raises(InputError, match=match) as caught:
        load_dataset(data)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500  # several files may be named
    assert not caches(data)


@pytest.fixture
def no_reading(monkeypatch):
    """Makes reading a scan or a mask a failure."""

    def forbid():
        for module, name in ((nifti, "read_volume"), (mask, "read_label")):
            monkeypatch.setattr(module, name, lambda *a, **k: pytest.fail("was read"))

    return forbid


def test_slices_are_the_scans_own(root):
    """Images stretched between the volume's percentiles, masks beside them, both
    cropped about the middle; volume by volume as Info.cfg orders them."""
    data = make_data(root)
    dataset = load_dataset(data)
    names = ["patient001_ED", "patient001_ES", "patient002_ED", "patient002_ES"]
    assert [each.volume_id for each in dataset.volumes] == names
    assert dataset.images.dtype == np.float32 and dataset.labels.dtype == np.uint8
    assert dataset.images.shape == (12, 16, 16, 1)
    assert dataset.labels.shape == (12, 16, 16)
    assert dataset.volume_index.tolist() == [0] * 3 + [1] * 3 + [2] * 2 + [3] * 4
    assert dataset.slice_index.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 0, 1, 2, 3]
    for seed, stem in enumerate(list(SHAPES)[:3]):  # of even sides
        image, mask = make_image(seed, SHAPES[stem]), make_mask(seed, SHAPES[stem])
        low, high = np.percentile(image, (1, 99))
        stretched = np.clip((image - low) / (high - low), 0, 1)
        for k, row in enumerate(np.flatnonzero(dataset.volume_index == seed)):
            np.testing.assert_allclose(
                dataset.images[row][..., 0], crop(stretched[..., k]), atol=1e-6
            )
            np.testing.assert_array_equal(dataset.labels[row], crop(mask[..., k]))


def test_records_say_how_slices_were_made(root):
    """Spacing, shape, intensities and grid of each volume, enough to go back."""
    mask_path = scan_path(root, "patient002_frame07_gt")
    spacing_mm, shape = (1.25, 2.0, 5.0), (12, 30, 2)
    save(scan_path(root), make_image(2, shape), spacing_mm)
    save(mask_path, make_mask(2, shape), spacing_mm)
    data = make_data(root, size=24)
    dataset = load_dataset(data)
    record = dataset.volumes[2]
    assert (record.patient, record.phase, record.group) == ("patient002", "ED", "RV")
    assert record.image_path == scan_path(root) and record.size == (24, 24)
    assert record.label_path == mask_path
    assert record.spacing_mm == spacing_mm and record.shape == shape
    assert not record.uses_ground_truth and record.frame is None
    image, mask = make_image(2, record.shape), make_mask(2, record.shape)
    np.testing.assert_allclose(
        (record.low[0], record.high[0]), np.percentile(image, (1, 99)), rtol=1e-6
    )
    grid = centre_grid((12, 30), (1.25, 2.0), fov_mm=24.0, size=24)
    for k, row in enumerate(np.flatnonzero(dataset.volume_index == 2)):
        assert record.grid(k) == grid
        np.testing.assert_array_equal(
            dataset.images[row][..., 0],
            resample_image(
                normalise(image[..., k], record.low[0], record.high[0]), grid
            ),
        )
        np.testing.assert_array_equal(
            dataset.labels[row], resample_label(mask[..., k], grid)
        )


def test_mask_that_lies_elsewhere_is_refused(root):
    """A mask of the scan's shape with another affine is of other voxels."""
    path = scan_path(root, "patient002_frame07_gt")
    save(path, make_mask(2, (12, 30, 2)), spacing_mm=(1.5, -1.5, 8))
    with pytest.raises(InputError, match=f"{path.name}.* 87 mm"):
        load_dataset(make_data(root))


def test_scan_without_a_mask_is_marked(root):
    """All of its labels are 255, which no class is."""
    scan_path(root, "patient002_frame07_gt").unlink()
    dataset = load_dataset(make_data(root))
    unlabelled = (dataset.labels == UNLABELLED).all((1, 2))
    np.testing.assert_array_equal(unlabelled, dataset.volume_index == 2)
    assert dataset.labels[~unlabelled].max() == 3
    assert dataset.volumes[2].label_path is None


def test_order_is_the_lists_whoever_is_read_first(root):
    """Many scans are read at once, and stay in order."""
    for number in range(3, 30):
        folder = root / "training" / f"patient{number:03d}"
        shape = (8, 8, 1 + 40 * (number % 7 == 3))
        for frame in (1, 2):
            name = f"{folder.name}_frame{frame:02d}.nii"
            image = np.full(shape, 10 * number + frame, np.int16)
            image[-1] += 1000
            save(folder / name, image)
        (folder / "Info.cfg").write_text("ED: 1\nES: 2\n")
    dataset = load_dataset(make_data(root))
    names = [each.volume_id for each in dataset.volumes]
    assert names == sorted(names) and len(names) == 58
    for index, each in enumerate(dataset.volumes[4:], 4):
        assert each.low[0] == int(each.patient[-3:]) * 10 + 1 + (each.phase == "ES")
        assert (dataset.volume_index == index).sum() == each.shape[2]
    assert (np.diff(dataset.volume_index) >= 0).all()


def test_scan_without_a_picture_is_refused_by_its_name(root, monkeypatch):
    """A frame too; and what an earlier version kept of it is not taken for good."""
    path = scan_path(root, "patient001_4d")
    cine = make_image(9, (20, 24, 3, 6))
    cine[..., 3] = 0
    save(path, cine)
    for name in ("patient001_frame01", "patient001_frame05"):
        assert scan_path(root, name).exists()
    with pytest.raises(InputError, match=r"patient001_4d.*, frame 4, is 0 "):
        load_dataset(make_data(root, all_frames=True))
    path = scan_path(root, "patient002_frame07")
    save(path, np.full((12, 30, 2), 5, np.int16))
    with pytest.raises(InputError, match=rf"{path} is 5 "):
        load_dataset(make_data(root))


def test_frames_of_a_cine_are_stretched_one_by_one(root, monkeypatch):
    """Each frame is a volume of its own; the file is read once for all of them."""
    cine = make_image(9, (20, 24, 3, 6)) * np.arange(1, 7, dtype=np.int16)
    save(scan_path(root, "patient001_4d"), cine)
    read = []
    original = nifti.read_volume
    monkeypatch.setattr(
        nifti, "read_volume", lambda path, _: read.append(path.name) or original(path)
    )
    dataset = load_dataset(make_data(root, all_frames=True))
    assert len(read) == len(set(read)) == 5
    frames = [each.frame for each in dataset.volumes]
    assert frames == [None, None, 1, 2, 3, 5, None, None]
    for index in (2, 3, 4, 5):
        frame = cine[..., frames[index]]
        low, high = np.percentile(frame, (1, 99))
        rows = dataset.volume_index == index
        np.testing.assert_allclose(
            dataset.images[rows][1][..., 0],
            crop(np.clip((frame[..., 1] - low) / (high - low), 0, 1)),
            atol=1e-6,
        )
        assert (dataset.labels[rows] == UNLABELLED).all()


def test_mask_box_drops_slices_and_says_so(root):
    """Slices without a structure are gone, the others have the box of their volume, and
    every record tells that the ground truth was used."""
    dataset = load_dataset(make_data(root, crop="mask_box"))
    assert dataset.volume_index.tolist() == [0, 0, 1, 1, 2, 3, 3, 3]
    assert dataset.slice_index.tolist() == [0, 1, 0, 1, 0, 0, 1, 2]
    assert all(each.uses_ground_truth for each in dataset.volumes)
    assert all(each.label_share == 1 for each in dataset.volumes)
    for row, (index, k) in enumerate(
        zip(dataset.volume_index, dataset.slice_index, strict=True)
    ):
        stem, record = list(SHAPES)[index], dataset.volumes[index]
        mask = make_mask(index, SHAPES[stem])
        image = make_image(index, SHAPES[stem])[..., k]
        grid = mask_box_grid(np.moveaxis(mask, 2, 0), size=16)
        mask = mask[..., k]
        assert record.grid(k) == grid
        np.testing.assert_array_equal(dataset.labels[row], resample_label(mask, grid))
        np.testing.assert_array_equal(
            dataset.images[row][..., 0],
            resample_image(normalise(image, record.low[0], record.high[0]), grid),
        )
    for record in dataset.volumes:
        dropped = np.isnan(record.grids).all(1)
        assert dropped.tolist() == [False] * (record.shape[2] - 1) + [True]


def test_mask_box_is_one_box_a_volume(root):
    """Two slices with structures at different places are seen through the same box.

    A box for each slice would be rows 0 to 14 and columns 0 to 13, and rows 8 to 27
    and columns 11 to 30. Intensities are stretched between the percentiles of the box
    in all slices, as the released code does it. Beyond the box everything is brighter.
    """
    shape = (40, 44, 3)
    mask = np.zeros(shape, np.uint8)
    mask[2:5, 1:4, 0] = 1
    mask[18, 21, 1] = 2  # with the margin of 10 px up to row 28 and column 31
    image = make_image(0, shape)
    box = image[:29, :32].copy()
    image += 5000
    image[:29, :32] = box
    save(scan_path(root, "patient001_frame01_gt"), mask)
    save(scan_path(root, "patient001_frame01"), image)
    record = load_dataset(make_data(root, crop="mask_box")).volumes[0]
    step = np.array([29, 32]) / 16
    np.testing.assert_allclose(
        record.grids, [[*(step / 2 - 0.5), *step]] * 2 + [[np.nan] * 4]
    )
    assert record.label_share == 1
    np.testing.assert_allclose(
        (record.low[0], record.high[0]), np.percentile(box, (1, 99))
    )


@pytest.mark.acdc
def test_mask_box_shows_as_much_of_acdc_as_it_should(acdc_root, tmp_path):
    """Foreground fills 29 % of the pixels of the first ten patients, 25 % of all.

    With one box per slice it would be 40 % of theirs, and 36 % of all.
    """
    data = make_data(tmp_path / "ACDC", root=str(acdc_root), crop="mask_box", size=128)
    names = {path.name for path in (acdc_root / "training").glob("patient*")}
    data.exclude = tuple(sorted(names)[10:])
    dataset = load_dataset(data, progress=False)
    assert len(dataset.volumes) == 20 and len(dataset.images) == 198
    assert (dataset.labels > 0).mean() == pytest.approx(0.291, abs=0.002)
    assert (dataset.labels > 0).any((1, 2)).all()


def test_nearest_takes_the_scans_own_pixels(root):
    """No intensity and no label is mixed, in images and in masks at the same places."""
    save(scan_path(root, "patient002_frame07_gt"), make_image(2, (12, 30, 2)) % 4)
    options = {"spacing_mm": 2.2, "percentiles": (0.0, 100.0)}
    linear = load_dataset(make_data(root, **options))
    dataset = load_dataset(make_data(root, interpolation="nearest", **options))
    rows = dataset.volume_index == 2
    record = dataset.volumes[2]
    low, high = record.low[0], record.high[0]
    image = dataset.images[rows][..., 0] * (high - low) + low
    inside = image > low + 0.5  # not beyond the scan
    assert inside.mean() > 0.3
    np.testing.assert_allclose(image[inside], image[inside].round(), atol=1e-3)
    np.testing.assert_array_equal(
        image[inside].round() % 4, dataset.labels[rows][inside]
    )
    assert (linear.images[rows] != dataset.images[rows])[..., 0][inside].mean() > 0.5


def test_mask_box_bears_an_empty_mask(root, no_reading):
    """A volume without structures has no slice, keeps its place, and is cached so."""
    save(scan_path(root, "patient001_frame05_gt"), np.zeros((20, 24, 3), np.uint8))
    data = make_data(root, crop="mask_box")
    dataset = load_dataset(data)
    assert dataset.volume_index.tolist() == [0, 0, 2, 3, 3, 3]
    assert np.isnan(dataset.volumes[1].grids).all()
    no_reading()
    check_equal(load_dataset(data), dataset)


def test_a_volume_that_mask_box_leaves_nothing_of_is_not_scored(root, caplog):
    """Said, and no reason for a run to end after its training."""
    save(scan_path(root, "patient001_frame05_gt"), np.zeros((20, 24, 3), np.uint8))
    dataset = load_dataset(make_data(root, crop="mask_box"))
    predict = lambda images: np.full((*images.shape[:3], 4), 0.25)  # noqa: E731
    scores = evaluate_volumes(predict, dataset, range(4), classes=tuple("BRML"))
    scored = {score.volume_id for score in scores}
    assert scored == {x.volume_id for x in dataset.volumes} - {"patient001_ES"}
    assert "patient001_ES" in caplog.text


def test_mask_box_without_masks_is_said(root):
    """One scan without a mask, and masks that are all empty."""
    for stem, shape in SHAPES.items():
        save(scan_path(root, f"{stem}_gt"), np.zeros(shape, np.uint8))
    data = make_data(root, crop="mask_box")
    refuse(data, r"data\.crop='mask_box'")
    scan_path(root, "patient002_frame07_gt").unlink()
    refuse(data, r"mask_box.*patient002_frame07\.nii\.gz .*crop=center")


@pytest.mark.parametrize("crop", ["center", "mask_box"])
def test_second_load_is_the_cache_bit_for_bit(root, no_reading, capsys, caplog, crop):
    """No scan is opened again, and nothing differs: arrays, types, records, grids."""
    data = make_data(root, crop=crop, exclude=("patient001",))
    first = load_dataset(data)
    assert [each.patient for each in first.excluded] == ["patient001"] * 2
    (path,) = caches(data)
    before = path.read_bytes()
    no_reading()
    check_equal(load_dataset(data), first)
    assert caches(data) == [path] and path.read_bytes() == before
    assert capsys.readouterr() == ("", "") and not caplog.records


def test_cache_knows_no_spelling_of_a_folder(root, no_reading, monkeypatch):
    """From another folder the same scans are read from the cache, and their paths are
    the ones that lead there from here."""
    monkeypatch.chdir(root)
    first = load_dataset(make_data(root, root="."))
    assert first.volumes[0].label_path.is_file()
    monkeypatch.chdir(root.parent)
    no_reading()
    for spelling in ("ACDC", str(root)):
        dataset = load_dataset(make_data(root, root=spelling))
        assert all(each.label_path.is_file() for each in dataset.volumes)
        assert dataset.volumes[0].image_path == pathlib.Path(
            spelling, "training/patient001/patient001_frame01.nii.gz"
        )
        np.testing.assert_array_equal(dataset.images, first.images)


@pytest.mark.parametrize(
    "changes",
    [
        {"crop": "mask_box"},
        {"spacing_mm": 1.6},
        {"crop_px": 17},
        {"size": 18},
        {"interpolation": "nearest"},
        {"percentiles": (2.0, 99.0)},
        {"percentiles": (1.0, 98.0)},
        {"classes": ("BG", "RV", "MYO", "LV", "scar")},
        {"exclude": ("patient002",)},
        {"all_frames": True},
    ],
)
def test_every_setting_of_the_slices_has_a_cache(root, changes):
    """Another setting is prepared anew, and going back finds the first again."""
    save(scan_path(root, "patient001_4d"), make_image(9, (20, 24, 3, 6)))
    first = load_dataset(make_data(root))
    load_dataset(make_data(root, **changes))
    assert len(caches(make_data(root))) == 2
    check_equal(load_dataset(make_data(root)), first)
    assert len(caches(make_data(root))) == 2


def test_crop_px_0_sees_as_many_pixels_as_the_network_has(root, no_reading):
    """The field of view follows `data.size`, and so does the cache."""
    first = load_dataset(make_data(root, size=24, crop_px=24))
    no_reading()
    data = make_data(root, size=24, crop_px=0)
    check_equal(load_dataset(data), first)
    assert field_of_view_mm(data) == 36
    assert field_of_view_mm({"spacing_mm": 2.5, "crop_px": 10, "size": 64}) == 25


def test_other_settings_share_the_cache(root, no_reading):
    """Which patients are labelled, and what classes are called, changes no slice."""
    first = load_dataset(make_data(root))
    no_reading()
    for changes in (
        {"num_labeled": 1, "draw": 3, "val_fraction": 0.5, "holdout_per_group": 1},
        {"classes": ("BG", "a", "b", "c")},
        {"device_budget_mb": 1, "validation_patients": 2, "phantom_seed": 5},
    ):
        check_equal(load_dataset(make_data(root, **changes)), first)


@pytest.mark.parametrize("stem", ["patient002_frame07", "patient002_frame07_gt"])
@pytest.mark.parametrize("change", ["content", "date", "gone"])
def test_changed_file_is_prepared_anew(root, stem, change):
    """A scan or a mask of another size or date than when it was cached is read."""
    path, data = scan_path(root, stem), make_data(root)
    first = load_dataset(data)
    if change == "date":
        status = path.stat()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    elif change == "gone" and stem.endswith("_gt"):
        path.unlink()
    elif change == "gone":
        refuse_path = path.with_name("elsewhere.nii.gz")
        path.rename(refuse_path)
        with pytest.raises(InputError, match="patient002"):
            load_dataset(data)
        return
    else:
        make = make_mask if stem.endswith("_gt") else make_image
        save(path, make(77, SHAPES[stem.removesuffix("_gt")]))
    second = load_dataset(data)
    assert len(caches(data)) == 2
    changed = (second.images != first.images)[..., 0] | (second.labels != first.labels)
    assert changed.any() == (change != "date")
    assert not changed[first.volume_index != 2].any()


def test_another_version_is_prepared_anew(root, monkeypatch):
    """Caches of an older program that prepared otherwise are not believed."""
    data = make_data(root)
    load_dataset(data)
    monkeypatch.setattr(slice_cache, "VERSION", slice_cache.VERSION + 1)
    load_dataset(data)
    assert len(caches(data)) == 2


def damages(whole: bytes) -> dict[str, bytes]:
    """Files that a full disk, a bad one or another program leave behind."""
    flags = bytearray(whole)
    flags[whole.rindex(b"PK\x01\x02") + 8] ^= 1  # "encrypted", in the directory
    method = bytearray(whole)
    method[whole.rindex(b"PK\x01\x02") + 10] ^= 0x80  # an unknown compression
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:  # a date there is not read
        images = archive.getinfo("images.npy")
    middle = bytearray(whole)
    middle[images.header_offset + images.compress_size // 2] ^= 0xFF
    return {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "end": whole[:-30],
        "zeros": whole[:1000] + bytes(len(whole) - 1000),
        "text": b"no archive" * 100,
        "flags": bytes(flags),
        "method": bytes(method),
        "middle": bytes(middle),
    }


def test_damaged_cache_is_prepared_again_and_said(root, caplog):
    """Whatever is wrong with it: the slices are right, and the next load is silent."""
    data = make_data(root)
    first = load_dataset(data)
    (path,) = caches(data)
    whole = path.read_bytes()
    for name, content in damages(whole).items():
        path.write_bytes(content)
        check_equal(load_dataset(data), first)
        (warning,) = caplog.records
        assert str(path) in warning.getMessage(), name
        caplog.clear()
        assert caches(data) == [path]
        check_equal(load_dataset(data), first)
        assert not caplog.records, name


def test_cache_of_another_content_is_prepared_again(root, caplog):
    """An archive without what is expected is as good as none."""
    data = make_data(root)
    first = load_dataset(data)
    (path,) = caches(data)
    with np.load(path) as file:
        arrays = dict(file)
    for change in ({"records": np.array("[]")}, {"records": np.array("{")}, {}):
        kept = arrays if change else {k: arrays[k] for k in arrays if k != "grids"}
        np.savez(path, **(kept | change))
        check_equal(load_dataset(data), first)
        (warning,) = caplog.records
        assert str(path) in warning.getMessage()
        caplog.clear()


def test_cache_of_another_set_counts_under_no_other_name(root, caplog):
    """As after a copy by hand; and what is no archive is not taken for a pickle."""
    data = make_data(root)
    first = load_dataset(data)
    (path,) = caches(data)
    data.percentiles = (10.0, 90.0)
    second = load_dataset(data)
    (other,) = set(caches(data)) - {path}
    for content in (path.read_bytes(), bytes(5000)):
        other.write_bytes(content)
        check_equal(load_dataset(data), second)
        (warning,) = caplog.records
        assert str(other) in warning.getMessage()
        assert "pickle" not in warning.getMessage()
        caplog.clear()
    assert not np.array_equal(first.images, second.images)


@pytest.mark.parametrize("call", ["open", "is_file"])
def test_cache_that_may_not_be_read_is_said(root, monkeypatch, caplog, call):
    """A folder of somebody else's slows the start down and stops nothing."""
    data = make_data(root)
    first = load_dataset(data)
    (path,) = caches(data)

    def refuse_cache(original):
        def wrapped(target, *args, **options):
            if target == path:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return original(target, *args, **options)

        return wrapped

    if call == "open":
        monkeypatch.setattr("builtins.open", refuse_cache(open))
    else:
        monkeypatch.setattr(pathlib.Path, call, refuse_cache(pathlib.Path.is_file))
    check_equal(load_dataset(data), first)
    assert "Permission denied" in caplog.text


@pytest.mark.parametrize("stage", ["folder", "savez", "fsync", "replace"])
def test_cache_that_cannot_be_written_is_only_said(root, monkeypatch, caplog, stage):
    """The run has its slices; on the disk there is no part of a file."""
    data = make_data(root)
    first = load_dataset(make_data(root, cache_dir=str(root.parent / "good")))
    if stage == "folder":
        data.cache_dir = str(scan_path(root) / "cache")
    else:

        def fail(*args, **options):
            if stage == "savez":
                args[0].write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(np if stage == "savez" else os, stage, fail)
    check_equal(load_dataset(data), first)
    (warning,) = caplog.records
    assert str(data.cache_dir) in warning.getMessage()
    assert "--config.data.cache_dir" in warning.getMessage()
    assert not caches(data)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_interrupted_write_leaves_no_file(root, monkeypatch, error):
    """Ctrl-C while the cache is written is a stop, without a trace."""

    def interrupt(file, **arrays):
        file.write(b"half")
        raise error

    monkeypatch.setattr(np, "savez", interrupt)
    with pytest.raises(error):
        load_dataset(make_data(root))
    assert not caches(make_data(root))


def test_whole_cache_survives_a_failed_write(root, monkeypatch, caplog):
    """What replaces a file replaces it whole or not at all."""
    data = make_data(root)
    dataset = load_dataset(data)
    (path,) = caches(data)
    before = path.read_bytes()

    def fail(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", fail)
    slice_cache.save(path, dataset)
    assert "No space left" in caplog.text
    assert caches(data) == [path] and path.read_bytes() == before


def test_phantom_is_written_where_the_cache_is(tmp_path, no_reading):
    """Without a root it lies under the cache's folder, named by its settings."""
    changes = dict(name="phantom", root="", phantom_training=1, phantom_testing=1)
    data = make_data(tmp_path / "phantom", **changes, spacing_mm=2.5, crop_px=64)
    dataset = load_dataset(data)
    folder = pathlib.Path(data.cache_dir) / "phantom-seed0-1-1"
    assert [each.subset for each in dataset.volumes] == ["training"] * 2 + [
        "testing"
    ] * 2
    assert all(folder in each.image_path.parents for each in dataset.volumes)
    assert set(np.unique(dataset.labels)) == {0, 1, 2, 3}
    no_reading()
    check_equal(load_dataset(data), dataset)


def test_plain_folder_is_loaded(tmp_path):
    """Scans of any name, with masks where there are some, and 4-D ones of one frame."""
    image, mask = make_image(0, (20, 24, 3)), make_mask(0, (20, 24, 3))
    save(tmp_path / "scans" / "images" / "A1_1.nii", image)
    save(tmp_path / "scans" / "images" / "B1_1.nii.gz", image[..., None])
    save(tmp_path / "scans" / "labels" / "B1_1.nii.gz", mask)
    data = make_data(tmp_path / "scans", name="nifti")
    dataset = load_dataset(data)
    assert [each.patient for each in dataset.volumes] == ["A1", "B1"]
    np.testing.assert_array_equal(dataset.images[:3], dataset.images[3:])
    assert (dataset.labels[:3] == UNLABELLED).all()
    np.testing.assert_array_equal(dataset.labels[4], crop(mask[..., 1]))
    save(tmp_path / "scans" / "images" / "C1_1.nii", make_image(1, (20, 24, 3, 2)))
    with pytest.raises(InputError, match=r"C1_1\.nii.*fourth_axis"):
        load_dataset(data)


def test_how_much_of_a_mask_is_seen_is_kept_with_it(tmp_path):
    """Whole in the middle of the image, half at the rim of the field of view; read back
    from the cache alike."""
    middle, aside = np.zeros((2, 40, 40, 2), np.uint8)
    middle[18:22, 18:22] = 1
    aside[18:22, 26:30] = 2  # the field of view ends behind column 27
    for name, drawn in (("A", middle), ("B", aside)):
        save(tmp_path / "images" / f"{name}.nii", make_image(0, drawn.shape))
        save(tmp_path / "labels" / f"{name}.nii", drawn)
    save(tmp_path / "images" / "C.nii", make_image(0, middle.shape))
    data = make_data(tmp_path, name="nifti")
    for _ in range(2):
        shares = [each.label_share for each in load_dataset(data).volumes]
        assert shares == [1, 0.5, 1]


def test_scan_that_is_not_finite_is_said(root):
    """One NaN in a scan would be NaN in every slice of it."""
    image = make_image(2, SHAPES["patient002_frame07"]).astype(np.float32)
    image[3, 4, 1] = np.nan
    save(scan_path(root), image)
    refuse(make_data(root), r"patient002_frame07\.nii\.gz .* 1 ")


def test_scan_that_is_cut_off_is_said(root):
    """Half a download; the sentence comes from the file among many."""
    path = scan_path(root)
    path.write_bytes(path.read_bytes()[:500])
    refuse(make_data(root), r"patient002_frame07\.nii\.gz .*NIfTI")


def test_mask_of_another_shape_is_said(root):
    """Slices would be paired with others' masks."""
    save(scan_path(root, "patient002_frame07_gt"), make_mask(0, (30, 12, 2)))
    refuse(
        make_data(root),
        r"frame07_gt\.nii\.gz .*\(30, 12, 2\).*\(12, 30, 2\)",
    )


def test_label_that_is_no_class_is_said(root):
    """The mask, the label and the setting that names the classes."""
    data = make_data(root, classes=("BG", "RV", "MYO"))
    refuse(data, r"_gt\.nii\.gz .* label 3, .*data\.classes .* 0 to 2")


def test_values_of_masks_are_those_of_their_classes(root, tmp_path):
    """By the flag; the numbers and the caches are other ones, and scores read the masks
    in the same way."""
    plain = load_dataset(make_data(root))
    for seed, (stem, shape) in enumerate(SHAPES.items()):
        values = np.array([0, 200, 500, 600], np.int16)[make_mask(seed, shape)]
        save(scan_path(root, f"{stem}_gt"), values)
    refuse(make_data(root, cache_dir=str(tmp_path / "no")), r"data\.label_values")
    data = make_data(root, label_values=(0, 200, 500, 600))
    mapped = load_dataset(data)
    np.testing.assert_array_equal(mapped.labels, plain.labels)
    assert [each.label_digest for each in mapped.volumes] == [
        each.label_digest for each in plain.volumes
    ]
    check_equal(load_dataset(data), mapped)
    data.label_values = (0, 600, 500, 200)
    other = load_dataset(data)
    np.testing.assert_array_equal(other.labels == 1, plain.labels == 3)
    np.testing.assert_array_equal(other.images, plain.images)
    assert len(caches(data)) == 3

    def paint(slices):
        slices = slices[..., 0]
        return np.stack([slices == slices.min(), *[0 * slices] * 3], -1) + 0.0

    scores = evaluate_volumes(paint, mapped, [0], classes=data.classes)
    assert scores[0].dice[1] == 0  # there are voxels of the class, and none is found


def test_data_set_says_which_value_is_which_class(tmp_path):
    """dataset.json beside images/, whose order of the names does not count."""
    label = make_mask(0, (20, 24, 3))
    root = tmp_path / "scans"
    for number in (1, 2):
        save(root / "images" / f"p{number}.nii", make_image(0, label.shape))
        save(
            root / "labels" / f"p{number}.nii", np.array([0, 3, 2, 1], np.uint8)[label]
        )
    data = make_data(root, name="nifti")
    np.testing.assert_array_equal(load_dataset(data).labels == 3, _cropped(label) == 1)
    text = '{"labels": {"background": 0, "LV": 1, "MYO": 2, "RV": 3}}'
    (root / "dataset.json").write_text(text)
    np.testing.assert_array_equal(load_dataset(data).labels, _cropped(label))
    data.classes = ("BG", "A", "B", "C")
    with pytest.raises(InputError, match=r"dataset\.json.*data(\.|__)label_values"):
        load_dataset(data)
    data.label_values = (0, 3, 2, 1)
    np.testing.assert_array_equal(load_dataset(data).labels, _cropped(label))
    shutil.rmtree(root / "labels")  # without masks the names do not count
    data.label_values = ()
    assert (load_dataset(data).labels == UNLABELLED).all()


def _cropped(label):
    """The network's slices of two scans with the same mask."""
    return np.stack([crop(label[..., k]) for k in range(label.shape[2])] * 2)


def test_all_scans_that_cannot_be_used_are_named(root):
    """In one go, so that they can be mended together."""
    stems = list(SHAPES)[:3]
    for stem in stems:
        scan_path(root, stem).write_bytes(b"damaged")
    with pytest.raises(InputError) as caught:
        load_dataset(make_data(root))
    assert all(f"{stem}.nii.gz" in str(caught.value) for stem in stems)
    assert list(SHAPES)[3] not in str(caught.value)


def test_links_to_nothing_are_named(tmp_path):
    """Scans and masks; excluded patients need none."""
    root = tmp_path / "scans"
    for number in (1, 2, 3):
        save(root / "images" / f"p{number}.nii", make_image(0, (20, 24, 3)))
    (root / "labels").mkdir()
    (root / "images" / "p4.nii.gz").symlink_to("none.nii.gz")
    (root / "labels" / "p1.nii.gz").symlink_to("none.nii.gz")
    data = make_data(root, name="nifti")
    refuse(data, r"2 file.*labels/p1\.nii\.gz.*images/p4\.nii\.gz")
    data.exclude = ("p1", "p4")
    assert len(load_dataset(data).volumes) == 2


def test_masks_of_patients_that_are_links_to_nothing_are_named(root):
    """Rather than taken for scans that have none."""
    mask = scan_path(root, "patient002_frame07_gt")
    mask.unlink()
    mask.symlink_to("none.nii.gz")
    refuse(make_data(root), r"1 file.*patient002_frame07_gt\.nii\.gz")


def test_pair_is_prepared_anew_if_either_half_changes(tmp_path):
    """The header's date counts beside that of the voxels."""
    root = tmp_path / "scans"
    (root / "images").mkdir(parents=True)
    pair = nib.Nifti1Pair(make_image(0, (20, 24, 3)), np.diag([1.5, 1.5, 8, 1]))
    nib.save(pair, root / "images" / "p1.img")
    data = make_data(root, name="nifti")
    first = load_dataset(data)
    check_equal(load_dataset(data), first)
    assert len(caches(data)) == 1
    pair.header.set_zooms((3, 3, 8))
    nib.save(pair, tmp_path / "p1.img")
    (tmp_path / "p1.hdr").replace(root / "images" / "p1.hdr")
    assert load_dataset(data).volumes[0].spacing_mm == (3, 3, 8)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"name": "ACDC"}, r"data\.name is 'ACDC'.*'phantom'.*'acdc'.*'nifti'"),
        ({"root": ""}, r"data\.name='acdc'.*--config\.data\.root"),
        ({"name": "nifti", "root": ""}, r"data\.name='nifti'.*--config\.data\.root"),
        ({"root": "nowhere"}, r"nowhere.training.*data\.root"),
        ({"name": "auto"}, r"data\.name"),
        ({"crop": "centre"}, r"data\.crop is 'centre'.*'center'.*'mask_box'"),
        ({"percentiles": (99.0, 1.0)}, r"data\.percentiles=\(99\.0, 1\.0\)"),
        ({"percentiles": (1.0, 101.0)}, r"data\.percentiles=\(1\.0, 101\.0\)"),
        ({"percentiles": (-1.0, 99.0)}, r"data\.percentiles=\(-1\.0, 99\.0\)"),
        ({"percentiles": (5.0, 5.0)}, r"data\.percentiles=\(5\.0, 5\.0\)"),
        ({"percentiles": (1.0,)}, r"data\.percentiles=\(1\.0,\)"),
        ({"percentiles": (1.0, 50.0, 99.0)}, r"data\.percentiles=\(1\.0, 50\.0, 99"),
        ({"interpolation": "cubic"}, r"data\.interpolation is 'cubic'.*'nearest'"),
        ({"size": 0}, r"data\.size .* 1\.5, 0 and 16$"),
        ({"spacing_mm": -1.5}, r"data\.spacing_mm.* -1\.5, 16 and 16$"),
        ({"crop_px": -1}, r"data\.crop_px .* 1\.5, 16 and -1$"),
        ({"spacing_mm": 1e6}, r"data\.spacing_mm is 1e\+06"),
        ({"spacing_mm": 1e-9}, r"data\.spacing_mm is 1e-09"),
        ({"crop_px": 100_000}, r"data\.crop_px 100000"),
        ({"label_values": (0, 255)}, r"data\.label_values=\(0, 255\)"),
        ({"classes": ("BG",)}, r"data\.classes=\('BG',\).* 2 to 255 "),
        ({"classes": ("BG", "A", "A", "B")}, r"data\.classes=.* 'A'"),
        ({"classes": ("BG", "A", "B", "a")}, r"data\.classes=.* 'A'"),
        ({"classes": ("BG", "Background", "A", "B")}, r"data\.classes=.* 'BG'"),
        ({"classes": ("BG", "mean", "A", "B")}, r"data\.classes=.* 'mean'"),
        ({"exclude": ("patient003",)}, r"data\.exclude names patient003"),
        ({"exclude": ("patient001", "patient002")}, r"data\.exclude"),
    ],
)
def test_senseless_settings_are_said(root, changes, match):
    """The setting, what it says and what it may say."""
    refuse(make_data(root, **changes), match)


def test_excluded_patient_is_never_read(root):
    """Leaving a patient out mends what is wrong with it, as messages promise."""
    path = scan_path(root)
    path.write_bytes(b"damaged")
    data = make_data(root, exclude=("patient002",))
    dataset = load_dataset(data)
    assert [each.patient for each in dataset.volumes] == ["patient001"] * 2
    path.unlink()
    data.cache_dir = str(root.parent / "other")
    check_equal(load_dataset(data), dataset)


def store_otherwise(
    root, order, flip=(), stems=tuple(SHAPES), spacing_mm=(1.5, 1.5, 8)
):
    """Stores scans and masks with other axes, and their affines with them."""
    for stem in stems:
        for name in (stem, f"{stem}_gt"):
            path = scan_path(root, stem).with_name(f"{name}.nii.gz")
            array = np.flip(np.asarray(nib.load(path).dataobj), flip)
            affine = np.diag([*spacing_mm, 1.0])
            for axis in flip:
                affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
                affine[:, axis] *= -1
            moved = nib.Nifti1Image(np.transpose(array, order), affine[:, [*order, 3]])
            nib.save(moved, path)


def load_and_score(data, **options):
    """A data set, and the scores of a network that knows grey levels alone."""

    def predict(images):
        return np.eye(4, dtype=np.float32)[(3.99 * images[..., 0]).astype(int)]

    dataset = load_dataset(data, **options)
    scores = evaluate_volumes(predict, dataset, range(4), classes=CONFIG.data.classes)
    return dataset, scores


def alike(first, second):
    """Whether two data sets show a network the same, and are scored alike."""
    for name in (*ARRAYS, "boxes"):
        np.testing.assert_array_equal(getattr(first[0], name), getattr(second[0], name))
    for ours, theirs in zip(first[1], second[1], strict=True):
        np.testing.assert_array_equal(ours.dice, theirs.dice)
        np.testing.assert_array_equal(ours.hd95_mm, theirs.hd95_mm)


@pytest.mark.parametrize("crop", ["center", "mask_box"])
@pytest.mark.parametrize("order", [(2, 0, 1), (0, 2, 1)])
def test_slices_stored_first_or_second_train_and_score_as_ever(root, order, crop):
    """The axis of the larger spacing is the slices', in scans and masks, and a later
    start knows that too."""
    data = make_data(root, crop=crop)
    plain = load_and_score(data)
    store_otherwise(root, order)
    for _ in range(2):  # from the files, from the cache
        turned = load_and_score(data)
        alike(plain, turned)
        for record in turned[0].volumes:
            assert record.slice_axis == (order.index(2), "S/I", "RA")
            assert record.axes.order == (*np.argsort(order)[:2], order.index(2))
            assert record.notes == ("slices_not_last",)
            assert np.isclose(record.spacing_mm, (1.5, 1.5, 8)).all()
    assert len(reading_notes(turned[0].volumes)) == 1
    assert "4 of 4" in reading_notes(turned[0].volumes)[0]
    # Who says that the slices lie elsewhere gets them there.
    other = load_dataset(make_data(root, slice_axis=2))
    assert [each.shape[2] for each in other.volumes] != [3, 3, 2, 4]
    assert not any(each.notes for each in other.volumes)


def test_scans_of_one_set_may_differ(root):
    """Each is read by the rule, and one note counts those unlike the others."""
    plain = load_and_score(make_data(root))
    store_otherwise(root, (2, 0, 1), stems=["patient001_frame05"])
    mixed = load_and_score(make_data(root))
    alike(plain, mixed)
    assert most_common(each.slice_axis for each in mixed[0].volumes) == (2, "S/I", "RA")
    notes = reading_notes(mixed[0].volumes)
    assert len(notes) == 2 and all("1 of 4" in note for note in notes)


def test_cubes_are_cut_where_the_run_was_cut(root):
    """Neither length nor spacing decides: the file's third axis does, or the body's."""
    for stem, shape in SHAPES.items():
        for name in (stem, f"{stem}_gt"):
            path = scan_path(root, stem).with_name(f"{name}.nii.gz")
            save(path, np.asarray(nib.load(path).dataobj), (1.5, 1.5, 1.5))
        assert shape[2] > 1
    data = make_data(root)
    plain = load_and_score(data)
    store_otherwise(root, (0, 2, 1), spacing_mm=(1.5, 1.5, 1.5))
    assert [each.shape[2] for each in load_dataset(data).volumes] == [24, 24, 30, 15]
    found = load_and_score(data, expected=SliceAxis(2, "S/I"))
    alike(plain, found)
    assert {each.notes for each in found[0].volumes} == {("turned",)}
    alike(plain, load_and_score(make_data(root, slice_axis=1)))


def test_scans_that_lie_otherwise_in_plane_are_counted(root):
    """A mirror has the shape of the others: only the affine tells."""
    store_otherwise(root, (0, 1, 2), (0,), stems=["patient002_frame03"])
    notes = reading_notes(load_dataset(make_data(root)).volumes)
    assert len(notes) == 1 and "1 of 4" in notes[0] and "data.orientation" in notes[0]
    canonical = load_dataset(make_data(root, orientation="canonical"))
    assert reading_notes(canonical.volumes) == []


@pytest.mark.parametrize("order, flip", [((2, 0, 1), (0,)), ((1, 0, 2), (0, 1, 2))])
def test_canonical_scans_lie_alike_however_they_are_stored(root, order, flip):
    """Turned to one orientation; as stored, rows and columns are the file's."""
    canonical = make_data(root, orientation="canonical")
    plain = load_and_score(canonical)
    alike(plain, load_and_score(make_data(root)))  # they lie so already
    store_otherwise(root, order, flip)
    turned = load_and_score(canonical)
    alike(plain, turned)
    assert not any(each.notes for each in turned[0].volumes)
    stored = load_dataset(make_data(root))
    assert not np.array_equal(stored.images, plain[0].images)


def test_a_scan_is_the_same_scan_by_whatever_axes_it_is_read(root):
    """Its digest, by which leaks between runs are found, is that of the file."""
    first, *others = (
        [(x.image_digest, x.label_digest) for x in load_dataset(data).volumes]
        for data in (
            make_data(root),
            make_data(root, slice_axis=0),
            make_data(root, orientation="canonical"),
        )
    )
    assert len(set(first)) == 4
    for other in others:
        assert other == first


def test_a_picture_of_one_slice_is_one_slice(tmp_path):
    """(1, rows, columns), (rows, columns, 1) and (rows, columns) train alike."""
    image, label = make_image(1, (20, 24)), make_mask(1, (20, 24, 2))[..., 0]
    for name, axis in (("a", 0), ("b", 2), ("c", None)):
        for kind, array in (("images", image), ("labels", label)):
            array = array if axis is None else np.expand_dims(array, axis)
            save(tmp_path / "x" / kind / f"{name}.nii.gz", array, (1.5, 1.5, 1.5))
    dataset = load_dataset(make_data(tmp_path / "x", name="nifti"))
    assert [each.shape for each in dataset.volumes] == [(20, 24, 1)] * 3
    for array in (dataset.images, dataset.labels):
        np.testing.assert_array_equal(array, array[[0, 0, 0]])
    assert dataset.labels.any()
