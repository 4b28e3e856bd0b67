"""The NIfTI files to segment, and the names of their masks."""

from collections.abc import Sequence
from pathlib import Path

from pix2rep_jax.data import nifti
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.segmenter import Segmenter

__all__ = ["find_scans", "pair_with_masks", "write_prediction"]

SUFFIXES = (".nii.gz", ".nii")
LABEL_SUFFIXES = ("_gt", "_seg")
"""Ends of the names of masks: the experts' in ACDC, and those of this program."""


def write_prediction(
    segmenter: Segmenter, scan: Path, target: Path, *, overwrite: bool
) -> None:
    """Writes the mask of one scan.

    Raises:
        InputError: If the scan cannot be read, or the mask exists by now.
    """
    volume = nifti.read_volume(scan)
    labels = segmenter.predict(volume.array, spacing_mm=volume.spacing_mm)
    target.parent.mkdir(parents=True, exist_ok=True)
    nifti.write_mask(target, labels, volume, overwrite=overwrite)


def find_scans(input: Path) -> list[Path]:
    """Lists the NIfTI files of a folder and its subfolders, sorted, without masks.

    Masks are `NAME_gt` and `NAME_seg`, and all files in a folder `labels` beside a
    folder `images`. Hidden files are left out.

    Args:
        input: A folder, or one file, which is returned as it is.

    Raises:
        InputError: If there is no such file or folder, or it holds no scan.
    """
    if not input.exists():
        raise InputError(f"there is no file or folder {input}: check --input")
    if input.is_file():
        if not input.name.endswith(SUFFIXES):
            raise InputError(
                f"{input} is not named like a NIfTI file: --input takes .nii and "
                ".nii.gz"
            )
        return [input]
    scans = sorted(path for path in input.rglob("*.nii*") if _is_scan(path))
    if not scans:
        raise InputError(
            f"there is no scan in {input}: --input takes a .nii or .nii.gz file, or a "
            "folder that holds some (names that end in _gt or _seg are masks)"
        )
    return scans


def mask_path(scan: Path, *, input: Path, output: Path) -> Path:
    """Returns the path of a scan's mask.

    Args:
        scan: The scan.
        input: The file or folder that it was found in.
        output: A folder for the masks; or, for a single scan, a file's name.

    Raises:
        InputError: If `output` names a file while `input` is a folder or that file.
    """
    if output.name.endswith(SUFFIXES) and not output.is_dir():
        if input.is_dir():
            raise InputError(
                f"--output {output} is the name of one mask, and --input {input} a "
                "folder: give a folder for the masks"
            )
        if output.resolve() == input.resolve():
            raise InputError(f"--output {output} is the scan itself: name another file")
        return output
    folder = scan.parent.relative_to(input) if input.is_dir() else Path()
    return output / folder / f"{_stem(scan)}_seg.nii.gz"


def pair_with_masks(
    scans: Sequence[Path], *, input: Path, output: Path
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
                f"{owner[target]} and {scan} would both be written to {target}: "
                "rename one of them"
            )
        owner[target] = scan
    return [(scan, target) for target, scan in owner.items()]


def _stem(path: Path) -> str:
    """The name of a NIfTI file without its suffix."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


def _is_scan(path: Path) -> bool:
    """Whether a path found in a folder is a scan, not a mask or another file."""
    is_label = _stem(path).endswith(LABEL_SUFFIXES) or (
        path.parent.name == "labels" and (path.parent.parent / "images").is_dir()
    )
    return (
        path.name.endswith(SUFFIXES)
        and not path.name.startswith(".")
        and path.is_file()
        and not is_label
    )
