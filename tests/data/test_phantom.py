import dataclasses
import json
import math
import pathlib

import nibabel as nib
import numpy as np
import pytest
import scipy.ndimage

from pix2rep_jax.data.phantom import write
from pix2rep_jax.data.phantom.acquisition import draw_scan, receive
from pix2rep_jax.data.phantom.canvas import Canvas
from pix2rep_jax.data.phantom.heart import contours, draw_heart
from pix2rep_jax.errors import InputError

NUM_TRAINING, NUM_TESTING = 10, 2


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("cache") / "phantom"
    return write.write(folder, num_training=NUM_TRAINING, num_testing=NUM_TESTING)


def read_info(folder: pathlib.Path) -> dict[str, str]:
    lines = (folder / "Info.cfg").read_text().splitlines()
    return dict(line.split(": ") for line in lines)


def read_phase(folder: pathlib.Path, phase: str):
    """One volume, its labels, spacing and the path of its image."""
    path = folder / f"{folder.name}_frame{int(read_info(folder)[phase]):02d}.nii.gz"
    image = nib.load(path)
    label = nib.load(str(path).replace(".nii.gz", "_gt.nii.gz"))
    spacing_mm = np.array(image.header.get_zooms())
    return np.asarray(image.dataobj), np.asarray(label.dataobj), spacing_mm, path


def patients(root: pathlib.Path) -> list[pathlib.Path]:
    return sorted(root.glob("training/patient*"))


def contents(root: pathlib.Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def volume_ml(radius_mm: np.ndarray, slice_mm: float) -> float:
    """What a contour encloses: half the mean square radius times 2 pi a slice."""
    return float(np.pi * (radius_mm**2).mean(axis=1).sum() * slice_mm / 1000)


def test_layout_is_acdcs(root):
    """Patients are numbered through both subsets, each with its five files."""
    names = [path.name for path in patients(root)]
    assert names == [f"patient{i:03d}" for i in range(1, NUM_TRAINING + 1)]
    assert sorted(path.name for path in root.glob("testing/*")) == [
        f"patient{NUM_TRAINING + i:03d}" for i in range(1, NUM_TESTING + 1)
    ]
    for folder in [*patients(root), *root.glob("testing/*")]:
        info = read_info(folder)
        assert list(info) == ["ED", "ES", "Group", "Height", "NbFrame", "Weight"]
        assert 1 == int(info["ED"]) < int(info["ES"]) < int(info["NbFrame"])
        assert 120 < float(info["Height"]) < 220 and 30 < float(info["Weight"]) < 150
        assert len(list(folder.iterdir())) == 5
    groups = [read_info(folder)["Group"] for folder in patients(root)]
    assert groups == 2 * ["DCM", "HCM", "MINF", "NOR", "RV"]


def test_volumes_are_read_by_nibabel_as_acdcs_are(root):
    """int16 images and uint8 masks share shape and affine, in mm and ACDC's axes."""
    for folder in patients(root):
        for phase in ("ED", "ES"):
            image, label, spacing_mm, path = read_phase(folder, phase)
            assert image.dtype == np.int16 and label.dtype == np.uint8
            assert image.shape == label.shape and image.ndim == 3
            assert image.min() >= 0 and len(np.unique(image)) > 100
            assert set(np.unique(label)) == {0, 1, 2, 3}
            assert 0.69 < spacing_mm[0] == spacing_mm[1] < 1.93
            assert spacing_mm[2] in (5, 7, 10) and 6 <= image.shape[2] <= 24
            affine = nib.load(path).affine
            np.testing.assert_allclose(
                np.diag(affine), [-spacing_mm[0], -spacing_mm[1], spacing_mm[2], 1]
            )
            assert nib.aff2axcodes(affine) == ("L", "P", "S")


def test_same_seed_gives_same_bytes(root, tmp_path):
    """Files depend on seed and patient alone, not on threads or on who else is there"""
    again = contents(write.write(tmp_path / "a", num_training=3, num_testing=0))
    first = contents(root)
    compared = [name for name in again if name.startswith("training")]
    assert len(compared) == 15
    assert all(again[name] == first[name] for name in compared)
    other = contents(write.write(tmp_path / "b", seed=1, num_training=1, num_testing=0))
    images = [name for name in other if name.endswith(".nii.gz")]
    assert all(other[name] != first.get(name) for name in images)


def test_second_write_touches_nothing(root, monkeypatch):
    """A complete folder is left alone."""
    monkeypatch.setattr(write, "_write_patients", pytest.fail)
    write.write(root, num_training=NUM_TRAINING, num_testing=NUM_TESTING)


def test_other_settings_or_version_write_anew(tmp_path, monkeypatch):
    """What the marker says decides; the old patients do not stay beside the new."""
    root = write.write(tmp_path / "p", num_training=2, num_testing=0)
    write.write(root, num_training=1, num_testing=0)
    assert [path.name for path in patients(root)] == ["patient001"]
    (root / "training" / "patient001" / "Info.cfg").unlink()
    monkeypatch.setattr(write, "VERSION", write.VERSION + 1)
    write.write(root, num_training=1, num_testing=0)
    assert read_info(root / "training" / "patient001")["Group"] == "DCM"
    assert json.loads((root / "phantom.json").read_text())["version"] == write.VERSION
    assert list(tmp_path.iterdir()) == [root]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_interrupted_write_leaves_what_was_there(tmp_path, monkeypatch, error):
    """No half-written folder appears, and a former one survives."""
    root = write.write(tmp_path / "p", num_training=1, num_testing=0)
    before = contents(root)

    def fail(*args):
        raise error

    monkeypatch.setattr(write, "_write_patient", fail)
    for target in (root, tmp_path / "new"):
        with pytest.raises(error):
            write.write(target, num_training=2, num_testing=0)
    assert contents(root) == before
    assert list(tmp_path.iterdir()) == [root]


def test_full_disk_is_one_sentence(tmp_path, monkeypatch):
    """An error of the system names the folder and the option."""

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write, "_write_patient", fail)
    with pytest.raises(InputError, match=r"data(\.|__)cache_dir"):
        write.write(tmp_path / "p", num_training=1, num_testing=0)
    assert not list(tmp_path.iterdir())


def test_foreign_folder_is_refused(tmp_path):
    """Nothing that the phantom did not write is ever replaced."""
    (tmp_path / "notes.txt").write_text("mine")
    for target in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(InputError, match=str(tmp_path)):
            write.write(target, num_training=1, num_testing=0)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("bad", [{"seed": -1}, {"num_training": 0}])
def test_senseless_numbers_are_refused(tmp_path, bad):
    """A number out of range is named before anything is written."""
    with pytest.raises(
        InputError, match=f"{next(iter(bad))}': {next(iter(bad.values()))}"
    ):
        write.write(tmp_path / "p", **bad)
    assert not list(tmp_path.iterdir())


def test_labels_have_a_hearts_topology(root):
    """The muscle is a ring round one cavity, and the right ventricle lies on it."""
    for folder in patients(root):
        for phase in ("ED", "ES"):
            _, label, _, _ = read_phase(folder, phase)
            with_right = [
                k for k in range(label.shape[2]) if (label[..., k] == 1).any()
            ]
            for k in with_right[1:-1]:
                plane = label[..., k]
                cavity, right = plane == 3, plane == 1
                assert scipy.ndimage.label(cavity)[1] == 1
                assert scipy.ndimage.label(plane >= 2)[1] == 1
                border = scipy.ndimage.binary_dilation(cavity) & ~cavity
                assert (plane[border] == 2).all()
                touching = scipy.ndimage.binary_dilation(right) & (plane == 2)
                assert touching.sum() >= 5
            # The right ventricle ends before the left one, which ends in muscle.
            labelled = np.flatnonzero((label > 0).any(axis=(0, 1)))
            assert not (label[..., labelled[-1]] == 1).any()
            assert (np.diff(labelled) == 1).all()


def test_cavities_contract(root):
    """Both ventricles are smaller at end systole, in every patient."""
    for folder in patients(root):
        rest, beat = (read_phase(folder, phase)[1] for phase in ("ED", "ES"))
        for value in (1, 3):
            assert (beat == value).sum() < 0.97 * (rest == value).sum()


def test_tissues_look_as_in_bssfp(root):
    """Blood is brighter than muscle by several of the muscle's standard deviations."""
    for folder in patients(root):
        image, label, _, _ = read_phase(folder, "ED")
        low, high = np.percentile(image, (1, 99))
        image = np.clip((image - low) / (high - low), 0, 1)
        muscle = image[label == 2]
        assert image[label == 3].mean() > muscle.mean() + 2 * muscle.std()
        assert image[label == 1].mean() > muscle.mean() + 1.5 * muscle.std()
        assert 0.008 < (label > 0).mean() < 0.1
        # Bright things that are not the heart: intensity alone does not find it.
        bright = (image > image[label == 3].mean()) & (label == 0)
        assert bright.sum() > (label == 3).sum()


def test_patients_differ(root):
    """Place, direction, spacing, brightness and contrast spread over the patients."""
    rows = []
    for folder in patients(root):
        image, label, spacing_mm, _ = read_phase(folder, "ED")
        centre = (np.array(label.shape[:2]) - 1) / 2
        left, right = (np.argwhere(label == k)[:, :2].mean(axis=0) for k in (3, 1))
        direction = np.arctan2(*(right - left))
        contrast = image[label == 2].mean() / image[label == 3].mean()
        place = (left - centre) * spacing_mm[:2]
        rows.append([*place, direction, spacing_mm[0], np.log(image.mean()), contrast])
    spread = np.std(rows, axis=0)
    assert (spread > [6, 6, 0.15, 0.08, 0.2, 0.03]).all(), spread


@pytest.mark.parametrize("group", write.GROUPS)
def test_contours_enclose_the_drawn_volumes(group):
    """Cavities have the volumes drawn, ED and ES; muscle keeps its mass."""
    depth = np.arange(-20, 160, 0.5)
    for seed in range(5):
        heart = draw_heart(np.random.default_rng(seed), group)
        # A scar keeps blood in the cavity, and harmonics change areas: leave both out.
        heart = dataclasses.replace(
            heart, scar_depth=0.0, septal_flattening=0.0, harmonics=np.zeros((2, 1))
        )
        mass = []
        for systole in (False, True):
            ring = contours(heart, depth, systole=systole)
            left = heart.volume * (1 - systole * heart.ejection_fraction)
            right = heart.right_volume * (1 - systole * heart.right_ejection_fraction)
            outer = volume_ml(ring.epicardium, 0.5)
            np.testing.assert_allclose(
                volume_ml(ring.endocardium, 0.5), left, rtol=0.03
            )
            np.testing.assert_allclose(
                volume_ml(ring.right, 0.5) - outer, right, rtol=0.03
            )
            mass.append(outer - volume_ml(ring.endocardium, 0.5))
        assert 0.9 < mass[1] / mass[0] < 1.35


def test_groups_differ_as_the_diseases_do():
    """Dilated, thick, scarred and right-sided hearts differ from normal ones."""
    depth = np.arange(0.5, 140.0)

    def mean_of(group):
        rows = []
        for seed in range(20):
            heart = draw_heart(np.random.default_rng(seed), group)
            rest, beat = (contours(heart, depth, systole=s) for s in (False, True))
            cavity = volume_ml(rest.endocardium, 1)
            wall = volume_ml(rest.epicardium, 1) - cavity
            right = volume_ml(rest.right, 1) - volume_ml(rest.epicardium, 1)
            ejected = 1 - volume_ml(beat.endocardium, 1) / cavity
            # Where the wall moves least, half way down: a scar stands still.
            middle = np.argmin(np.abs(rest.level - heart.scar_level))
            motion = (rest.endocardium - beat.endocardium)[middle]
            uneven = (motion.max() - motion.min()) / rest.endocardium[middle].mean()
            rows.append([cavity, wall, right, ejected, uneven])
        return dict(zip(("cavity", "wall", "right", "ejected", "uneven"),
                        np.mean(rows, axis=0), strict=True))  # fmt: skip

    normal, dilated, thick, scarred, right = map(
        mean_of, ("NOR", "DCM", "HCM", "MINF", "RV")
    )
    assert dilated["cavity"] > 1.6 * normal["cavity"]
    assert dilated["ejected"] < 0.5 * normal["ejected"]
    assert thick["wall"] > 1.5 * normal["wall"]
    assert thick["ejected"] > normal["ejected"]
    assert scarred["ejected"] < 0.75 * normal["ejected"]
    assert scarred["uneven"] > normal["uneven"] + 0.03
    assert right["right"] > 1.2 * normal["right"]
    assert right["cavity"] < normal["cavity"]


def test_canvas_keeps_straight_lines():
    """Cubic interpolation reproduces the coordinates it was given, exactly placed."""
    size, spacing_mm, centre_mm, rotation = (37, 52), 1.7, (4.0, -9.0), 0.6
    canvas = Canvas(2, size, spacing_mm, centre_mm, rotation)
    row, column = (
        (np.arange(n) - (n - 1) / 2) * spacing_mm - c
        for n, c in zip(size, centre_mm, strict=True)
    )
    x = math.cos(rotation) * row[:, None] + math.sin(rotation) * column[None, :]
    y = math.cos(rotation) * column[None, :] - math.sin(rotation) * row[:, None]
    refined = canvas.refine(np.stack([canvas.x, canvas.y]))
    np.testing.assert_allclose(refined, [x, y], atol=1e-4)


def test_paint_covers_the_inside_alone():
    """A painted disc has its area, its place, and nothing outside its border."""
    canvas = Canvas(1, (80, 90), 1.5, (0.0, 0.0), 0.0)
    x, y = np.indices((80, 90)) - np.array([39.5, 44.5])[:, None, None]
    away = 1.5 * np.hypot(x, y - 12)
    canvas.paint((np.hypot(canvas.x, canvas.y - 18) - 25)[None], 2.0)
    image = canvas.image[0]
    np.testing.assert_allclose(image.sum() * 1.5**2, 2 * np.pi * 25**2, rtol=0.01)
    assert (image[away < 23] == 2).all() and (image[away > 27] == 0).all()
    before = image.copy()
    canvas.paint(np.full((1, *canvas.x.shape), 9.0), 5.0)
    np.testing.assert_array_equal(canvas.image[0], before)


def test_noise_is_rician():
    """Air has Rayleigh noise, bright tissue Gaussian noise of the scan's strength."""
    scan = draw_scan(np.random.default_rng(0), 90.0)
    generator = np.random.default_rng(1)
    air = receive(generator, np.zeros((4, 200, 200), np.float32), scan) / scan.gain
    bright = receive(generator, np.ones((4, 200, 200), np.float32), scan) / scan.gain
    np.testing.assert_allclose(air.mean(), scan.noise * np.sqrt(np.pi / 2), rtol=0.03)
    np.testing.assert_allclose(bright.std(), scan.noise, rtol=0.05)
    np.testing.assert_allclose(bright.mean(), 1.0, atol=scan.noise)


@pytest.mark.acdc
def test_sizes_are_of_acdcs_order(root, acdc_root):
    """Medians of volumes, of the heart's share and of contrast are those of ACDC."""

    def medians(folders):
        rows = []
        for folder in folders:
            image, label, spacing_mm, _ = read_phase(folder, "ED")
            low, high = np.percentile(image, (1, 99))
            image = np.clip((image - low) / (high - low), 0, 1)
            pixels = [(label == k).sum() for k in (1, 2, 3)]
            sizes = np.array(pixels) * np.prod(spacing_mm)
            signal = [image[label == k].mean() for k in (1, 2, 3)]
            rows.append([*sizes, (label > 0).mean(), label.shape[2], *signal])
        return np.median(rows, axis=0)

    real = medians(sorted(acdc_root.glob("training/patient*"))[::8])
    ratio = medians(patients(root)) / real
    assert ((ratio > 0.6) & (ratio < 1.6)).all(), ratio
