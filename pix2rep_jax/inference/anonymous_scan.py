"""Scans without their names and headers, for files that others will get."""

import dataclasses
from pathlib import Path

import nibabel as nib

from pix2rep_jax.data.files.scan import Scan

__all__ = ["ANONYMOUS_NOTE", "anonymous_names", "without_names"]

ANONYMOUS_NOTE = (
    "note: names and headers of the scans are left out, but these files still hold "
    "images of patients, or numbers made from them"
)

_PLACE = (
    *("pixdim", "qform_code", "sform_code"),
    *(f"quatern_{axis}" for axis in "bcd"),
    *(f"qoffset_{axis}" for axis in "xyz"),
    *(f"srow_{axis}" for axis in "xyz"),
)
"""The fields that make the affine. Some programs read one part, some another."""


def anonymous_names(number: int) -> list[str]:
    """Numbers scans.

    Args:
        number: How many there are, in an order that does not change between commands.

    >>> anonymous_names(2)
    ['scan-001', 'scan-002']
    """
    digits = max(3, len(str(number)))
    return [f"scan-{index:0{digits}d}" for index in range(1, number + 1)]


def without_names(scan: Scan, name: str) -> Scan:
    """Takes away what a scan's file says besides its voxels.

    Args:
        scan: What was read.
        name: Stands for its path from now on.

    Returns:
        The scan with a new header, in which only affine and shape are those of the
        file. The affine says where the patient lay in the scanner.
    """
    if scan.volume is None:
        return dataclasses.replace(scan, path=Path(name))
    before = scan.volume.header
    is_second = before.sizeof_hdr == nib.Nifti2Header.sizeof_hdr
    header = (nib.Nifti2Header if is_second else nib.Nifti1Header)()
    header.set_data_shape(before.get_data_shape())
    for field in _PLACE:
        header[field] = before[field]
    header["pixdim"][4:] = 1
    header.set_xyzt_units("mm")
    volume = dataclasses.replace(scan.volume, header=header, path=Path(name))
    return dataclasses.replace(scan, path=Path(name), volume=volume)
