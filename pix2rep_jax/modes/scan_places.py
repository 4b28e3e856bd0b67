"""--input and --output of the modes that go through scans: checked in one way."""

import sys
from pathlib import Path
from typing import NamedTuple

from pix2rep_jax.data.fault import Fault
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.found_scans import FoundScans, find_scans

__all__ = ["EMBEDDINGS", "MASKS", "PAGE", "ScanPlaces", "find_places"]

MASKS, EMBEDDINGS, PAGE = "masks", "embeddings", "page"
"""What a mode writes: a folder or one scan's mask, a folder, or one file."""

_OF_FILES = (".nii", ".gz", ".npz", ".png")
_OF_PAGES = (".html", ".htm")


class ScanPlaces(NamedTuple):
    """Where scans are, and where their results are to be.

    Attributes:
        input: A file or a folder.
        output: A file or a folder, which may not be there yet.
        found: The scans of `input`.
    """

    input: Path
    output: Path
    found: FoundScans

    def status(self, faults: list[Fault]) -> int:
        """Returns the exit code: 1 if a scan was skipped or cannot be opened."""
        return 1 if faults or self.found.broken else 0


def find_places(
    input: str | Path | None, output: str | Path | None, *, mode: str, writes: str
) -> ScanPlaces:
    """Checks both places, lists the scans, and names those that cannot be opened.

    Args:
        input: A scan, or a folder that is searched with all its subfolders.
        output: The folder or the file for the results.
        mode: The mode that asks.
        writes: `MASKS`, `EMBEDDINGS` or `PAGE`.

    Raises:
        InputError: If a place is missing, if `output` is of the wrong kind, or if there
            is no scan.
    """
    if not input or not output:
        example = "NAME.html" if writes == PAGE else "FOLDER"
        raise InputError(
            f"{mode} needs a scan or a folder of scans, and a place for the {writes}: "
            f"add --input PATH --output {example}"
        )
    input, output = Path(input).expanduser(), Path(output).expanduser()
    suffix = output.suffix.lower()
    if writes == PAGE and (suffix not in _OF_PAGES or output.is_dir()):
        raise InputError(
            f"--output {output} is not the name of a page: let it end in .html"
        )
    if writes == EMBEDDINGS and suffix in _OF_FILES:
        raise InputError(f"--output {output} is the name of a file: give a folder")
    found = find_scans(input, output=None if writes == PAGE else output)
    for path in found.broken:
        print(f"skipped {path}: it cannot be opened", file=sys.stderr)
    return ScanPlaces(input, output, found)
