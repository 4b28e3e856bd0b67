"""A NIfTI file's header and values as they are, in every format that it has.

nibabel's own `load` refuses suffixes in capitals and transforms that are not finite,
and it replaces voxel sizes of 0. An image that it has loaded can be given all the same.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.spatialimages import SpatialImage

from pix2rep_jax.data.files.compressed import check_rest, open_to_read
from pix2rep_jax.data.files.nifti_paths import file_parts, nifti_stem
from pix2rep_jax.data.files.regular_file import check_file
from pix2rep_jax.errors import InputError
from pix2rep_jax.wording import count

__all__ = ["Kind", "NiftiSource", "load_header", "load_values", "source_path"]

NiftiSource = Path | SpatialImage
"""A file, or an image of nibabel in memory."""

Kind = type[nib.Nifti1Pair]
"""nibabel's class of images in one of the formats."""

_SILENT = logging.Logger("nibabel's checks", level=logging.CRITICAL + 1)
"""nibabel says what it mends, and this program says what it takes instead."""

_KINDS: dict[bytes, Kind] = {
    b"n+1": nib.Nifti1Image,
    b"ni1": nib.Nifti1Pair,
    b"n+2": nib.Nifti2Image,
    b"ni2": nib.Nifti2Pair,
}
"""The formats by the first letters of their magic string."""


def source_path(source: NiftiSource) -> Path:
    """Names a source in messages: the file, or that of the image if it has one."""
    if isinstance(source, SpatialImage):
        return Path(source.get_filename() or "the image")
    return source


def load_header(path: NiftiSource) -> tuple[Kind, nib.Nifti1Header]:
    """Reads the header of a file, or of either file of a pair.

    Raises:
        InputError: If the file is missing, damaged or not NIfTI.
    """
    if isinstance(path, SpatialImage):
        return _take_header(path)
    with _explained(path):
        return _load_header(path)


def load_values(path: NiftiSource) -> tuple[Kind, nib.Nifti1Header, np.ndarray]:
    """Reads header and values, which are scaled as the header says.

    Raises:
        InputError: If the file is missing, damaged or not NIfTI.
    """
    if isinstance(path, SpatialImage):
        return *_take_header(path), _take_values(path)
    with _explained(path):
        kind, header = _load_header(path)
        if not header.is_single and not _is_half(path):
            raise ValueError("its values are in another file, an .img beside an .hdr")
        values = _find_half(path, ".hdr" if header.is_single else ".img")
        with open_to_read(values) as file:
            array = np.asanyarray(ArrayProxy(file, header, mmap=False))
            check_rest(file)  # bytes may follow the values
            return kind, header, array


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Says in one sentence what is wrong with a file."""
    check_file(path)
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a damaged header makes nibabel raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path} cannot be read as NIfTI ({reason}): copy it again, or convert it "
            "to NIfTI"
        ) from error


def _take_header(image: SpatialImage) -> tuple[Kind, nib.Nifti1Header]:
    """Copies the header of an image; one of another format gets that of NIfTI."""
    kind = type(image) if isinstance(image, nib.Nifti1Pair) else nib.Nifti1Image
    header = kind.header_class.from_header(image.header)
    if kind is not type(image):
        header.set_sform(image.affine, code="aligned")
    header.set_slope_inter(1, 0)  # nibabel applies what the file says
    return kind, header


def _take_values(image: SpatialImage) -> np.ndarray:
    """Takes the values of an image, which may still lie in its file."""
    try:
        return np.asanyarray(image.dataobj)
    except Exception as error:
        raise InputError(
            f"{source_path(image)} cannot be read ({error}): load it again"
        ) from error


def _load_header(path: Path) -> tuple[Kind, nib.Nifti1Header]:
    """Reads a header. Raises whatever nibabel raises on damaged ones."""
    with open_to_read(_find_half(path, ".hdr")) as file:
        start = file.read(348)
        if len(start) < 348:
            size = count(len(start), "byte")
            raise ValueError(f"it has {size}, and a header has 348")
        # NIfTI-2 has the magic string near its beginning, NIfTI-1 at its end.
        kind = _KINDS.get(start[344:347]) or _KINDS.get(start[4:7])
        if kind is None:
            raise ValueError("it has no NIfTI header")
        file.seek(0)
        header = kind.header_class.from_fileobj(file, check=False)
    # Whoever uses the voxel sizes checks them. nibabel would replace those of 0 by 1.
    pixdim = header["pixdim"].copy()
    header["pixdim"][:4] = 1
    header.check_fix(logger=_SILENT)  # what it cannot mend, it raises
    header["pixdim"] = pixdim
    return kind, header


def _find_half(path: Path, suffix: str) -> Path:
    """Finds the ".hdr" or the ".img" of a pair; a single file is both."""
    if not _is_half(path):
        return path
    for part in file_parts(path):
        if part.name.lower().removesuffix(".gz").endswith(suffix):
            return part
    missing = f"{nifti_stem(path.name)}{suffix}"
    raise InputError(
        f"{path} is half of a pair, and {missing} is not beside it: copy {missing} "
        "there too, or remove the half"
    )


def _is_half(path: Path) -> bool:
    """Whether a file is named like one of a pair."""
    return path.name.lower().removesuffix(".gz").endswith((".hdr", ".img"))
