"""The ACDC challenge's folders as a list of volumes.

Reference: O. Bernard et al., "Deep Learning Techniques for Automatic MRI Cardiac
Multi-structures Segmentation and Diagnosis: Is the Problem Solved?", IEEE TMI 2018.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from pix2rep_jax.data.files.nifti import volume_shape
from pix2rep_jax.data.files.nifti_file import load_header
from pix2rep_jax.data.files.nifti_paths import (
    NiftiPath,
    find_subfolder,
    list_folder,
)
from pix2rep_jax.data.files.regular_file import is_there, read_text
from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.errors import InputError

__all__ = ["list_volumes"]

LAYOUT = (
    "training/patient001/{Info.cfg, patient001_frame01.nii.gz, "
    "patient001_frame01_gt.nii.gz, ...}, and testing/ likewise if there is one; for "
    "scans in another layout set --config.data.name=auto and --config.data.classes="
)


def list_volumes(
    root: str | Path, *, all_frames: bool = False, exclude: Collection[str] = ()
) -> list[VolumeFile]:
    """Lists the volumes of ACDC, or of a data set in its layout.

    Args:
        root: The folder that holds `training/` and optionally `testing/`.
        all_frames: Whether to list the other frames of every `patientNNN_4d.nii.gz`
            too. They have no masks.
        exclude: Patients that will not be read, so their scans may be missing. They are
            listed nevertheless, because splits count them.

    Returns:
        For each patient end diastole and end systole, as Info.cfg names them, then the
        other frames. Patients are in the order of their names, training before testing.

    Raises:
        InputError: If the folder, an Info.cfg, a field of it or a scan is missing. Also
            if all frames are wanted and no patient has them.
    """
    root = Path(root).expanduser()
    folders = {name: find_subfolder(root, name) for name in ("training", "testing")}
    if not folders["training"].is_dir():
        raise InputError(
            f"there is no folder {root / 'training'}: data.root must hold {LAYOUT}"
        )
    volumes = [
        volume
        for subset, place in folders.items()
        for folder in sorted(place.glob("[pP]atient*"))
        if folder.is_dir()
        for volume in _patient_volumes(folder, subset, all_frames, exclude)
    ]
    if not volumes:
        raise InputError(
            f"there is no patient in {root / 'training'}: data.root must hold {LAYOUT}"
        )
    if all_frames and all(volume.frame is None for volume in volumes):
        raise InputError(
            f"there is no patientNNN_4d.nii.gz in {root}, which data.all_frames=True "
            "needs: download all of ACDC, or set --config.data.all_frames=False"
        )
    return volumes


def _patient_volumes(
    folder: Path, subset: str, all_frames: bool, exclude: Collection[str]
) -> Iterator[VolumeFile]:
    """Yields the volumes of one patient's folder."""
    patient = folder.name
    info = _read_info(folder / "Info.cfg")
    files = list_folder(folder).files
    labelled_frames = set()
    for phase in ("ED", "ES"):
        number = _frame_number(info, phase, folder / "Info.cfg")
        labelled_frames.add(number)
        stem = f"{patient}_frame{number:02d}"
        image_path = _find(files, stem)
        if image_path is None and patient in exclude:
            image_path = folder / f"{stem}.nii.gz"
        if image_path is None:
            raise InputError(
                f"there is no scan {folder / stem}.nii.gz, which Info.cfg names as "
                f"{phase}: download the patient again, or set "
                f"--config.data.exclude={patient}"
            )
        yield VolumeFile(
            volume_id=f"{patient}_{phase}",
            patient=patient,
            subset=subset,
            phase=phase,
            group=info.get("Group", ""),
            image_path=image_path,
            label_path=_find(files, f"{stem}_gt"),
        )
    cine = _find(files, f"{patient}_4d") if all_frames else None
    if cine is None:
        return
    for number in range(1, _num_frames(cine) + 1):
        if number not in labelled_frames:
            yield VolumeFile(
                volume_id=f"{patient}_frame{number:02d}",
                patient=patient,
                subset=subset,
                phase=f"frame{number:02d}",
                group=info.get("Group", ""),
                image_path=cine,
                label_path=None,
                frame=number - 1,
            )


def _read_info(path: Path) -> dict[str, str]:
    """Reads the fields of an Info.cfg, which has lines such as "ED: 1"."""
    try:
        lines = read_text(path, errors="replace").splitlines()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}), so the frames of end diastole "
            "and end systole are unknown: download the patient again"
        ) from error
    fields = (line.partition(":") for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, _, value in fields}


def _frame_number(info: dict[str, str], phase: str, path: Path) -> int:
    """Reads the number of a phase's frame, which counts from 1."""
    value = info.get(phase, "")
    if not value.isdecimal() or int(value) < 1:
        raise InputError(
            f"{path} has no frame number for {phase} (found {value!r}): add a line "
            f"like '{phase}: 1'"
        )
    return int(value)


def _find(files: Sequence[NiftiPath], stem: str) -> Path | None:
    """Finds the NIfTI file or pair of this name, or else a link to nothing."""
    found = [file.path for file in files if file.name == stem]
    # Compressed before plain, as the challenge distributes them.
    found.sort(key=lambda path: not path.name.lower().endswith(".gz"))
    return next(filter(is_there, found), next(iter(found), None))


def _num_frames(path: Path) -> int:
    """Reads the number of frames of a 4-D file from its header."""
    shape = volume_shape(load_header(path)[1].get_data_shape())
    if len(shape) != 4:
        raise InputError(
            f"{path} has shape {shape}, but all frames of a patient need 4 axes: copy "
            "it again, or set --config.data.all_frames=False"
        )
    return shape[3]
