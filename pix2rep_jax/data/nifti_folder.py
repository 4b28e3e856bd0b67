"""A plain folder of NIfTI scans, with or without masks, as a list of volumes."""

import re
from pathlib import Path

from pix2rep_jax.data.volume import VolumeFile
from pix2rep_jax.errors import InputError

__all__ = ["list_volumes"]

LAYOUT = "images/NAME.nii.gz, and labels/NAME.nii.gz for the scans that have a mask"


def list_volumes(
    root: str | Path, *, patient_regex: str = r"^[^_]+"
) -> list[VolumeFile]:
    """Lists the scans of `<root>/images` with their masks in `<root>/labels`.

    Args:
        root: The folder that holds `images/` and, if there are masks, `labels/`.
        patient_regex: Finds the patient in a file's name: its first group, or the whole
            match. Scans of one patient stay on one side of a split.

    Returns:
        The volumes in the order of their names, without phase and group.

    Raises:
        InputError: If the folder is missing or holds no scan, if the expression is
            invalid, or if a name does not match it.
    """
    root = Path(root).expanduser()
    try:
        pattern = re.compile(patient_regex)
    except re.error as error:
        raise InputError(
            f"data.patient_regex={patient_regex!r} is not a regular expression "
            f"({error}): correct it"
        ) from error
    images = _nifti_files(root / "images")
    if not images:
        raise InputError(
            f"there is no scan in {root / 'images'}: data.root must hold {LAYOUT}"
        )
    labels = _nifti_files(root / "labels")
    if stray := sorted(set(labels) - set(images)):
        raise InputError(
            f"the mask {labels[stray[0]]} has no scan of the same name in "
            f"{root / 'images'}: give both the same name"
        )
    volumes = []
    for name, image_path in images.items():
        found = pattern.search(name)
        if found is None or not (patient := found[1] if pattern.groups else found[0]):
            raise InputError(
                f"data.patient_regex={patient_regex!r} does not find a patient in the "
                f"name of {image_path}: change the expression or the name"
            )
        volumes.append(
            VolumeFile(
                volume_id=name,
                patient=patient,
                subset="training",
                phase="",
                group="",
                image_path=image_path,
                label_path=labels.get(name),
            )
        )
    return volumes


def _nifti_files(folder: Path) -> dict[str, Path]:
    """Lists the NIfTI files of a folder by their names without suffix, sorted."""
    files: dict[str, Path] = {}
    for path in sorted(folder.glob("*.nii*")):
        if path.name.startswith(".") or not path.name.endswith((".nii", ".nii.gz")):
            continue
        name = path.name.removesuffix(".gz").removesuffix(".nii")
        if name in files:
            raise InputError(
                f"{files[name]} and {path} have the same name: remove one of them"
            )
        files[name] = path
    return files
