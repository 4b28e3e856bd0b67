"""The NIfTI files to segment, and the names of their masks."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from pix2rep_jax.data.mask import is_mask, scan_name
from pix2rep_jax.data.nifti_paths import (
    CONVERT,
    NiftiPath,
    count_suffixes,
    list_folder,
    nifti_stem,
)
from pix2rep_jax.errors import InputError, name_some

__all__ = ["FoundScans", "find_scans", "pair_with_masks"]


@dataclasses.dataclass(frozen=True)
class FoundScans:
    """What there is to segment, and what is left out.

    Attributes:
        scans: The scans, sorted by name.
        left_out: What was left out on purpose, in words, such as "2 masks".
        broken: Links to scans that are not there, and folders that cannot be read.
    """

    scans: list[NiftiPath]
    left_out: list[str]
    broken: list[Path]


def find_scans(input: Path) -> FoundScans:
    """Lists the NIfTI files of a folder and its subfolders, without masks.

    Masks are files `NAME_gt` and `NAME_seg` that hold whole numbers, and all files in a
    folder `labels` beside a folder `images`. Linked folders are searched too. Hidden
    files and folders are left out.

    Args:
        input: A folder, or one file.

    Raises:
        InputError: If there is no such file or folder, or it holds no scan.
    """
    if not input.exists():
        raise InputError(f"there is no file or folder {input}: check --input")
    if not input.is_dir():
        stem = nifti_stem(input.name)
        if stem is None:
            raise InputError(
                f"{input} is not named like a NIfTI file: --input takes .nii, .nii.gz "
                f"and pairs of .hdr and .img; {CONVERT}"
            )
        return FoundScans([NiftiPath(stem, input)], [], [])
    listing = list_folder(input, deep=True)
    by_name = {file.name: file.path for file in listing.files}
    folders = {file.name: (input / file.name).parent for file in listing.files}
    of_masks = {each for each in {*folders.values()} if _is_folder_of_masks(each)}

    def is_left_out(file: NiftiPath) -> bool:
        if folders[file.name] in of_masks:
            return True
        folder, slash, stem = file.name.rpartition("/")
        scan = scan_name(stem)
        return bool(scan) and is_mask(
            file.path, scan=by_name.get(folder + slash + scan)
        )

    broken = set(listing.broken)
    there = [file for file in listing.files if file.path not in broken]
    masks = [file for file in there if is_left_out(file)]
    left_out = []
    if masks:
        kinds = {
            "labels/"
            if folders[file.name] in of_masks
            else f"_{file.name.rpartition('_')[2]}"
            for file in masks
        }
        left_out.append(f"{_count(len(masks), 'mask')} ({', '.join(sorted(kinds))})")
    if listing.repeated:
        left_out.append(_count(len(listing.repeated), "link") + " to the same folders")
    if listing.others:
        left_out.append(count_suffixes(listing.others))
    found = FoundScans(
        [file for file in there if file not in masks],
        left_out,
        [*listing.broken, *listing.unsearched],
    )
    if not found.scans:
        reasons = [*left_out]
        if found.broken:
            reasons.append(f"what cannot be read: {name_some(found.broken)}")
        raise InputError(
            f"there is no scan in {input}: --input takes a NIfTI file, or a folder "
            f"that holds some (it holds {', '.join(reasons) or 'nothing'})"
            + (f"; {CONVERT}" if listing.others else "")
        )
    return found


def mask_path(scan: NiftiPath, *, input: Path, output: Path) -> Path:
    """Returns the path of a scan's mask.

    Args:
        scan: The scan.
        input: The file or folder that it was found in.
        output: A folder for the masks; or, for a single scan, a file's name.

    Raises:
        InputError: If `output` names a file while `input` is a folder or that file.
    """
    if output.name.endswith((".nii", ".nii.gz")) and not output.is_dir():
        if input.is_dir():
            raise InputError(
                f"--output {output} is the name of one mask, and --input {input} a "
                "folder: give a folder for the masks"
            )
        if output.resolve() == input.resolve():
            raise InputError(f"--output {output} is the scan itself: name another file")
        return output
    return output / f"{scan.name}_seg.nii.gz"


def pair_with_masks(
    scans: Sequence[NiftiPath], *, input: Path, output: Path
) -> list[tuple[Path, Path]]:
    """Pairs each scan with the file of its mask.

    Args:
        scans: From `find_scans`.
        input: The file or folder that they were found in.
        output: As for `mask_path`.

    Raises:
        InputError: If two scans would have the same mask, such as NAME.nii and
            NAME.nii.gz side by side.
    """
    owner: dict[Path, Path] = {}
    for scan in scans:
        target = mask_path(scan, input=input, output=output)
        if target in owner:
            raise InputError(
                f"{owner[target]} and {scan.path} would both be written to {target}: "
                "rename one of them"
            )
        owner[target] = scan.path
    return [(scan, target) for target, scan in owner.items()]


def _is_folder_of_masks(folder: Path) -> bool:
    """Whether a folder is called `labels` and lies beside a folder `images`."""
    if folder.name.casefold() != "labels":
        return False
    beside = folder.parent.iterdir()
    return any(each.name.casefold() == "images" and each.is_dir() for each in beside)


def _count(number: int, noun: str) -> str:
    """Counts things, for example "2 masks"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
