"""Functions that use a trained segmenter."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pix2rep_jax.api.command import read_scores, run_command, write_command
from pix2rep_jax.api.run import Place, Run, workdirs
from pix2rep_jax.runs.start import find_ensemble
from pix2rep_jax.wording import in_function

__all__ = ["evaluate", "predict"]


def evaluate(
    run: Place | Sequence[Place], *, data: Place | None = None, **settings: Any
) -> Run:
    """Scores a finished segmenter on the test patients, perhaps on other scans.

    Args:
        run: A workdir, or what `finetune` or `probe` returned. Several are scored as
            one, by the mean of their probabilities.
        data: The folder of other scans; None scores the run's own test patients.
        **settings: Such as `predict__mirror=True`.

    Returns:
        The folder `<workdir>/evaluate` and the scores in it.

    Raises:
        InputError: If there is no segmenter, or if no test patient has a mask.

    >>> from pix2rep_jax import evaluate
    >>> run = evaluate("runs/pix2rep", predict__mirror=False)
    scoring 4 test volumes ...
    >>> 0 <= run.scores["LV"] <= 1
    True
    """
    workdir, *others = _find_segmenters(run, settings)
    words = write_command("evaluate", workdir, settings, data=data)
    _, checkpoint = run_command("evaluate", workdir, words, others=others)
    folder = workdir / "evaluate"
    if len(find_ensemble([workdir, *others], checkpoint=checkpoint)) > 1:
        folder /= "ensemble"
    return Run(workdir, folder, read_scores(folder))


def predict(
    run: Place | Sequence[Place],
    input: Place,
    output: Place,
    *,
    overwrite: bool = False,
    probabilities: bool = False,
    suffix: str = "_seg",
    support: Place | None = None,
    **settings: Any,
) -> Run:
    """Writes the mask of every scan of a file or folder.

    Args:
        run: As for `evaluate`; with `support` a pretraining.
        input: A scan, or a folder that is searched with its subfolders.
        output: The folder for the masks, or the file of a single scan's mask.
        overwrite: Whether masks that exist are replaced.
        probabilities: Whether the probabilities are written too.
        suffix: What a mask's name adds to its scan's.
        support: Masked scans, by which a pretraining segments without training.
        **settings: Such as `predict__largest_component=True`.

    Returns:
        The folder is `output`. If a scan could not be segmented, `complete` is False.

    Raises:
        InputError: If there is no scan, no network, or no place for the masks.

    >>> from pix2rep_jax import predict
    >>> masks = predict("runs/pix2rep", "SCANS/images", "MASKS")
    network: ...
    2 of 2 masks were written to MASKS
    >>> masks.complete, len(list(masks.folder.glob("*_seg.nii.gz")))
    (True, 2)
    """
    workdir, *others = (
        _find_segmenters(run, settings) if support is None else workdirs(run)
    )
    words = write_command("predict", workdir, settings)
    if support is not None:
        words.append(f"--support={os.fspath(support)}")
    status, _ = run_command(
        "predict",
        workdir,
        words,
        input=os.fspath(input),
        output=os.fspath(output),
        overwrite=overwrite,
        probabilities=probabilities,
        suffix=suffix,
        others=others,
        support=support,
    )
    return Run(workdir, Path(output).expanduser(), complete=status == 0)


def _find_segmenters(
    given: Place | Sequence[Place], settings: Mapping[str, Any]
) -> list[Path]:
    """Lists workdirs, and raises InputError if one of them has no segmenter."""
    found = workdirs(given)
    if not {"init__checkpoint", "init.checkpoint"} & {*settings}:
        with in_function("predict"):
            find_ensemble(found)
    return found
