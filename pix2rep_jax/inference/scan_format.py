"""Pictures for a network that was trained on NIfTI, and NIfTI for one of pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pix2rep_jax.data.files.picture_file import NO_PIXEL_SIZE, is_picture, lacks_size
from pix2rep_jax.data.scan_notes import count_notes
from pix2rep_jax.data.slice_summary import Inputs
from pix2rep_jax.data.slices.volume import VolumeRecord
from pix2rep_jax.errors import InputError

__all__ = ["check_format", "check_formats"]


def check_format(
    path: Path, *, spacing_mm: Sequence[float], notes: Sequence[str], inputs: Inputs
) -> tuple[str, ...]:
    """Checks that a network's pixels can be found in a scan of another format.

    A network that knows millimetres needs those of a picture. One that was trained on
    pictures of unknown pixel size knows pixels alone, which a NIfTI scan has only if
    one of its pixels measures 1 mm.

    Args:
        path: The file of the scan.
        spacing_mm: Distance of rows and of columns, mm, and perhaps of slices.
        notes: Keys of notes from reading it.
        inputs: What the network was trained on.

    Returns:
        Keys of notes in `scan_notes`.

    Raises:
        InputError: If the sizes do not fit each other.
    """
    if is_picture(path):
        if NO_PIXEL_SIZE in notes and (inputs.sizes or not inputs.pictures):
            raise lacks_size(path)
        return () if inputs.pictures else ("picture_for_nifti",)
    if not inputs.pictures:
        return ()
    if not inputs.sizes and not np.allclose(spacing_mm[:2], 1, rtol=0.01):
        rows, columns = spacing_mm[:2]
        raise InputError(
            f"{path} has pixels of {rows:g} x {columns:g} mm, and the network was "
            "trained on pictures of unknown pixel size, so nobody knows how large its "
            "pixels are: convert the scan to pictures, or train with a "
            "pixel_sizes.csv"
        )
    return ("nifti_for_pictures",)


def check_formats(volumes: Sequence[VolumeRecord], inputs: Inputs) -> list[str]:
    """Checks all volumes of a data set as `check_format` does one scan.

    Args:
        volumes: How they were prepared.
        inputs: What the network was trained on.

    Returns:
        Notes, one sentence for all volumes that it holds for.

    Raises:
        InputError: If the sizes of a volume do not fit.
    """
    found = [
        check_format(
            each.image_path,
            spacing_mm=each.spacing_mm,
            notes=each.notes,
            inputs=inputs,
        )
        for each in volumes
    ]
    return count_notes(
        (each.volume_id, keys) for each, keys in zip(volumes, found, strict=True)
    )
