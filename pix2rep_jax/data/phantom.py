"""A cardiac phantom: short-axis cine MRI of nobody, in ACDC's own layout.

It stands in for real scans, so that the whole path from files to scores runs with
nothing to download. Its patients differ as ACDC's do: in build, disease, position,
orientation, resolution, contrast and noise.
"""

import concurrent.futures
import dataclasses
import json
import math
import os
import pathlib
import shutil
import tempfile
import zlib

import nibabel as nib
import numpy as np

from pix2rep_jax.data.canvas import Canvas
from pix2rep_jax.data.heart import contours, draw_heart, paint_heart
from pix2rep_jax.data.thorax import draw_thorax, draw_tissues
from pix2rep_jax.errors import InputError

__all__ = ["GROUPS", "write"]

VERSION = 1  # raise it when a patient of the same seed comes out differently
GROUPS = ("DCM", "HCM", "MINF", "NOR", "RV")
_MARKER = "phantom.json"
# Rows and columns of the scans, with their share among ACDC's patients.
_SIZES = {
    (216, 256): 0.36, (208, 256): 0.16, (256, 216): 0.13, (232, 256): 0.06,
    (256, 256): 0.05, (192, 256): 0.07, (154, 224): 0.06, (180, 224): 0.06,
    (240, 256): 0.05,
}  # fmt: skip
_SPACINGS_MM = (1.37, 1.41, 1.45, 1.48, 1.5625, 1.64, 1.68, 1.79, 1.88)


@dataclasses.dataclass(frozen=True)
class _Scan:
    """How one patient was scanned; lengths in mm, the rotation in rad."""

    size: tuple[int, int]
    spacing_mm: float
    slice_mm: float
    depth: np.ndarray  # [slices], below the valve plane
    centre_mm: np.ndarray  # [slices, 2], of the left ventricle from the image's centre
    rotation: float  # of the patient in the image
    heart_angle: float  # of the right ventricle in the patient


def write(
    root: str | os.PathLike,
    *,
    seed: int = 0,
    num_training: int = 40,
    num_testing: int = 20,
) -> pathlib.Path:
    """Writes the phantom's patients, unless they are there already.

    The folder then holds `training/patientNNN` and `testing/patientNNN`, numbered
    through, each with `Info.cfg`, the int16 images of end diastole and end systole and
    their uint8 masks (0 background, 1 right ventricle, 2 myocardium, 3 left ventricle).
    The same arguments give the same bytes. A folder is complete or not there at all,
    also when the program is killed or two of them write at once.

    Args:
        root: The folder to make. One that this function did not write is refused.
        seed: Of everything random.
        num_training: Patients under `training`.
        num_testing: Patients under `testing`.

    Returns:
        `root`.

    Raises:
        InputError: If `root` holds something else or cannot be written.
    """
    root = pathlib.Path(root).expanduser()
    settings = {
        "version": VERSION,
        "seed": seed,
        "num_training": num_training,
        "num_testing": num_testing,
    }
    if _written_settings(root) == settings:
        return root
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        scratch = pathlib.Path(tempfile.mkdtemp(prefix=root.name, dir=root.parent))
    except OSError as error:
        raise InputError(
            f"the phantom cannot be written to {root} ({error.strerror}): set "
            "--config.data.cache_dir to a folder that you may write to"
        ) from error
    try:
        _write_patients(scratch, seed, num_training, num_testing)
        (scratch / _MARKER).write_text(json.dumps(settings, indent=2) + "\n")
        _replace(scratch, root, settings)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return root


def _written_settings(root: pathlib.Path) -> dict | None:
    """Reads what `root` was written with; None if there is nothing yet."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    try:
        return json.loads((root / _MARKER).read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{root} holds something that is not the phantom, so nothing was written "
            "there: remove it, or leave --config.data.root empty"
        ) from error


def _replace(scratch: pathlib.Path, root: pathlib.Path, settings: dict) -> None:
    """Puts the finished folder in place of whatever version was there."""
    outdated = scratch.with_name(scratch.name + ".old")
    try:
        if root.exists():
            os.replace(root, outdated)
        os.replace(scratch, root)
    except OSError:
        # Another process was faster; what it wrote is as good, if it is the same.
        if _written_settings(root) != settings:
            raise
    finally:
        shutil.rmtree(outdated, ignore_errors=True)


def _write_patients(
    root: pathlib.Path, seed: int, num_training: int, num_testing: int
) -> None:
    """Writes all patients, several at a time: NumPy and zlib release the GIL."""

    def task(number):
        subset = "training" if number <= num_training else "testing"
        folder = root / subset / f"patient{number:03d}"
        folder.mkdir(parents=True)
        generator = np.random.default_rng([seed, number])
        _write_patient(folder, generator, GROUPS[(number - 1) % len(GROUPS)])

    workers = min(8, os.cpu_count() or 1)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            list(pool.map(task, range(1, num_training + num_testing + 1)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write_patient(
    folder: pathlib.Path, generator: np.random.Generator, group: str
) -> None:
    """Draws and writes one patient."""
    heart = draw_heart(generator, group)
    scan = _draw_scan(generator, heart.length)
    tissues = draw_tissues(generator)
    canvas = Canvas(
        len(scan.depth),
        scan.size,
        scan.spacing_mm,
        scan.centre_mm.mean(axis=0),
        scan.rotation,
    )
    draw_thorax(generator, canvas, scan.depth / heart.length, tissues)
    texture = canvas.noise(generator, 3.5, along=0.3)
    window, x, y = _heart_window(generator, scan)
    sensitivity = _draw_sensitivity(generator, canvas)
    slice_gain = generator.normal(0, abs(generator.normal(0, 0.05)), len(scan.depth))
    sensitivity = sensitivity * np.exp(slice_gain, dtype=np.float32)[:, None, None]
    noise = math.exp(generator.uniform(math.log(0.006), math.log(0.035)))
    gain = math.exp(generator.normal(5.3, 0.5))

    num_frames = int(generator.integers(20, 36))
    systole = int(np.clip(round(num_frames * generator.normal(0.38, 0.04)), 2, 20))
    for frame in (1, systole):
        signal = canvas.image.copy()
        labels = np.zeros(signal.shape, np.uint8)
        labels[window] = paint_heart(
            signal[window],
            x,
            y,
            heart,
            contours(heart, scan.depth, systole=frame != 1),
            tissues,
            texture[window],
            thickness_mm=scan.slice_mm,
        )
        signal = _receive(generator, signal * sensitivity, noise)
        image = np.clip(gain * signal, 0, 32767).round().astype(np.int16)
        name = f"{folder.name}_frame{frame:02d}"
        _save(folder / f"{name}.nii.gz", image, scan)
        _save(folder / f"{name}_gt.nii.gz", labels, scan)
    info = {
        "ED": 1,
        "ES": systole,
        "Group": group,
        "Height": round(generator.normal(170, 10), 1),
        "NbFrame": num_frames,
        "Weight": round(generator.normal(76, 14), 1),
    }
    lines = [f"{name}: {value}\n" for name, value in info.items()]
    (folder / "Info.cfg").write_text("".join(lines))


def _draw_scan(generator: np.random.Generator, heart_length: float) -> _Scan:
    """Draws the planning of one patient's scan."""
    sizes = list(_SIZES)
    size = sizes[generator.choice(len(sizes), p=list(_SIZES.values()))]
    spacing_mm = generator.choice(_SPACINGS_MM) * generator.uniform(0.99, 1.01)
    if generator.uniform() < 0.04:  # a few scans are interpolated much finer
        finer = generator.uniform(0.7, 1.1)
        size = tuple(round(n * spacing_mm / finer) for n in size)
        spacing_mm = finer
    slice_mm = generator.choice((10.0, 5.0, 7.0), p=(0.86, 0.12, 0.02))
    first = generator.uniform(-3, 8)
    num_slices = int((heart_length + generator.uniform(-4, 12) - first) / slice_mm) + 1
    depth = first + slice_mm * np.arange(num_slices)
    middle = depth - depth.mean()
    centre_mm = generator.normal((-10, -2), (12, 15))
    drift = generator.normal(0, 0.09, 2)
    breathing = generator.normal(0, 1.0, (num_slices, 2))
    return _Scan(
        size=size,
        spacing_mm=float(spacing_mm),
        slice_mm=float(slice_mm),
        depth=depth,
        centre_mm=centre_mm + middle[:, None] * drift + breathing,
        rotation=float(np.clip(generator.normal(-0.85, 0.4), -1.7, 0.2)),
        heart_angle=float(generator.normal(-2.55, 0.15)),
    )


def _heart_window(
    generator: np.random.Generator, scan: _Scan
) -> tuple[tuple, np.ndarray, np.ndarray]:
    """Returns the part of the scan round the heart, and x and y in the heart there."""
    window, offsets = [slice(None)], []
    for axis, count in enumerate(scan.size):
        position = (np.arange(count) - (count - 1) / 2) * scan.spacing_mm
        centre = scan.centre_mm[:, axis]
        near = np.flatnonzero(np.abs(position - centre.mean()) < 88)
        window.append(slice(near[0], near[-1] + 1))
        offsets.append(position[None, window[-1]] - centre[:, None])
    rows, columns = offsets[0][:, :, None], offsets[1][:, None, :]
    angle = scan.rotation + scan.heart_angle
    cosine, sine = math.cos(angle), math.sin(angle)
    x, y = rows * cosine + columns * sine, columns * cosine - rows * sine
    x, y = x.astype(np.float32), y.astype(np.float32)
    # A smooth displacement of a few mm, so that no contour is a perfect curve.
    phase = generator.uniform(0, 2 * np.pi, 4).astype(np.float32)
    wave = generator.uniform(0.04, 0.09, 4).astype(np.float32)
    drift = np.linspace(0, 2, len(x), dtype=np.float32)[:, None, None]
    x, y = (
        x
        + 1.8 * np.sin(wave[0] * y + phase[0] + drift) * np.sin(wave[1] * x + phase[1]),
        y
        + 1.8 * np.sin(wave[2] * x + phase[2] - drift) * np.sin(wave[3] * y + phase[3]),
    )
    return tuple(window), x, y


def _draw_sensitivity(generator: np.random.Generator, canvas: Canvas) -> np.ndarray:
    """Draws the coils' bias field, with bSSFP's dark bands far from the heart."""
    x, y = canvas.x / 150, canvas.y / 120
    slope = generator.normal((0.0, -0.3), (0.15, 0.2))
    bend = generator.normal(0, 0.1, 3)
    field = slope[0] * x + slope[1] * y + np.tensordot(bend, [x * x, x * y, y * y], 1)
    field = np.exp(canvas.refine(field[None]))
    far = np.hypot(canvas.x - generator.normal(0, 20), canvas.y) / 150
    angle = np.arctan2(canvas.y, canvas.x) - generator.uniform(0, 2 * np.pi)
    phase = canvas.refine((5 * far**4 * (1 + 0.5 * np.cos(angle)))[None])
    band = np.clip(0.25 * phase - 2.0, 0, 1) * generator.uniform(0, 1)
    return field * (1 - band * (0.5 + 0.5 * np.cos(phase)) ** 2)


def _receive(
    generator: np.random.Generator, signal: np.ndarray, noise: float
) -> np.ndarray:
    """Adds the receiver's complex noise and takes the magnitude, which is Rician."""
    real, imaginary = generator.standard_normal((2, *signal.shape), np.float32)
    # Scanners interpolate a little, so neighbouring pixels share their noise.
    for channel in (real, imaginary):
        channel[:, 1:] = 0.7 * (channel[:, 1:] + channel[:, :-1])
        channel[:, :, 1:] = 0.7 * (channel[:, :, 1:] + channel[:, :, :-1])
    real = signal + noise * real
    imaginary *= noise
    return np.sqrt(real * real + imaginary * imaginary)


def _save(path: pathlib.Path, array: np.ndarray, scan: _Scan) -> None:
    """Writes NIfTI with ACDC's affine; no time stamp, so the bytes are always equal."""
    affine = np.diag([-scan.spacing_mm, -scan.spacing_mm, scan.slice_mm, 1.0])
    image = nib.Nifti1Image(np.moveaxis(array, 0, -1), affine)
    image.header.set_xyzt_units("mm", "sec")
    # Runs of equal bytes are all there is to find beside noise; wbits 31 is gzip.
    packer = zlib.compressobj(1, wbits=31, strategy=zlib.Z_RLE)
    path.write_bytes(packer.compress(image.to_bytes()) + packer.flush())
