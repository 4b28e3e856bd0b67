"""The embeddings of a scan as a file: npz on either grid, or NIfTI on the scan's."""

import itertools
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pix2rep_jax.data.files.nifti_writer import write_values
from pix2rep_jax.data.files.scan import Scan
from pix2rep_jax.data.slices.grid import Grid, scan_box
from pix2rep_jax.data.slices.resample import restore_values
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.backbone import Backbone
from pix2rep_jax.inference.principal_components import Colours
from pix2rep_jax.runtime.atomic_file import replacing

__all__ = ["FORMATS", "sample_pixels", "write_embedding"]

FORMATS = {"npz": "_embedding.npz", "nifti": "_embedding.nii.gz", "rgb": "_rgb.nii.gz"}
"""What can be written, with the end of the file's name."""

_LARGEST = float(np.finfo(np.float16).max)
_LEVELS = 2**15 - 1
_RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


class _Slices(NamedTuple):
    """Values of a scan's pixels, slice by slice.

    Attributes:
        values: `[height, width, d]` for each slice, frame by frame.
        grid: Where these pixels lie in a slice.
    """

    values: Iterable[np.ndarray]
    grid: Grid


def sample_pixels(backbone: Backbone, scan: Scan, *, most: int = 4096) -> np.ndarray:
    """Draws pixels of a scan, always the same ones, and embeds them.

    Args:
        backbone: Embeds the scan.
        scan: What was read of it.
        most: How many pixels.

    Returns:
        `[pixels, d]`.
    """
    found, grid = backbone.embed_slices(scan)
    top, bottom, left, right = scan_box(grid)
    number = scan.array.shape[2] * scan.array.shape[3]
    each_slice = -(-most // number)
    draw = np.random.default_rng(0)
    samples = []
    for each in found:
        inside = each[top : bottom + 1, left : right + 1].reshape(-1, each.shape[-1])
        chosen = draw.permutation(len(inside))[:each_slice]
        samples.append(inside[chosen])
    return np.concatenate(samples)


def write_embedding(
    path: Path,
    backbone: Backbone,
    scan: Scan,
    *,
    format: str,
    grid: str = "network",
    colours: Colours | None = None,
) -> None:
    """Embeds a scan and writes it, atomically.

    Args:
        path: The file to write, in an existing folder. It is replaced if it exists.
        backbone: Embeds the scan.
        scan: What was read of it.
        format: One of `FORMATS`.
        grid: Where the pixels of an npz lie: on the "network" grid or the "scan".
        colours: For "rgb".

    Raises:
        InputError: If the file cannot be written, or if a picture is to be NIfTI.
    """
    if format != "npz" and scan.volume is None:
        raise InputError(
            f"{scan.path} is a picture, whose embedding cannot be NIfTI: choose "
            "--format=npz"
        )
    slices = _Slices(*backbone.embed_slices(scan))
    try:
        if format == "npz":
            _write_npz(path, slices, scan, own=grid == "scan")
        elif colours is None:
            _write_nifti(path, slices, scan)
        else:
            _write_rgb(path, slices, scan, colours)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}): free some space or "
            "name another folder"
        ) from error


def _write_npz(path: Path, slices: _Slices, scan: Scan, *, own: bool) -> None:
    """Writes slice after slice, so that one is in memory at once."""
    values: Iterator[np.ndarray] = iter(slices.values)
    if own:
        values = (restore_values(each, slices.grid) for each in values)
    first = next(values)
    count, frames = scan.array.shape[2:4]
    lead = (frames, count) if frames > 1 else (count,)
    header = {
        "descr": "<f2",
        "fortran_order": False,
        "shape": (*lead, *first.shape),
    }
    step = (1.0, 1.0) if own else slices.grid.step
    facts = {
        "origin_px": np.array((0.0, 0.0) if own else slices.grid.origin),
        "step_px": np.array(step),
        "spacing_mm": np.array(scan.spacing_mm[:2]) * step,
    }
    with (
        replacing(path, suffix=".npz") as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        with archive.open("embedding.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for each in itertools.chain([first], values):
                stored = each.clip(-_LARGEST, _LARGEST).astype("<f2")
                file.write(stored.tobytes())
        for name, value in facts.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, value)


def _write_nifti(path: Path, slices: _Slices, scan: Scan) -> None:
    """Writes whole numbers of 16 bits, because NIfTI lacks floats of 16 bits."""
    kept = [each.clip(-_LARGEST, _LARGEST).astype(np.float16) for each in slices.values]
    largest = max(float(np.abs(each).max()) for each in kept)
    slope = largest / _LEVELS or 1.0
    count, frames = scan.array.shape[2:4]
    channels = kept[0].shape[-1]

    def volume(channel: int, frame: int) -> np.ndarray:
        result = np.empty(scan.array.shape[:3], np.int16, order="F")
        for index in range(count):
            part = kept[frame * count + index][..., channel : channel + 1]
            own = restore_values(part.astype(np.float32), slices.grid)[..., 0]
            result[..., index] = np.rint(own / slope)
        return result

    assert scan.volume is not None
    write_values(
        path,
        (volume(x, frame) for x in range(channels) for frame in range(frames)),
        scan.volume,
        shape=(frames, channels),
        dtype=np.int16,
        slope=slope,
    )


def _write_rgb(path: Path, slices: _Slices, scan: Scan, colours: Colours) -> None:
    """Writes colours, black outside of the network's field of view."""
    count, frames = scan.array.shape[2:4]
    values = iter(slices.values)

    def volume() -> np.ndarray:
        result = np.empty(scan.array.shape[:3], _RGB)
        for index in range(count):
            own = restore_values(colours.paint(next(values)), slices.grid)
            levels = np.rint(255 * own.clip(0, 1)).astype(np.uint8)
            for position, name in enumerate("RGB"):
                result[name][..., index] = levels[..., position]
        return result

    assert scan.volume is not None
    write_values(
        path,
        (volume() for _ in range(frames)),
        scan.volume,
        shape=(frames,),
        dtype=_RGB,
        slope=1.0,
    )
