"""NIfTI files whose headers say anything, and what is promised of them."""

import base64
import gzip
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from hypothesis import strategies as st

from pix2rep_jax.data.slices.prepared_volume import prepare_file
from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.segmenter import Segmenter
from pix2rep_jax.inference.write_masks import write_masks
from tests.faults.long.drawn import is_refused

NUMBERS = st.one_of(
    st.sampled_from((0.0, 1.0, -1.0, 1.5, 8.0, 1e-6, 1e20, np.nan, np.inf, -np.inf)),
    st.floats(width=32),
)
"""Values of header fields."""

TYPES = ("<i2", "<u1", "<f4", "<f8", "<i4", "<u2", ">i2", ">f4", "<c8", "<i8")

WHOLE = st.one_of(st.integers(-2, 9), st.sampled_from((255, 1024, 2**15 - 1, -(2**15))))


class Drawn(NamedTuple):
    """A file: its ending, its bytes."""

    ending: str
    content: bytes

    def __repr__(self) -> str:
        packed = base64.b64encode(zlib.compress(self.content)).decode()
        return f"Drawn({self.ending!r}, unpack({packed!r}))"


def unpack(packed: str) -> bytes:
    """The bytes of a file, as a failure shows them."""
    return zlib.decompress(base64.b64decode(packed))


@st.composite
def drawing(draw) -> Drawn:
    """Draws a good small scan, of which up to four fields are changed."""
    kind = draw(st.sampled_from((nib.Nifti1Header, nib.Nifti1Header, nib.Nifti2Header)))
    number = draw(st.sampled_from((3, 3, 3, 4, 2, 5, 1)))
    shape = [draw(st.integers(1, 9)) for _ in range(number)]
    dtype = np.dtype(draw(st.sampled_from(TYPES)))
    header = kind(endianness="<" if dtype.byteorder in "=|<" else ">")
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header.set_zooms([draw(st.sampled_from((1.0, 1.4, 2.5, 8.0)))] * number)
    header["magic"] = b"n+1" if kind is nib.Nifti1Header else header["magic"]
    header["vox_offset"] = header.sizeof_hdr + 4
    if draw(st.booleans()):
        header.set_sform(np.diag((1.4, 1.4, 8.0, 1.0)), code=1)
    if draw(st.booleans()):
        header.set_qform(np.diag((-1.4, 1.4, 8.0, 1.0)), code=1)
    noise = np.random.default_rng(draw(st.integers(0, 9)))
    values = noise.integers(0, draw(st.sampled_from((1, 3, 200))), shape)
    data = values.astype(dtype).tobytes(order="F")
    for _ in range(draw(st.integers(0, 4))):
        _change(draw, header)
    if draw(st.integers(0, 9)) == 0:
        data = data[: draw(st.integers(0, len(data)))]
    if draw(st.integers(0, 9)) == 0:
        data += bytes(draw(st.integers(1, 40)))
    content = header.binaryblock + bytes(4) + data
    return Drawn(draw(st.sampled_from((".nii", ".NII", ".nii.gz"))), content)


def _change(draw, header) -> None:
    """Sets a field, or one of its numbers, to anything."""
    names = ("dim", "pixdim", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c")
    names += ("quatern_d", "qoffset_x", "scl_slope", "scl_inter", "vox_offset")
    names += ("qform_code", "sform_code", "datatype", "bitpix", "xyzt_units")
    names += ("intent_code", "cal_max", "dim_info", "magic", "sizeof_hdr")
    name = draw(st.sampled_from(names))
    field = header.structarr[name]
    if name == "magic":
        header.structarr[name] = draw(st.binary(max_size=4))
        return
    is_whole = field.dtype.kind in "iu"
    value: Any = draw(WHOLE if is_whole else NUMBERS)
    with np.errstate(all="ignore"):
        value = np.array(value).astype(field.dtype)
    if field.shape:
        header.structarr[name][draw(st.integers(0, field.shape[0] - 1))] = value
    else:
        header.structarr[name] = value


def write(path: Path, drawn: Drawn) -> None:
    """Writes a file."""
    packed = drawn.ending == ".nii.gz"
    path.write_bytes(gzip.compress(drawn.content, 1) if packed else drawn.content)


def stub(images: np.ndarray) -> np.ndarray:
    """Stands for the network: the brighter half of the pixels is a structure."""
    share = images.mean(-1, keepdims=True)
    return np.concatenate((1 - share, share), -1).astype(np.float32)


SETTINGS = {
    "crop": "center",
    "fov_mm": 40.0,
    "size": 8,
    "interpolation": "linear",
    "num_classes": 2,
    "normalization": ((1.0, 99.0), ()),
    "axes": ("auto", "file", None),
}


def check(folder: Path, drawn: Drawn) -> bool:
    """Segments a file by a stub, and prepares it for a training.

    Returns:
        Whether it was accepted: then its mask has its shape, and its slices are
        numbers between 0 and 1.
    """
    path, target = folder / f"scan{drawn.ending}", folder / "mask.nii.gz"
    write(path, drawn)
    try:
        segmenter = Segmenter(("BG", "A"), stub, (1, 99), fov_mm=40, size=8)
        ((outcome),) = write_masks(segmenter, [(path, target)], overwrite=True)
        if outcome.error is not None:
            if not is_refused(outcome.error):
                raise outcome.error
            return False
        assert target.is_file(), "there is neither a mask nor an error"
        mask = nib.load(target)
        shape = shape_of(drawn.content)
        assert mask.shape == shape, (mask.shape, shape)
        values = np.asarray(mask.dataobj)
        assert values.dtype == np.uint8 and values.max(initial=0) <= 1
        _check_slices(path)
        return True
    finally:
        path.unlink()
        target.unlink(missing_ok=True)


def _check_slices(path: Path) -> None:
    """Prepares a scan, which may still be refused: as one with several frames."""
    volume = VolumeFile("a", "a", "training", "", "", path, None)
    try:
        (prepared,) = prepare_file([volume], SETTINGS)
    except InputError:
        return
    assert np.isfinite(prepared.images).all() and np.isfinite(prepared.record.low).all()
    assert prepared.images.min() >= 0 and prepared.images.max() <= 1


def shape_of(content: bytes) -> tuple[int, ...]:
    """The shape that a header gives."""
    is_second = content[4:7] in (b"n+2", b"ni2")
    kind = nib.Nifti2Header if is_second else nib.Nifti1Header
    size = kind.sizeof_hdr
    return tuple(kind(content[:size], check=False).get_data_shape())
