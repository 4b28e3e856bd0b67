"""A run on disk, as the functions return it and take it."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.remembered import TRAINING
from pix2rep_jax.runtime.home import expand

__all__ = ["Place", "Run", "network_folder", "workdirs"]

Place = str | os.PathLike[str]
"""A file or folder by its path, or a run that stands for its folder."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What a mode has left on disk; it can be given wherever a run's folder can.

    Attributes:
        workdir: The folder that was given as `out`, with one subfolder per mode.
        folder: The folder of this mode's files.
        scores: Dice of the test patients on the scans' own grids, 0 to 1: the mean over
            their volumes by class, "mean" and "mean_foreground". NaN where no volume
            has the class; empty where nothing was scored.
        complete: False if `predict` or `embed` has left out a scan.

    >>> run = Run(Path("runs/mine"), Path("runs/mine/finetune"), {"LV": 0.9})
    >>> os.fspath(run)
    'runs/mine/finetune'
    """

    workdir: Path
    folder: Path
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    complete: bool = True

    def __fspath__(self) -> str:
        return str(self.folder)


def workdirs(given: Place | Sequence[Place]) -> list[Path]:
    """Lists the absolute workdirs of one or several runs, at least one.

    Raises:
        InputError: If no run is given.
    """
    listed = [given] if isinstance(given, str | os.PathLike) else list(given)
    if not listed:
        raise InputError("no run is given: name the folder of one")
    places = (each.workdir if isinstance(each, Run) else each for each in listed)
    return [expand(os.fspath(each), "the run's folder") for each in places]


def network_folder(given: Place) -> Path:
    """Finds where one network is to be looked for.

    What `pretrain` returned stands for the pretraining, even where its workdir has a
    segmenter too.
    """
    if isinstance(given, Run) and given.folder.name not in TRAINING:
        given = given.workdir
    return expand(os.fspath(given), "the run's folder")
