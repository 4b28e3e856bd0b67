"""Which run a command starts from or looks at: `init.checkpoint` is read here alone."""

import contextlib
import logging
import re
from collections.abc import Iterable
from pathlib import Path

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.manifest import find_run

__all__ = [
    "SCRATCH",
    "SEGMENTERS",
    "decide_start",
    "find_all_runs",
    "find_ensemble",
    "find_folds",
    "find_network",
    "find_pretraining",
    "find_segmenters",
    "find_start",
]

_LOG = logging.getLogger(__name__)

SEGMENTERS = ("finetune", "probe")
"""The modes that train a segmenter; the first that ran is the one to use."""

SCRATCH = "scratch"
"""In a workdir: the workdir of the same fine-tuning from random weights."""


def decide_start(
    checkpoint: str, workdir: Path, mode: str, *, required_by: str = ""
) -> Path | None:
    """Decides which run's network a training run starts from.

    Args:
        checkpoint: The setting `init.checkpoint`.
        workdir: The folder of the run that is to start.
        mode: "pretrain", "probe" or "finetune".
        required_by: What cannot start from random weights, such as "probing"; "" if
            it can.

    Returns:
        The folder of a pretraining run, or of a fine-tuning that is to go on with other
        masks; None for random weights.

    Raises:
        InputError: If there is no such run, or if random weights will not do.
    """
    start = _named_start(checkpoint, Path(workdir), mode)
    if start is None and required_by:
        raise InputError(
            f"{required_by} starts from a pretrained network, and init.checkpoint is "
            f"{checkpoint!r}: name the workdir of a pretraining run by "
            "--config.init.checkpoint, and another folder by --workdir"
        )
    return start


def _named_start(checkpoint: str, workdir: Path, mode: str) -> Path | None:
    """Reads `init.checkpoint`. The order is important."""
    # 1. "none": random weights.
    if checkpoint == "none":
        return None
    # 2. A pretraining that names no run, or its own: random weights.
    if mode == "pretrain" and (not checkpoint or _is_same_place(checkpoint, workdir)):
        return None
    # 3. A run that is named: its pretraining, or that very fine-tuning.
    if checkpoint:
        return find_start(checkpoint, mode)
    # 4. Nothing is named: the pretraining of this workdir.
    return find_run(workdir, "pretrain")


def find_start(checkpoint: str, mode: str) -> Path:
    """Finds the run that a mode starts from, as `init.checkpoint` names it.

    Args:
        checkpoint: A workdir, or the folder of a pretraining. Only `RUN/finetune`, and
            only in fine-tuning, names a segmenter, which then goes on with other masks.
        mode: The mode that starts from it.

    Raises:
        InputError: If there is none.
    """
    place = Path(checkpoint).expanduser().resolve()
    if mode == place.name == "finetune" and (place / "config.json").is_file():
        return place
    return find_run(checkpoint, "pretrain")


def find_pretraining(workdir: str | Path, *, checkpoint: str = "") -> Path:
    """Finds a pretraining run to look at.

    Args:
        workdir: It comes first.
        checkpoint: The setting `init.checkpoint`; the run it names comes second.

    Raises:
        InputError: If there is none.
    """
    try:
        return find_run(workdir, "pretrain")
    except InputError:
        if checkpoint in ("", "none"):
            raise
        return find_run(checkpoint, "pretrain")


def find_network(workdir: str | Path, *, checkpoint: str = "") -> Path:
    """Finds the network of a workdir: its segmenter, or else its pretraining.

    Args:
        workdir: As for `find_segmenters`; `<workdir>/pretrain` is the pretraining.
        checkpoint: The setting `init.checkpoint`; the run it names comes second.

    Raises:
        InputError: If there is neither.
    """
    try:
        return find_segmenters(workdir)[0]
    except InputError:
        return find_pretraining(workdir, checkpoint=checkpoint)


def find_segmenters(workdir: str | Path, *, checkpoint: str = "") -> list[Path]:
    """Finds the segmentation runs to use, fine-tuning before probing.

    Args:
        workdir: A workdir, or its subfolder `finetune` or `probe`. It comes first.
        checkpoint: The setting `init.checkpoint`; the run it names comes second.

    Returns:
        The runs' folders, at least one.

    Raises:
        InputError: If there is none.
    """
    workdir = Path(workdir).expanduser()
    folders = [workdir] if workdir.name in SEGMENTERS else []
    folders += [workdir / mode for mode in SEGMENTERS]
    runs = [folder for folder in folders if (folder / "config.json").is_file()]
    if runs:
        return runs
    if checkpoint not in ("", "none"):
        return find_segmenters(checkpoint)
    raise InputError(
        f"there is no trained segmenter in {workdir}: run --mode finetune or --mode "
        "probe there first, or give the folder of a run that has one"
    )


def find_folds(workdir: str | Path) -> list[Path]:
    """Lists the folders of a cross-validation: `fold0`, `fold1`, … in a workdir."""
    workdir = Path(workdir).expanduser()
    folders = workdir.iterdir() if workdir.is_dir() else []
    found = [each for each in folders if re.fullmatch(r"fold\d+", each.name)]
    return sorted(found, key=lambda folder: int(folder.name[4:]))


def find_ensemble(
    workdirs: Iterable[str | Path], *, checkpoint: str = ""
) -> list[Path]:
    """Finds the segmentation run of each workdir; of a cross-validation, every fold's.

    Args:
        workdirs: As for `find_segmenters`.
        checkpoint: The setting `init.checkpoint`, for a workdir without a run.

    Returns:
        The runs' folders, at least one. A fold that has no network yet is left out with
        a warning.

    Raises:
        InputError: If a workdir has none, or if none is given.
    """
    runs = []
    workdirs = list(workdirs)
    if not workdirs:
        raise InputError("no run is given: name a workdir that holds a segmenter")
    for workdir in workdirs:
        try:
            runs.append(find_segmenters(workdir)[0])
            continue
        except InputError:
            folds = find_folds(workdir)
            if not folds and checkpoint in ("", "none"):
                raise
        if not folds:
            runs.append(find_segmenters(checkpoint)[0])
        for fold in folds:
            try:
                runs.append(find_segmenters(fold)[0])
            except InputError:
                _LOG.warning(
                    "note: %s has no trained segmenter, so it is left out", fold
                )
    if not runs:
        raise InputError(
            f"there is no trained segmenter in the folds of {workdir}: start its own "
            "--mode folds again"
        )
    return runs


def find_all_runs(workdir: str | Path, *, checkpoint: str = "") -> list[Path]:
    """Finds the pretraining, fine-tuning and probing runs that there are.

    Args:
        workdir: It comes first.
        checkpoint: The setting `init.checkpoint`; the run it names comes second.

    Raises:
        InputError: If there is none.
    """
    runs = []
    with contextlib.suppress(InputError):
        runs.append(find_pretraining(workdir, checkpoint=checkpoint))
    with contextlib.suppress(InputError):
        runs += find_segmenters(workdir, checkpoint=checkpoint)
    if not runs:
        raise InputError(
            f"there is nothing to draw in {workdir}: run --mode pretrain there first, "
            "or name a run's folder by --config.init.checkpoint"
        )
    return runs


def _is_same_place(named: str, workdir: Path) -> bool:
    """Whether a name is that of a workdir, or of the pretraining in it."""
    place, own = (Path(path).expanduser().resolve() for path in (named, workdir))
    return place in (own, own / "pretrain")
