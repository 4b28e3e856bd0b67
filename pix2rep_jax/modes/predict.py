"""--mode predict: the mask of every scan, on the scan's own grid."""

import sys
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict
from tqdm import tqdm

from pix2rep_jax.data import nifti
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.segmenter import Segmenter, find_runs

__all__ = ["find_scans", "run"]

SUFFIXES = (".nii.gz", ".nii")
LABEL_SUFFIXES = ("_gt", "_seg")
"""Ends of the names of masks: the experts' in ACDC, and our own."""


def run(
    config: ConfigDict,
    workdir: str | Path,
    *,
    input: str | Path | None,
    output: str | Path | None,
    overwrite: bool = False,
) -> int:
    """Writes the mask of every scan of a file or folder.

    A scan whose mask is there is done with, so that the same command goes on where it
    was stopped; one that cannot be segmented is reported on standard error and left
    out.

    Args:
        config: Its `init.checkpoint` names a run whose network is used where the
            workdir has none.
        workdir: The run's folder; fine-tuning is preferred to probing.
        input: A NIfTI file, or a folder that is searched with all its subfolders.
        output: Folder of the masks, made where it is missing: `NAME_seg.nii.gz`,
            in the subfolders that the input has. Of a single file the mask itself, if
            the name ends in `.nii` or `.nii.gz`.
        overwrite: Whether a mask that exists is replaced.

    Returns:
        The exit code: 0, or 1 if a scan was left out.

    Raises:
        InputError: If there is no scan, no network, or no place for the masks.
    """
    if not input or not output:
        raise InputError(
            "predict needs a scan or a folder of scans and a folder for the masks: add "
            "--input PATH --output FOLDER"
        )
    input, output = Path(input).expanduser(), Path(output).expanduser()
    scans = find_scans(input)
    targets = [mask_path(scan, input=input, output=output) for scan in scans]
    check_targets(scans, targets)
    segmenter = Segmenter.load(find_runs(workdir, elsewhere=config.init.checkpoint)[0])
    folder = output.parent if targets == [output] else output
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder {folder} cannot be made ({error.strerror}): give another "
            "one by --output"
        ) from error
    pairs = list(zip(scans, targets, strict=True))
    left = [pair for pair in pairs if overwrite or not pair[1].exists()]
    bar = tqdm(
        left,
        desc="predict",
        unit="scan",
        file=sys.stderr,
        mininterval=1.0,
        disable=not left,
    )
    failures = 0
    for scan, target in bar:
        try:
            segment(segmenter, scan, target, overwrite=overwrite)
        except (InputError, OSError) as error:
            failures += 1
            tqdm.write(f"skipped {scan}: {error}", file=sys.stderr)
    line = f"{len(left) - failures} of {len(scans)} masks were written to {output}"
    if present := len(scans) - len(left):
        line += f"; {present} were there before: add --overwrite to replace them"
    print(line)
    print("labels: " + ", ".join(f"{i} {c}" for i, c in enumerate(segmenter.classes)))
    return 1 if failures else 0


def segment(segmenter: Segmenter, scan: Path, target: Path, *, overwrite: bool) -> None:
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

    Masks are `NAME_gt` and `NAME_seg`, and what lies in a folder `labels` beside a
    folder `images`. Hidden files are left out. A file is taken as it is.

    Raises:
        InputError: If there is no such file or folder, or it holds no scan.
    """
    if not input.exists():
        raise InputError(f"there is no file or folder {input}: check --input")
    if input.is_file():
        if not input.name.endswith(SUFFIXES):
            raise InputError(
                f"{input} is no NIfTI file by its name: --input takes .nii and .nii.gz"
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
    """Returns where a scan's mask is written.

    Raises:
        InputError: If the output is one file's name, and the input a folder or that
            very file.
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


def check_targets(scans: Sequence[Path], targets: Sequence[Path]) -> None:
    """Checks that no two scans have the same mask.

    Raises:
        InputError: If NAME.nii and NAME.nii.gz lie side by side.
    """
    owner: dict[Path, Path] = {}
    for scan, target in zip(scans, targets, strict=True):
        if target in owner:
            raise InputError(
                f"{owner[target]} and {scan} would both be written to {target}: "
                "rename one of them"
            )
        owner[target] = scan


def _stem(path: Path) -> str:
    """The name of a NIfTI file without its suffix."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


def _is_scan(path: Path) -> bool:
    """Whether a path found in a folder is a scan rather than a mask or a stray."""
    is_label = _stem(path).endswith(LABEL_SUFFIXES) or (
        path.parent.name == "labels" and (path.parent.parent / "images").is_dir()
    )
    return (
        path.name.endswith(SUFFIXES)
        and not path.name.startswith(".")
        and path.is_file()
        and not is_label
    )
