"""The fingerprint of a data set, and the plan that follows from it."""

import base64
import pathlib
import shlex
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from configs import pix2rep
from pix2rep_jax.data import dataset
from pix2rep_jax.data.fault import Fault
from pix2rep_jax.data.fit import fingerprint, likeness
from pix2rep_jax.data.fit.fingerprint import take_fingerprint
from pix2rep_jax.data.fit.plan import explain_faults, make_plan, plan_data
from pix2rep_jax.data.slices import padding, resample
from pix2rep_jax.data.slices.normalization import Normalization, intensity_range
from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.atomic_file import read_sealed

PADDING, AIR, FAT, LIVER = -2000, -1000, -100, 60


def save(path, array, spacing_mm):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([*spacing_mm, 1])), path)


def make_data(root, **changes):
    """The settings of `small` for a plain folder that holds none out."""
    data = pix2rep.get_config("small").data.copy_and_resolve_references()
    data.update(name="nifti", root=str(root), cache_dir=str(root / "cache"))
    data.classes = ("BG", "ORGAN")
    with data.ignore_type():  # "auto" or a number
        data.update({"holdout_per_group": 0, **changes})
    return data


def make_set(root, *, shape=(40, 30, 3), spacing_mm=(1.0, 1.0, 5.0), box=None, n=3):
    """Noise in which a box is masked; `box` are its rows and columns, px."""
    rows, columns = box or (slice(15, 25), slice(10, 20))
    for number in range(n):
        rng = np.random.default_rng(number)
        label = np.zeros(shape, np.uint8)
        label[rows, columns, 0] = 1
        save(root / f"images/p{number}.nii.gz", rng.random(shape) + label, spacing_mm)
        save(root / f"labels/p{number}.nii.gz", label, spacing_mm)
    return make_data(root)


def make_ct(root, *, masks=True, n=3):
    """A disc of fat with a bright organ in air, and -2000 outside of a circle."""
    place = np.hypot(*(np.indices((64, 64)) - 31.5))
    for number in range(n):
        rng = np.random.default_rng(number)
        plane = np.where(place < 24, FAT, AIR)
        organ = place < 8
        plane = np.where(organ, LIVER, plane) + rng.integers(-20, 21, plane.shape)
        plane[place > 31] = PADDING
        image = np.repeat(plane[..., None], 2, 2).astype(np.int16)
        save(root / f"images/p{number}.nii.gz", image, (1.5, 1.5, 5))
        if masks:
            label = np.repeat(organ[..., None], 2, 2).astype(np.uint8)
            save(root / f"labels/p{number}.nii.gz", label, (1.5, 1.5, 5))
    return make_data(root)


@pytest.mark.parametrize("spacing_mm", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("side", [16, 200, 700])
def test_the_patch_holds_the_masks_and_is_never_finer_than_the_scans(
    tmp_path, side, spacing_mm
):
    """A mask over the middle half: 64 px suffice for its reach, or for the scan's."""
    quarter = side // 4
    box = slice(quarter, side - quarter)
    data = make_set(
        tmp_path,
        shape=(side, side, 1),
        spacing_mm=(spacing_mm, spacing_mm, 5 * spacing_mm),
        box=(box, box),
        n=2,
    )
    settled = plan_data(data)
    # A pixel belongs to the square of half a side h if |x| <= h and |y| <= h.
    x = np.abs(np.arange(box.start, box.stop) - (side - 1) / 2) * spacing_mm
    half = np.quantile(np.maximum(x[:, None], x), 0.95, method="inverted_cdf")
    expected = max(spacing_mm, float(f"{2 * half / 64:.2g}"))
    assert settled.spacing_mm == pytest.approx(expected, rel=1e-5)
    assert settled.spacing_mm >= spacing_mm * (1 - 1e-5)
    assert settled.normalization == "percentiles" and settled.window == ()
    loaded = dataset.load_dataset(settled)
    assert min(each.label_share for each in loaded.volumes) > 0.9


def test_without_masks_the_patch_holds_the_middle_of_the_scans(tmp_path):
    """Half of the longer side: 300 px of 2 mm are 600, so 300 mm in 64 px."""
    shape = (300, 100, 1)
    for number in range(2):
        image = np.random.default_rng(number).random(shape)
        save(tmp_path / f"images/p{number}.nii.gz", image, (2, 2, 9))
    assert plan_data(make_data(tmp_path)).spacing_mm == 4.7


def test_masks_of_test_patients_take_no_part(tmp_path):
    """The last patient alone has a mask that reaches to the corner."""
    data = make_set(tmp_path, shape=(400, 400, 1))
    label = np.zeros((400, 400, 1), np.uint8)
    label[:20, :20] = 1
    save(tmp_path / "labels/p2.nii.gz", label, (1, 1, 5))
    data.crop = "center"
    assert plan_data(data).spacing_mm > 5
    data.holdout_per_group = 1
    assert plan_data(data).spacing_mm < 6.1
    near = make_set(tmp_path / "near", shape=(400, 400, 1))
    near.crop = "center"
    assert plan_data(data).spacing_mm == plan_data(near).spacing_mm


def test_the_fingerprint_says_what_the_scans_are_like(tmp_path):
    """Numbers that follow from how the scans were made."""
    data = make_set(tmp_path)
    found = take_fingerprint(data)
    first = found.scans[0]
    assert first.spacing_mm == (1, 1, 5) and first.shape == (40, 30, 3)
    assert (first.dtype, first.annotated, first.padding) == ("float64", 1, 0)
    assert first.box_mm == (-5, 5, -5, 5)
    assert first.reach_mm == 4.5  # of the outermost pixels' centres
    image = nib.load(tmp_path / "images/p0.nii.gz").get_fdata(dtype=np.float32)
    expected = np.percentile(image, (0.5, 1, 50, 99, 99.5))
    np.testing.assert_allclose(first.levels, expected, rtol=1e-4)
    assert found.num_channels == 1 and not found.faults
    assert len(fingerprint.describe_fingerprint(found)) == 6


@pytest.mark.parametrize("name", ["255", "BONE"])
def test_a_value_that_nobody_named_is_no_structure(tmp_path, name):
    """Around dots 255 usually means that nobody has looked; a class has a name."""
    data = make_set(tmp_path)
    for path in (tmp_path / "labels").iterdir():
        label = np.full((40, 30, 3), 255, np.uint8)
        label[15:25, 10:20] = 1
        label[15, 10:20], label[16, 10:20] = 0, 2
        save(path, label, (1, 1, 5))
    data.classes = ("background", "1", "2", name)
    data.label_values = (0, 1, 2, 255)
    box = take_fingerprint(data).scans[0].box_mm
    assert box == ((-4, 5, -5, 5) if name == "255" else (-20, 20, -15, 15))
    if name == "255":
        assert plan_data(data).spacing_mm == 1


def test_the_fingerprint_is_cached_until_a_file_changes(tmp_path, monkeypatch):
    """The second call reads no scan, and gives the same."""
    data = make_set(tmp_path)
    found = take_fingerprint(data)
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "_measure", None)
        assert take_fingerprint(data) == found
    make_set(tmp_path, shape=(40, 32, 3))
    assert take_fingerprint(data).scans[0].shape == (40, 32, 3)


def test_no_flipped_bit_of_a_cache_changes_the_plan(tmp_path):
    """A digit may become another, and the file is as good JSON as before."""
    data = make_set(tmp_path)
    data.crop = "auto"
    found, planned = take_fingerprint(data), plan_data(data)
    (facts,) = (tmp_path / "cache").glob("fingerprint-*.json")
    (detail,) = (tmp_path / "cache").glob("detail-*.json")
    draw = np.random.default_rng(0)
    for path, measured in ((facts, fingerprint._load), (detail, read_sealed)):
        whole, before = path.read_bytes(), measured(path)
        assert before
        for place in draw.integers(len(whole), size=300):
            damaged = bytearray(whole)
            damaged[place] ^= 1
            path.write_bytes(damaged)
            assert measured(path) in (before, None, {})
        digits = whole.replace(b"1", b"3")
        assert digits != whole
        path.write_bytes(digits)
    assert take_fingerprint(data) == found and plan_data(data) == planned


def test_a_ct_has_one_window_of_its_structures(tmp_path):
    """The half and the 99.5th percentile of what the masks show, for all scans."""
    settled = plan_data(make_ct(tmp_path))
    assert settled.normalization == "window"
    shown = []
    for number in range(3):
        image = nib.load(tmp_path / f"images/p{number}.nii.gz").get_fdata()
        label = nib.load(tmp_path / f"labels/p{number}.nii.gz").get_fdata()
        shown.append(image[label == 1])
    expected = np.percentile(np.concatenate(shown), (0.5, 99.5))
    np.testing.assert_allclose(settled.window, expected, atol=1.0)
    loaded = dataset.load_dataset(settled)
    low, high = settled.window
    assert {(each.low, each.high) for each in loaded.volumes} == {((low,), (high,))}
    assert loaded.images.min() == 0 and loaded.images.max() == 1


def test_the_window_of_a_ct_without_masks_is_that_of_the_body(tmp_path):
    """Air and what lies outside the circle take no part."""
    settled = plan_data(make_ct(tmp_path, masks=False))
    assert settled.normalization == "window"
    assert FAT - 21 < settled.window[0] < FAT and LIVER < settled.window[1] < LIVER + 21


def test_a_flag_is_kept_and_the_rest_is_planned(tmp_path):
    """Each setting on its own."""
    data = make_ct(tmp_path)
    with data.ignore_type():
        data.spacing_mm = 3.0
    data.window = (-160, 240)
    settled = plan_data(data)
    assert (settled.spacing_mm, settled.normalization) == (3.0, "window")
    assert settled.window == (-160, 240)
    data.update(normalization="percentiles")
    assert plan_data(data).normalization == "percentiles"
    data.update(normalization="auto", window=(240, -160))
    with pytest.raises(InputError, match=r"data(\.|__)window"):
        dataset.load_dataset(plan_data(data))


def test_a_plan_is_needed_before_slices_are_made(tmp_path):
    """The slices' cache must not depend on a word."""
    with pytest.raises(InputError, match="auto"):
        dataset.load_dataset(make_set(tmp_path))


@pytest.mark.parametrize("value", [-1024, -2000, -3024])
def test_padding_outside_the_circle_takes_no_part_in_percentiles(value):
    """The range is that of what was measured; 0 around an MR image counts as ever."""
    rng = np.random.default_rng(0)
    image = rng.integers(-900, 300, (2, 50, 50)).astype(np.float32)
    outside = np.hypot(*(np.indices((50, 50)) - 24.5)) > 24
    padded = np.where(outside, np.float32(value), image)
    assert padding.find_padding(padded) == value
    low, high = intensity_range(padded, Normalization((0.0, 100.0)))
    expected = image[:, ~outside]
    if value == -1024:  # next to the air, so it may have been measured
        assert low == value
    else:
        assert low == expected.min()
    assert high == expected.max()
    black = np.where(outside, np.float32(0), image + 1000)
    assert intensity_range(black, Normalization()) == resample.percentile_range(black)


def test_likeness_is_the_mean_correlation_of_all_pairs():
    """Against a loop over pairs and the seven moves, with np.corrcoef."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 255, 48)
    slices = [(ramp[:, None] + 60 * rng.random((48, 48))) % 256 for _ in range(4)]
    slices = [each.astype(np.uint8) for each in slices]

    def mean(move):
        pairs = [(a, b) for a in range(4) for b in range(4) if a != b]
        return np.mean(
            [
                np.corrcoef(slices[a].ravel(), move(slices[b]).ravel())[0, 1]
                for a, b in pairs
            ]
        )

    moves = [lambda x, k=k: np.rot90(x, k) for k in range(4)]
    moves += [lambda x, k=k: np.rot90(x.T, k) for k in range(4)]
    scores = [mean(move) for move in moves]
    found = likeness.compare(slices)
    assert found.upright == pytest.approx(scores[0], abs=1e-3)
    assert found.moved == pytest.approx(max(scores[1:]), abs=1e-3)
    assert "mirrored" in found.move and "columns" in found.move
    assert likeness.compare(slices[:1]) is None


def test_likeness_of_many_patients_takes_the_memory_of_a_few(monkeypatch):
    """And is the same by whatever parts: 1000 of them would take 18 MB at a time."""
    noise = np.random.default_rng(0).integers(0, 255, (50, 48, 48), dtype=np.uint8)
    expected = likeness.compare([*noise])
    monkeypatch.setattr(likeness, "_AT_ONCE", 16)
    assert likeness.compare([*noise]) == expected
    many = [*noise] * 20
    tracemalloc.start()
    likeness.compare(many)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6


@pytest.mark.parametrize("shape", [(48, 48), (96, 144), (20, 700)])
def test_a_thumbnail_is_the_mean_of_the_pixels_in_each_part(shape):
    """Written as text and read back; a ramp stays one, in 256 greys."""
    ramp = np.add.outer(np.arange(shape[0]) / shape[0], np.zeros(shape[1]))
    small = likeness.read_thumbnail(likeness.make_thumbnail(ramp))
    assert small.shape == (48, 48) and len(base64.b64encode(small)) == 3072
    assert (np.diff(small[:, 0].astype(int)) >= 0).all()
    assert small[0, 0] == 0 and small[-1, 0] >= 254


@pytest.mark.parametrize(
    ("root", "expected", "upright"),
    [("ACDC", 2.5, False), ("Hippocampus", 1.0, True)],
)
def test_real_sets_get_the_spacing_and_the_views_that_suit_them(
    root, expected, upright, acdc_root, tmp_path
):
    """ACDC keeps the 2.5 mm with which `small` was published."""
    folder = acdc_root.parent / root
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")
    data = make_data(tmp_path, holdout_per_group=4)
    if root == "ACDC":
        data.update(name="acdc", root=str(folder), classes=("BG", "RV", "MYO", "LV"))
    else:
        link_channels(folder, tmp_path)
        classes = ("background", "anterior", "posterior")
        data.update(classes=classes, patient_regex=".+")
    found = take_fingerprint(data, progress=False)
    plan = make_plan(found, data)
    assert (plan.spacing_mm, plan.normalization) == (expected, "percentiles")
    assert plan.upright is upright


def link_channels(folder: pathlib.Path, root: pathlib.Path) -> None:
    """Links the first channel of nnU-Net's layout as a plain folder."""
    (root / "labels").symlink_to(folder / "labelsTr")
    (root / "images").mkdir()
    for scan in (folder / "imagesTr").glob("*_0000.nii.gz"):
        (root / "images" / scan.name.replace("_0000", "")).symlink_to(scan)


def test_the_command_that_lists_all_faults_is_whole():
    """It names the configuration and the folder, and Python gets it as it is."""
    faults, data = [Fault("a", "a is bad", "")] * 2, {"root": "/my scans"}
    said = str(InputError(explain_faults(faults, data, size="medium")))
    words = shlex.split(said[said.index("--mode") :])
    assert "--config=configs/pix2rep.py:medium" in words
    assert "--config.data.root=/my scans" in words
    assert "--mode" not in explain_faults(faults[:1], data)
