"""Pictures (PNG, JPEG, TIFF) as scans of one slice, and masks as PNG."""

import csv
import functools
import io
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from pix2rep_jax.data.files.axes import Axes
from pix2rep_jax.data.files.regular_file import check_file, is_there, read_text
from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.atomic_file import replacing

__all__ = [
    "NO_PIXEL_SIZE",
    "PICTURE_AXES",
    "PIXEL_SIZES",
    "find_pixel_size",
    "is_dicom",
    "is_picture",
    "lacks_size",
    "list_size_files",
    "picture_stem",
    "read_picture",
    "read_picture_mask",
    "write_picture_mask",
    "write_picture_probabilities",
]

PICTURE_AXES = Axes(order=(1, 0, 2))
"""A picture's columns come first, as the first axis of a NIfTI slice runs to the side.

So a picture and its copy in NIfTI look the same to a network.
"""

PIXEL_SIZES = "pixel_sizes.csv"
"""Names and pixel sizes (mm), beside pictures or in the folder above."""

NO_PIXEL_SIZE = "no_pixel_size"
"""Key of the note of a picture whose pixel size is not known."""

_SUFFIX = re.compile(r"\.(png|jpe?g|tiff?)$", re.IGNORECASE)

_FORMATS = ("PNG", "JPEG", "TIFF")

_MODES = ("1", "L", "LA", "I", "I;16", "I;16L", "I;16B", "F", "RGB", "RGBA", "RGBX")
"""Pillow's names of grey and of coloured pictures that are read as they are."""

_ORIENTATION = 0x0112
"""The EXIF tag that tells a viewer how to turn a photograph; 1 is as stored."""


def picture_stem(name: str) -> str | None:
    """Takes the suffix off a picture's name; None for other names."""
    found = _SUFFIX.search(name)
    return name[: found.start()] if found and found.start() else None


def is_picture(path: str | Path) -> bool:
    """Whether a file is named like a picture."""
    return picture_stem(os.path.basename(path)) is not None


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its suffix or by its first bytes."""
    if path.suffix.lower() in (".dcm", ".ima"):
        return True
    if not is_there(path):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_picture(path: Path) -> np.ndarray:
    """Reads a picture.

    Args:
        path: A PNG, JPEG or TIFF file, grey or RGB. Transparency is dropped.

    Returns:
        `[height, width, channels]` as stored, of one or three channels.

    Raises:
        InputError: If the file is missing, damaged, too large to be decoded, of another
            kind, a palette picture, of several pages, or must be turned to be upright.
    """
    mode, array = _read(path)
    if mode in ("P", "PA"):
        raise InputError(
            f"{path} is a palette picture, whose values are not intensities: convert "
            "it to grey or RGB"
        )
    return array


def read_picture_mask(path: Path) -> np.ndarray:
    """Reads a mask: its grey values, or the indices of a palette.

    Args:
        path: A PNG or TIFF file. An RGB file counts if its three channels are equal.

    Returns:
        `[height, width]` as stored.

    Raises:
        InputError: As `read_picture`, and if the file is a JPEG, which changes values,
            or has colours.
    """
    if path.suffix.lower().startswith(".jp"):
        raise InputError(
            f"the mask {path} is a JPEG, which does not keep label values: save masks "
            "as PNG"
        )
    _, array = _read(path)
    if (array != array[..., :1]).any():
        raise InputError(
            f"the mask {path} has colours: save it as a grey PNG whose values are the "
            "labels"
        )
    return array[..., 0]


def _read(path: Path) -> tuple[str, np.ndarray]:
    """Reads Pillow's mode of a picture, and its values `[height, width, channels]`."""
    # Late: whoever reads NIfTI only need not wait for Pillow.
    from PIL import Image

    check_file(path)
    try:
        with Image.open(path, formats=_FORMATS) as image:
            pages = getattr(image, "n_frames", 1)
            turn = image.getexif().get(_ORIENTATION, 1)
            mode = image.mode
            array = np.asarray(image)
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path} has more pixels than can be decoded safely: cut it into parts, or "
            "make it smaller"
        ) from error
    except Exception as error:  # a damaged file makes Pillow raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path} cannot be read as PNG, JPEG or TIFF ({reason}): copy it again, or "
            "convert it to PNG"
        ) from error
    if pages > 1:
        raise InputError(
            f"{path} holds {pages} pictures: split it into one file per picture, or "
            "convert it to NIfTI"
        )
    if turn not in (0, 1):
        raise InputError(
            f"{path} is stored turned, and its EXIF tag says so: save it upright, as "
            "its mask is"
        )
    if mode not in (*_MODES, "P", "PA"):
        raise InputError(f"{path} has the colours {mode}: convert it to grey or RGB")
    array = array if array.ndim == 3 else array[..., None]
    return mode, array[..., : 1 if mode in ("LA", "PA") else 3]


def write_picture_mask(
    path: Path, labels: np.ndarray, *, values: tuple[int, ...], overwrite: bool = False
) -> None:
    """Writes a mask as a grey PNG, atomically.

    Args:
        path: The file to write, in an existing folder.
        labels: uint8 `[height, width]` classes.
        values: The value of each class in the file; () for 0, 1, 2, …
        overwrite: Whether to replace an existing file.

    Raises:
        InputError: If the file exists or cannot be written.
    """
    from PIL import Image

    if os.path.exists(path) and not overwrite:
        raise InputError(f"{path} exists: add --overwrite to replace it")
    if values:
        dtype = np.uint8 if max(values) < 256 else np.uint16
        labels = np.asarray(values, dtype)[labels]
    try:
        with replacing(path, suffix=".png") as partial:
            Image.fromarray(np.ascontiguousarray(labels)).save(partial, format="PNG")
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}): free some space or "
            "name another folder"
        ) from error


def write_picture_probabilities(path: Path, probabilities: np.ndarray) -> None:
    """Writes `[height, width, classes]` as float16 "probabilities" of an npz file.

    Raises:
        InputError: If the file cannot be written.
    """
    try:
        with replacing(path, suffix=".npz") as partial:
            np.savez_compressed(partial, probabilities=probabilities.astype(np.float16))
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}): free some space or "
            "name another folder"
        ) from error


def list_size_files(path: Path) -> list[Path]:
    """Lists the tables that may say a picture's pixel size, the closest first."""
    places = (path.parent, path.parent.parent)
    files = (place / PIXEL_SIZES for place in places)
    return [file for file in dict.fromkeys(files) if file.is_file()]


def lacks_size(path: Path) -> InputError:
    """Says that a picture lacks the pixel size that the run's scans had."""
    return InputError(
        f"{path} has no pixel size, and the scans that the network was trained on "
        f"had theirs: put a {PIXEL_SIZES} beside it, with lines such as "
        f"{path.name},0.25 (mm per pixel)"
    )


def find_pixel_size(path: Path) -> float | None:
    """Finds the side of a picture's pixels, mm.

    Args:
        path: The picture. Its name is looked up with and without its suffix.

    Returns:
        The side; None if there is no table.

    Raises:
        InputError: If there is a table that cannot be read or lacks the picture.
    """
    files = list_size_files(path)
    for file in files:
        sizes = _read_sizes(file, file.stat().st_mtime_ns)
        for name in (path.name, picture_stem(path.name)):
            if name in sizes:
                return sizes[name]
    if files:
        raise InputError(
            f"{files[0]} has no line for {path.name}: add one, such as "
            f"{path.name},0.25 (mm per pixel)"
        )
    return None


@functools.lru_cache(maxsize=8)
def _read_sizes(path: Path, changed: int) -> dict[Any, float]:
    """Reads a table of pixel sizes; `changed` is its date, so that it is read anew."""
    try:
        text = io.StringIO(read_text(path), newline="")
        lines = [line for line in csv.reader(text) if any(map(str.strip, line))]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read ({error}): it must have lines such as "
            "NAME.png,0.25 (mm per pixel)"
        ) from error
    sizes = {}
    for number, line in enumerate(lines):
        try:
            name, side = line[0].strip(), float(line[1])
        except (ValueError, IndexError) as error:
            if number == 0:  # the head of the table
                continue
            raise _bad_line(path, line) from error
        if not 0 < side < math.inf:
            raise _bad_line(path, line)
        sizes[name] = side
    return sizes


def _bad_line(path: Path, line: list[str]) -> InputError:
    return InputError(
        f"{path} has the line {','.join(line)!r}: write a name and a size above 0 mm, "
        "such as NAME.png,0.25"
    )
