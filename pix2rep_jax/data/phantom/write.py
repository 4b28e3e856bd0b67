"""Writes the cardiac phantom: short-axis cine MRI of nobody, in ACDC's layout.

It stands in for real scans, so that everything from files to scores runs without a
download. Its patients differ as ACDC's do: in build, disease, position, orientation,
resolution, contrast and noise.
"""

import concurrent.futures
import json
import os
import pathlib
import shutil
import zlib

import nibabel as nib
import numpy as np

from pix2rep_jax.data.phantom.acquisition import (
    Scan,
    draw_scan,
    draw_sensitivity,
    heart_window,
    receive,
)
from pix2rep_jax.data.phantom.canvas import Canvas
from pix2rep_jax.data.phantom.heart import contours, draw_heart
from pix2rep_jax.data.phantom.heart_image import paint_heart
from pix2rep_jax.data.phantom.thorax import draw_thorax, draw_tissues
from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.leftovers import partial_path, remove_leftovers

__all__ = ["GROUPS", "write"]

VERSION = 2
"""Raise it when the same seed gives other patients."""

GROUPS = ("DCM", "HCM", "MINF", "NOR", "RV")

_MARKER = "phantom.json"


def write(
    root: str | os.PathLike,
    *,
    seed: int = 0,
    num_training: int = 40,
    num_testing: int = 20,
) -> pathlib.Path:
    """Writes the phantom's patients, unless they exist already.

    The folder then holds `training/patientNNN` and `testing/patientNNN`, numbered
    consecutively. Each has an `Info.cfg`, the int16 images of end diastole and end
    systole, and their uint8 masks (0 background, 1 right ventricle, 2 myocardium,
    3 left ventricle). The same arguments give the same bytes. The folder appears
    complete or not at all, even if the program is killed or two programs write it.

    Args:
        root: The folder to make. A folder that this function did not write is refused.
        seed: Seed of everything random.
        num_training: Number of patients under `training`.
        num_testing: Number of patients under `testing`.

    Returns:
        `root`.

    Raises:
        InputError: If `root` holds something else or cannot be written, or if a number
            is out of range.
    """
    root = pathlib.Path(root).expanduser()
    settings = {
        "version": VERSION,
        "seed": seed,
        "num_training": num_training,
        "num_testing": num_testing,
    }
    if seed < 0 or num_training < 1 or num_testing < 0:
        raise InputError(
            f"the phantom cannot be made from {settings}: set data.phantom_seed to 0 "
            "or more, data.phantom_training to 1 or more, and data.phantom_testing to "
            "0 or more"
        )
    if _written_settings(root) == settings:
        return root
    scratch = partial_path(root, suffix=".partial")
    remove_leftovers(root.parent)
    try:
        scratch.mkdir(parents=True)
        _write_patients(scratch, seed, num_training, num_testing)
        (scratch / _MARKER).write_text(json.dumps(settings, indent=2) + "\n")
        _replace(scratch, root, settings)
    except OSError as error:
        raise InputError(
            f"the phantom cannot be written to {root} ({error.strerror}): set "
            "--config.data.cache_dir to a folder with space that you may write to"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return root


def _written_settings(root: pathlib.Path) -> dict | None:
    """Reads the settings that `root` was written with; None if it is still empty."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    try:
        return json.loads((root / _MARKER).read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{root} holds something other than the phantom, so nothing was written "
            "there: remove it, or leave --config.data.root empty"
        ) from error


def _replace(scratch: pathlib.Path, root: pathlib.Path, settings: dict) -> None:
    """Puts the finished folder in the place of an earlier version."""
    outdated = scratch.with_name(scratch.name + ".old")
    try:
        if root.exists():
            os.replace(root, outdated)
        os.replace(scratch, root)
    except OSError:
        # Another process was faster. Its folder is as good, if the settings are equal.
        if _written_settings(root) != settings:
            raise
    finally:
        shutil.rmtree(outdated, ignore_errors=True)


def _write_patients(
    root: pathlib.Path, seed: int, num_training: int, num_testing: int
) -> None:
    """Writes all patients in threads, because NumPy and zlib release the GIL."""

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
    scan = draw_scan(generator, heart.length)
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
    window, x, y = heart_window(generator, scan)
    sensitivity = draw_sensitivity(generator, canvas)
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
        signal = receive(generator, signal * sensitivity, scan)
        image = np.clip(signal, 0, 32767).round().astype(np.int16)
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


def _save(path: pathlib.Path, array: np.ndarray, scan: Scan) -> None:
    """Writes NIfTI with ACDC's affine, without a time stamp that would change bytes."""
    affine = np.diag([-scan.spacing_mm, -scan.spacing_mm, scan.slice_mm, 1.0])
    image = nib.Nifti1Image(np.moveaxis(array, 0, -1), affine)
    image.header.set_xyzt_units("mm", "sec")
    # Beside noise there are only runs of equal bytes to compress; wbits=31 means gzip.
    packer = zlib.compressobj(1, wbits=31, strategy=zlib.Z_RLE)
    path.write_bytes(packer.compress(image.to_bytes()) + packer.flush())
