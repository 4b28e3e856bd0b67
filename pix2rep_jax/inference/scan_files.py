"""The files of a case's channels, and those of its mask and its probabilities."""

import re
from collections.abc import Sequence
from pathlib import Path

from pix2rep_jax.data.files.nifti_paths import NiftiPath, scan_stem
from pix2rep_jax.data.files.picture_file import is_picture
from pix2rep_jax.errors import InputError, name_some
from pix2rep_jax.wording import count

__all__ = [
    "PROBABILITIES",
    "SUFFIX",
    "case_name",
    "channels_note",
    "find_channels",
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


def channels_note(scans: Sequence[NiftiPath], files: int) -> str:
    """Says that a case's channels are segmented one by one, if they look like it.

    Args:
        scans: From `find_scans`.
        files: How many files a case has for the network.

    Returns:
        A note, or "" if a case has several files for the network too, or if no two
        files differ in nothing but a channel's number.
    """
    cases: dict[str, list[str]] = {}
    for scan in scans:
        if files == 1 and _CHANNEL.search(scan.name):
            cases.setdefault(_CHANNEL.sub("", scan.name), []).append(scan.name)
    several = [names for names in cases.values() if len(names) > 1]
    if not several:
        return ""
    return (
        f"note: in {count(len(several), 'case')} several files have a channel's number "
        f"({name_some(several[0])}), and the network takes one channel, so each file "
        "gets a mask of its own: if they are channels, keep those of the network's "
        "channel in --input"
    )


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
