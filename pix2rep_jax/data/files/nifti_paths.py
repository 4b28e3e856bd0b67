"""Which files of a folder are scans, by their names, and what else lies there."""

import collections
import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path

from pix2rep_jax.data.files.picture_file import is_picture, picture_stem
from pix2rep_jax.data.files.regular_file import is_there
from pix2rep_jax.errors import InputError, name_some
from pix2rep_jax.wording import count

__all__ = [
    "CONVERT",
    "FolderListing",
    "NiftiPath",
    "count_suffixes",
    "file_parts",
    "find_subfolder",
    "list_folder",
    "nifti_stem",
    "scan_stem",
]

CONVERT = "other formats, such as DICOM, must be converted, for example with dcm2niix"
"""What to do with scans that are not NIfTI."""

_SUFFIX = re.compile(r"\.(nii|hdr|img)(\.gz)?$", re.IGNORECASE)
"""A NIfTI file is one `.nii`, or a pair of `.hdr` (header) and `.img` (voxels)."""


@dataclasses.dataclass(frozen=True)
class NiftiPath:
    """One NIfTI file, one pair of files, or one picture in a folder.

    Attributes:
        name: Path below the folder without suffix, such as "p1/scan".
        path: The file to read; of a pair, the one with the voxels.
    """

    name: str
    path: Path


@dataclasses.dataclass
class FolderListing:
    """Everything in a folder that is not hidden.

    Attributes:
        files: What is named like NIfTI, or else like a picture, sorted by name. Links
            to nothing are among them.
        broken: The paths in `files` that lead to no file: links to nothing, and pipes.
        others: Other files. Pictures beside NIfTI files are among them.
        unsearched: Subfolders that were not searched.
        repeated: Links to folders that were searched under another name.
    """

    files: list[NiftiPath] = dataclasses.field(default_factory=list)
    broken: list[Path] = dataclasses.field(default_factory=list)
    others: list[Path] = dataclasses.field(default_factory=list)
    unsearched: list[Path] = dataclasses.field(default_factory=list)
    repeated: list[Path] = dataclasses.field(default_factory=list)


def nifti_stem(name: str) -> str | None:
    """Takes the suffix off a NIfTI file's name; None for other names."""
    found = _SUFFIX.search(name)
    return name[: found.start()] if found and found.start() else None


def scan_stem(name: str) -> str | None:
    """Takes the suffix off the name of a NIfTI file or a picture; None for others."""
    stem = nifti_stem(name)
    return picture_stem(name) if stem is None else stem


def list_folder(folder: Path, *, deep: bool = False) -> FolderListing:
    """Lists the NIfTI files of a folder; or its pictures if it holds no NIfTI.

    A folder that is named like a NIfTI file and holds just one counts as that file:
    some archives unpack `x.nii` to `x.nii/x.nii`.

    Args:
        folder: The folder.
        deep: Whether to search its subfolders too. Links to folders are followed, but
            each folder is searched once, so that a loop has an end.

    Raises:
        InputError: If the folder itself cannot be read.
    """
    listing = FolderListing()
    seen: set[tuple[int, int]] = set()
    # Links come last, so that a folder is found under its own name.
    waiting = collections.deque([(folder, "")])
    links: collections.deque[tuple[Path, str]] = collections.deque()
    while waiting or links:
        place, prefix = (waiting or links).popleft()
        try:
            status = place.stat()
            with os.scandir(place) as found:
                entries = sorted(found, key=lambda each: each.name)
        except OSError as error:
            if place == folder:
                raise InputError(
                    f"the folder {folder} cannot be read ({error.strerror}): check its "
                    "name and its permissions"
                ) from error
            listing.unsearched.append(place)
            continue
        if (status.st_dev, status.st_ino) in seen:
            listing.repeated.append(place)
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path, stem = place / entry.name, scan_stem(entry.name)
            if _is_folder(entry):
                named = nifti_stem(entry.name) is not None
                inner = _only_file(path) if named else None
                if inner is not None:
                    listing.files.append(NiftiPath(prefix + str(stem), inner))
                elif deep:
                    queue = links if entry.is_symlink() else waiting
                    queue.append((path, f"{prefix}{entry.name}/"))
                else:
                    listing.unsearched.append(path)
            elif stem is None:
                listing.others.append(path)
            else:
                listing.files.append(NiftiPath(prefix + stem, path))
                # An entry knows its type without another look.
                if not (entry.is_file(follow_symlinks=False) or is_there(path)):
                    listing.broken.append(path)
    pictures = [file for file in listing.files if is_picture(file.path)]
    if len(pictures) < len(listing.files):
        listing.others += (file.path for file in pictures)
        listing.broken = [path for path in listing.broken if not is_picture(path)]
        listing.files = [file for file in listing.files if not is_picture(file.path)]
    listing.files = sorted(
        _join_pairs(listing.files), key=lambda file: (file.name, file.path)
    )
    return listing


def file_parts(path: Path) -> list[Path]:
    """Lists the files that a NIfTI file consists of: itself, or both of a pair.

    The halves may differ in capitals, unless one is there that does not.
    """
    other = {"hdr": "img", "img": "hdr"}.get(_half(path))
    if other is None:
        return [path]
    stem = nifti_stem(path.name)
    endings = {f"{stem}.{other}{end}".casefold() for end in ("", ".gz")}
    try:
        beside = sorted(path.parent.iterdir())
    except OSError:
        return [path]
    halves = [each for each in beside if each.name.casefold() in endings]
    alike = [each for each in halves if nifti_stem(each.name) == stem]
    return [path, *(alike or halves)]


def find_subfolder(root: Path, name: str) -> Path:
    """Finds a subfolder, whether its name is written in capitals or not.

    Args:
        root: The folder that should hold it.
        name: The usual name, in lower case.

    Returns:
        Its path. If there is none, the path that it should have.

    Raises:
        InputError: If several folders differ in nothing but capitals.
    """
    usual = root / name
    try:
        # The folder itself may hold thousands of scans.
        names = sorted(each for each in os.listdir(root) if each.casefold() == name)
    except OSError:
        return usual
    found = [each for each in map(root.joinpath, names) if _is_folder(each)]
    if len(found) > 1:
        raise InputError(
            f"{root} holds {name_some(each.name for each in found)}: put all files "
            f"into {name}"
        )
    return found[0] if found else usual


def count_suffixes(paths: Sequence[Path]) -> str:
    """Counts files by suffix, for example "3 other files (.dcm, .txt)"."""
    suffixes = sorted({path.suffix.lower() or path.name for path in paths})
    return f"{count(len(paths), 'other file')} ({name_some(suffixes)})"


def _is_folder(path: Path | os.DirEntry) -> bool:
    """Whether a path is a folder; not if it leads through one that is closed to us."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _only_file(folder: Path) -> Path | None:
    """Finds the file of a folder that holds one NIfTI file or one pair."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return None
    files = [
        NiftiPath(stem, path)
        for path in entries
        if not path.name.startswith(".")
        and (stem := nifti_stem(path.name)) is not None
        and not _is_folder(path)
    ]
    files = _join_pairs(files)
    return files[0].path if len(files) == 1 else None


def _join_pairs(files: Sequence[NiftiPath]) -> list[NiftiPath]:
    """Leaves a header out whose voxels are there too."""

    def key(file: NiftiPath) -> tuple[Path, str]:
        return file.path.parent, str(nifti_stem(file.path.name)).casefold()

    voxels = {key(file) for file in files if _half(file.path) == "img"}
    return [
        file for file in files if _half(file.path) != "hdr" or key(file) not in voxels
    ]


def _half(path: Path) -> str:
    """Returns "hdr", "img" or "nii"; "" for other names."""
    found = _SUFFIX.search(path.name)
    return found[1].lower() if found else ""
