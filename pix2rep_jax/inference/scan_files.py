"""The files to segment, and the names of their masks."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from pix2rep_jax.data.files.mask import is_mask, scan_name
from pix2rep_jax.data.files.nifti_paths import (
    CONVERT,
    NiftiPath,
    count_suffixes,
    list_folder,
    scan_stem,
)
from pix2rep_jax.data.files.picture_file import is_picture
from pix2rep_jax.errors import InputError, name_some

__all__ = [
    "FoundScans",
    "case_name",
    "find_channels",
    "find_scans",
    "join_channels",
    "pair_with_masks",
    "probabilities_path",
]

SUFFIX = "_seg"
"""What a mask's name adds to its scan's."""

PROBABILITIES = "_probabilities"
"""What the name of probabilities adds to the scan's."""

_CHANNEL = re.compile(r"_(\d{4})$")
"""How nnU-Net names the files of a case's channels: NAME_0000, NAME_0001, …"""


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


def find_scans(input: Path, *, output: Path | None = None) -> FoundScans:
    """Lists the scans of a folder and its subfolders, without masks.

    They are NIfTI files, or pictures if there is no NIfTI.

    Masks are files `NAME_gt` and `NAME_seg` that hold whole numbers, and all files in a
    folder `labels` beside a folder `images`. Linked folders are searched too. Hidden
    files and folders are left out.

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
        return FoundScans([NiftiPath(stem, input)], [], [])
    listing = list_folder(input, deep=True)
    by_name = {file.name: file.path for file in listing.files}
    folders = {file.name: (input / file.name).parent for file in listing.files}
    of_masks = {each for each in {*folders.values()} if _is_folder_of_masks(each)}

    within = None if output is None else output.resolve()
    if within is not None and input.resolve() not in within.parents:
        within = None

    def is_output(file: NiftiPath) -> bool:
        if (scan_stem(file.path.name) or "").endswith(PROBABILITIES):
            return True
        return within is not None and within in file.path.resolve().parents

    def is_left_out(file: NiftiPath) -> bool:
        if folders[file.name] in of_masks or is_output(file):
            return True
        folder, slash, stem = file.name.rpartition("/")
        scan = scan_name(stem)
        return bool(scan) and is_mask(
            file.path, scan=by_name.get(folder + slash + scan)
        )

    broken = set(listing.broken)
    there = [file for file in listing.files if file.path not in broken]
    own = [file for file in there if is_output(file)]
    masks = [file for file in there if is_left_out(file) and file not in own]
    left_out = []
    if own:
        left_out.append(f"{_count(len(own), 'file')} of --output")
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
        [file for file in there if file not in masks and file not in own],
        left_out,
        [*listing.broken, *listing.unsearched],
    )
    if not found.scans:
        reasons = [*left_out]
        if found.broken:
            reasons.append(f"what cannot be read: {name_some(found.broken)}")
        raise InputError(
            f"there is no scan in {input}: --input takes a scan, or a folder "
            f"that holds some (it holds {', '.join(reasons) or 'nothing'})"
            + (f"; {CONVERT}" if listing.others else "")
        )
    return found


def find_channels(path: Path, files: int) -> list[Path]:
    """Finds the files of all channels of a case.

    Args:
        path: One of them, such as `NAME_0000.nii.gz`; or a file of another name, which
            must hold all channels.
        files: How many there are.

    Raises:
        InputError: If some are missing.
    """
    stem = scan_stem(path.name)
    found = _CHANNEL.search(stem or "")
    if files == 1 or stem is None or found is None or not path.exists():
        return [path]
    names = [f"{stem[: found.start()]}_{index:04d}" for index in range(files)]
    beside = {scan_stem(each.name): each for each in sorted(path.parent.iterdir())}
    if missing := [name for name in names if name not in beside]:
        raise InputError(
            f"{path} is one of {files} channels, and {name_some(missing)} is not "
            "beside it: copy all channels of the case there"
        )
    return [beside[name] for name in names]


def join_channels(
    scans: Sequence[NiftiPath], files: int, *, suffix: str = SUFFIX
) -> list[NiftiPath]:
    """Takes the files of one case together.

    Args:
        scans: From `find_scans`.
        files: How many files a case has.
        suffix: As for `mask_path`.

    Returns:
        The first file of each case, under the case's name. That of the only channel
        loses its number where masks have nnU-Net's names.
    """
    if files == 1:
        return [
            scan if suffix else NiftiPath(scan.name.removesuffix("_0000"), scan.path)
            for scan in scans
        ]
    cases: dict[str, NiftiPath] = {}
    for scan in scans:
        name = _CHANNEL.sub("", scan.name)
        cases.setdefault(name, NiftiPath(name, scan.path))
    return list(cases.values())


def mask_path(
    scan: NiftiPath, *, input: Path, output: Path, suffix: str = SUFFIX
) -> Path:
    """Returns the path of a scan's mask.

    Args:
        scan: The scan.
        input: The file or folder that it was found in.
        output: A folder for the masks; or, for a single scan, a file's name.
        suffix: What a mask's name adds to its scan's; "" as nnU-Net has it.

    Raises:
        InputError: If `output` names a file while `input` is a folder.
    """
    ending = ".png" if is_picture(scan.path) else ".nii.gz"
    if output.name.endswith((".nii", ".nii.gz", ".png")) and not output.is_dir():
        if input.is_dir():
            raise InputError(
                f"--output {output} is the name of one mask, and --input {input} a "
                "folder: give a folder for the masks"
            )
        if output.name.endswith(".png") != (ending == ".png"):
            raise InputError(
                f"--output {output} has another format than the mask of {input}: name "
                f"a file that ends in {ending}, or a folder"
            )
        return output
    return output / f"{scan.name}{suffix}{ending}"


def probabilities_path(mask: Path, *, suffix: str = SUFFIX) -> Path:
    """Returns the path of the probabilities beside a mask.

    Args:
        mask: The path of the mask.
        suffix: As for `mask_path`.
    """
    ending = ".npz" if is_picture(mask) else ".nii.gz"
    return mask.with_name(f"{case_name(mask, suffix=suffix)}{PROBABILITIES}{ending}")


def case_name(mask: Path, *, suffix: str = SUFFIX) -> str:
    """Takes the suffix and the ending off a mask's name."""
    return (scan_stem(mask.name) or mask.name).removesuffix(suffix)


def pair_with_masks(
    scans: Sequence[NiftiPath],
    *,
    input: Path,
    output: Path,
    suffix: str = SUFFIX,
    files: Sequence[NiftiPath] = (),
) -> list[tuple[Path, Path]]:
    """Pairs each scan with the file of its mask.

    Args:
        scans: From `find_scans`.
        input: The file or folder that they were found in.
        output: As for `mask_path`.
        suffix: As for `mask_path`.
        files: All files of scans, where these are more than `scans`.

    Raises:
        InputError: If two scans would have the same mask, such as NAME.nii and
            NAME.nii.gz side by side; or if a mask would be written over a scan.
    """
    if "/" in suffix:
        raise InputError(
            f"--suffix {suffix} has a /: give the end of a name, such as _seg"
        )
    sources = {each.path.resolve(): each.path for each in (*scans, *files)}
    owner: dict[Path, Path] = {}
    for scan in scans:
        target = mask_path(scan, input=input, output=output, suffix=suffix)
        if (place := target.resolve()) in sources:
            raise InputError(
                f"the mask of {scan.path} would be written over the scan "
                f"{sources[place]}: name another --output, or another --suffix"
            )
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
