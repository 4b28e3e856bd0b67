"""What a file or folder holds to segment, and what of it is left out."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from pix2rep_jax.data.files.file_names import mask_word, partners
from pix2rep_jax.data.files.mask import is_mask, scan_name
from pix2rep_jax.data.files.nifti_paths import (
    CONVERT,
    NiftiPath,
    count_suffixes,
    list_folder,
    scan_stem,
)
from pix2rep_jax.data.files.picture_file import PIXEL_SIZES
from pix2rep_jax.data.files.regular_file import check_file
from pix2rep_jax.data.layout.known_layouts import holds_masks
from pix2rep_jax.data.layout.recognise import IMAGE_FOLDERS, recognise
from pix2rep_jax.errors import InputError, name_some
from pix2rep_jax.inference.scan_files import PROBABILITIES
from pix2rep_jax.wording import count, for_caller

__all__ = ["FoundScans", "describe_written", "find_scans"]

TRAINING, TESTING = "imagestr", "imagests"
"""nnU-Net's folders of scans with masks, and of those to segment; in any capitals."""


@dataclasses.dataclass(frozen=True)
class FoundScans:
    """What there is to segment, and what is left out.

    Attributes:
        scans: The scans, sorted by name.
        left_out: What was left out on purpose, in words, such as "2 masks".
        broken: Links to nothing, pipes, and folders that cannot be read.
    """

    scans: list[NiftiPath]
    left_out: list[str]
    broken: list[Path]


def find_scans(input: Path, *, output: Path | None = None) -> FoundScans:
    """Lists the scans of a folder and its subfolders, without masks.

    They are NIfTI files, or pictures if there is no NIfTI.

    Masks are files `NAME_gt` and `NAME_seg` that hold whole numbers, others that are
    named like the mask of a scan beside them and do, all files in a folder such as
    `labels` or `labelsTr` beside one of scans, and what training takes for masks.
    Where `imagesTs` lies beside `imagesTr`, its scans alone are taken.
    Linked folders are searched too. Hidden files and folders are left out.

    Args:
        input: A folder, or one file.
        output: The folder for the masks. If it lies inside the input, the files in it
            are left out.

    Raises:
        InputError: If there is no such file or folder, or it holds no scan.
    """
    if not input.exists():
        raise InputError(f"there is no file or folder {input}: check --input")
    if not input.is_dir():
        stem = scan_stem(input.name)
        if stem is None:
            raise InputError(
                f"{input} is not named like NIfTI or a picture: --input takes .nii, "
                f".nii.gz, pairs of .hdr and .img, .png, .jpg and .tif; {CONVERT}"
            )
        check_file(input)
        return FoundScans([NiftiPath(stem, input)], [], [])
    listing = list_folder(input, deep=True)
    others = [each for each in listing.others if each.name != PIXEL_SIZES]
    by_name = {file.name: file.path for file in listing.files}
    folders = {file.name: (input / file.name).parent for file in listing.files}
    of_masks = {each for each in {*folders.values()} if _is_folder_of_masks(each)}
    of_training = _folders_of_training({*folders.values()})
    known_masks = _masks_of_layout(input)
    beside = _masks_beside(by_name)

    within = None if output is None else output.resolve()
    if within is not None and input.resolve() not in within.parents:
        within = None

    def is_output(file: NiftiPath) -> bool:
        if (scan_stem(file.path.name) or "").endswith(PROBABILITIES):
            return True
        return within is not None and within in file.path.resolve().parents

    def kind_of_mask(file: NiftiPath) -> str:
        """By what a mask is told; "" for a scan."""
        stem = file.name.rpartition("/")[2]
        if folders[file.name] in of_masks:
            return f"{folders[file.name].name}/"
        if file.path in known_masks:
            return mask_word(stem) or stem
        scan = by_name.get(beside.get(file.name, ""))
        named = scan is not None or scan_name(stem)
        return mask_word(stem) if named and is_mask(file.path, scan=scan) else ""

    scans: list[NiftiPath] = []
    kinds: dict[str, int] = defaultdict(int)
    own = training = 0
    broken = set(listing.broken)
    for file in listing.files:
        if file.path in broken:
            continue
        if is_output(file):
            own += 1
        elif kind := kind_of_mask(file):
            kinds[kind] += 1
        elif folders[file.name] in of_training:
            training += 1
        else:
            scans.append(file)
    left_out = []
    if own:
        left_out.append(f"{count(own, 'file')} of --output")
    if kinds:
        number = count(sum(kinds.values()), "mask")
        left_out.append(f"{number} ({', '.join(sorted(kinds))})")
    if training:
        place = name_some(sorted(of_training), most=1)
        left_out.append(f"{count(training, 'file')} that --input {place} takes")
    if listing.repeated:
        left_out.append(count(len(listing.repeated), "link") + " to the same folders")
    if others:
        left_out.append(count_suffixes(others))
    found = FoundScans(scans, left_out, [*listing.broken, *listing.unsearched])
    if not found.scans:
        reasons = [*left_out]
        if found.broken:
            reasons.append(f"what cannot be read: {name_some(found.broken)}")
        raise InputError(
            f"there is no scan in {input}: --input takes a scan, or a folder "
            f"that holds some (it holds {', '.join(reasons) or 'nothing'})"
            + (f"; {CONVERT}" if others else "")
        )
    return found


def _is_folder_of_masks(folder: Path) -> bool:
    """Whether a folder is called such as `labels`, and lies beside one of scans."""
    if not holds_masks(folder):
        return False
    known = (*IMAGE_FOLDERS, TRAINING, TESTING)
    beside = folder.parent.iterdir()
    return any(each.name.casefold() in known and each.is_dir() for each in beside)


def _folders_of_training(folders: Iterable[Path]) -> set[Path]:
    """Finds the folders `imagesTr` beside a folder `imagesTs` of scans."""
    testing = {each.parent for each in folders if each.name.casefold() == TESTING}
    training = {each for each in folders if each.name.casefold() == TRAINING}
    return {each for each in training if each.parent in testing}


def _masks_of_layout(root: Path) -> set[Path]:
    """Finds what training takes for masks, if it knows the layout of the folder."""
    try:
        return {*recognise(root).masks.values()}
    except InputError:  # there are scans in many other places
        return set()


def _masks_beside(names: Iterable[str]) -> dict[str, str]:
    """Finds the scan in the same folder of each file that is named like a mask."""
    folders: dict[str, list[str]] = defaultdict(list)
    for name in names:
        folder, slash, stem = name.rpartition("/")
        folders[folder + slash].append(stem)
    return {
        folder + mask: folder + scan
        for folder, stems in folders.items()
        for mask, scan in partners(stems, stems).items()
    }


def describe_written(
    found: FoundScans,
    output: Path,
    *,
    number: int,
    left: int,
    failures: int,
    things: str,
    done: str,
) -> str:
    """Says in one line what was written, and what was not.

    Args:
        found: What there was.
        output: Where it was written.
        number: How many files there are to be.
        left: How many of them were not there before.
        failures: How many scans failed.
        things: What was written, such as "masks".
        done: What could not be done to a scan that failed, such as "segmented".
    """
    line = f"{left - failures} of {number} {things} were written to {output}"
    if present := number - left:
        line += f"; {present} were there before: add --overwrite to replace them"
    if failures:
        line += f"; {failures} could not be {done}"
    if found.broken:
        line += f"; {len(found.broken)} could not be opened"
    if found.left_out:
        line += f"; left out: {', '.join(found.left_out)}"
    return for_caller(line)
