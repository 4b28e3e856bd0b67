"""Where a volume lies on disk and whose it is."""

import dataclasses
from pathlib import Path

__all__ = ["VolumeFile"]


@dataclasses.dataclass(frozen=True)
class VolumeFile:
    """One volume to read.

    Attributes:
        volume_id: Unique name, such as "patient001_ED".
        patient: Splits are made over these, such as "patient001".
        subset: "training" or "testing", as the data set's publisher divided it.
        phase: "ED", "ES" or "frame07" in ACDC; "" where unknown.
        group: Pathology, over which few-shot draws are balanced; "" where unknown.
        image_path: NIfTI file of the scan.
        label_path: NIfTI file of the expert's mask; None where there is none.
        frame: Which frame of a 4-D file, from 0; None for a 3-D file.
    """

    volume_id: str
    patient: str
    subset: str
    phase: str
    group: str
    image_path: Path
    label_path: Path | None
    frame: int | None = None
