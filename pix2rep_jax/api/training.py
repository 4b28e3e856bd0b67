"""Functions that train."""

from collections.abc import Mapping
from typing import Any

from pix2rep_jax.api.command import read_scores, run_command, write_command
from pix2rep_jax.api.run import Place, Run, workdirs
from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.remembered import find_source

__all__ = ["finetune", "pretrain", "probe"]


def pretrain(
    data: Place | None = None,
    *,
    out: Place,
    size: str | None = None,
    start: Place | None = None,
    resume: bool = True,
    **settings: Any,
) -> Run:
    """Learns from scans without labels.

    If `out` holds a pretraining already, it goes on from its last checkpoint. That is
    another thing than `start`, which gives a new run the weights of another one.

    Args:
        data: The folder of the scans. None takes those of the run in `out`, or of
            `size`.
        out: The run's workdir.
        size: "quick" (the built-in phantom), "small", "medium" or "paper". None keeps
            the settings of the run in `out`; a new run is "small".
        start: The pretraining whose weights a new run starts from: its workdir, or a
            file of weights. None starts from random weights.
        resume: Whether a run in `out` goes on; if not, it is refused.
        **settings: Settings by name, with `__` for each dot.

    Returns:
        The run, with its folder `<out>/pretrain`.

    Raises:
        InputError: If the scans or the settings cannot be used, or if `out` holds a run
            with other settings.
        KeyboardInterrupt: If it was interrupted; the state is saved by then.

    >>> from pix2rep_jax import pretrain
    >>> run = pretrain(out="runs/pix2rep")  # goes on, or has nothing left to do
    slices along axis 2...
    pretrain: finished already at step 24 of 24...
    >>> run.folder.name, len(run.scores)
    ('pretrain', 0)
    """
    return _train("pretrain", data, out, size, start, resume, settings)


def finetune(
    data: Place | None = None,
    *,
    out: Place,
    size: str | None = None,
    start: Place | None = None,
    resume: bool = True,
    **settings: Any,
) -> Run:
    """Trains backbone and segmentation head on a few labelled patients.

    The other arguments are those of `pretrain`.

    Args:
        out: The workdir, which may be that of the pretraining.
        start: The pretraining to start from, or a fine-tuning that goes on with other
            masks. None takes the pretraining in `out`, and "none" random weights.
        **settings: Such as `data__num_labeled=3`, or `finetune__compare_scratch=True`
            to train from random weights too.

    Returns:
        The run, with its folder `<out>/finetune` and its scores.

    Raises:
        InputError: As `pretrain`, and if there is no pretraining to start from.
        KeyboardInterrupt: As `pretrain`.

    >>> from pix2rep_jax import finetune
    >>> run = finetune(out="runs/pix2rep")
    slices along axis 2...
    >>> list(run.scores)
    ['LV', 'RV', 'MYO', 'BG', 'mean', 'mean_foreground']
    """
    return _train("finetune", data, out, size, start, resume, settings)


def probe(
    data: Place | None = None,
    *,
    out: Place,
    size: str | None = None,
    start: Place | None = None,
    resume: bool = True,
    **settings: Any,
) -> Run:
    """Trains a linear segmentation head on the frozen backbone.

    The arguments are those of `finetune`, but random weights are refused.

    Returns:
        The run, with its folder `<out>/probe` and its scores.

    Raises:
        InputError: As `finetune`.
        KeyboardInterrupt: As `pretrain`.

    >>> from pix2rep_jax import probe
    >>> run = probe(out="runs/pix2rep")
    slices along axis 2...
    >>> 0 <= run.scores["mean_foreground"] <= 1
    True
    >>> probe(out="runs/pix2rep", probe__num_step=2)
    Traceback (most recent call last):
        ...
    pix2rep_jax.errors.InputError: ...: did you mean 'probe__num_steps'?
    """
    return _train("probe", data, out, size, start, resume, settings)


def _train(
    mode: str,
    data: Place | None,
    out: Place,
    size: str | None,
    start: Place | None,
    resume: bool,
    settings: Mapping[str, Any],
) -> Run:
    """Runs a mode that trains."""
    (workdir,) = workdirs(out)
    folder = workdir / mode
    if not resume and (folder / "config.json").exists():
        raise InputError(
            f"{folder} holds a run already: give resume=True to go on with it, or "
            "another folder as out"
        )
    named = {name.replace("__", ".") for name in settings}
    open_data = data is size is None and not {"data.root", "data.name"} & named
    if open_data and find_source(workdir, mode) is None:
        raise InputError(
            f"{workdir} does not hold a run to take the scans from: correct 'out', or "
            "add data=FOLDER for a new run"
        )
    words = write_command(mode, workdir, settings, size=size, data=data, start=start)
    run_command(mode, workdir, words, command=words)
    return Run(workdir, folder, read_scores(folder))
