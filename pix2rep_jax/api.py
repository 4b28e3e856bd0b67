"""The modes as functions, for notebooks and scripts.

Each function does what the command line does: the same checks, the same guesses about
the scans, the same files. A setting has its name of the command line, with `__` for
each dot: `--config.data.num_labeled=3` is `data__num_labeled=3`.
"""

import dataclasses
import importlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from pix2rep_jax.cli.config_file import (
    with_found_config,
    with_quoted_words,
    with_run_config,
)
from pix2rep_jax.cli.parse import read_settings
from pix2rep_jax.cli.prepare import check, prepare
from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.remembered import find_source
from pix2rep_jax.runs.start import find_ensemble, find_network
from pix2rep_jax.runtime.home import expand

__all__ = [
    "Run",
    "evaluate",
    "explore",
    "export",
    "finetune",
    "predict",
    "pretrain",
    "probe",
    "report",
]

_Place = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class Run:
    """What a mode has left on disk; it can be given wherever a run's folder can.

    Attributes:
        workdir: The folder that was given as `out`, with one subfolder per mode.
        folder: The folder of this mode's files.
        scores: Dice of the test patients on the scans' own grids, 0 to 1: the mean over
            their volumes by class, "mean" and "mean_foreground". NaN where no volume
            has the class; empty where nothing was scored.
        complete: False if `predict` has left out a scan that it could not segment.

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


def pretrain(
    data: _Place | None = None,
    *,
    out: _Place | Run,
    size: str | None = None,
    start: _Place | None = None,
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
        start: The pretraining whose weights a new run starts from, by its workdir.
            None starts from random weights.
        resume: Whether a run in `out` goes on; if not, it is refused.
        **settings: Settings by name, with `__` for each dot.

    Returns:
        The run, with its folder `<out>/pretrain`.

    Raises:
        InputError: If the scans or the settings cannot be used, or if `out` holds a run
            with other settings.
        KeyboardInterrupt: If it was interrupted; the state is saved by then.

    >>> import tempfile
    >>> from pix2rep_jax import pretrain
    >>> tiny = {"model__channels": (4, 8), "data__size": 16, "data__crop_px": 16}
    >>> few = {"data__phantom_training": 3, "data__phantom_testing": 1}
    >>> with tempfile.TemporaryDirectory() as out:
    ...     run = pretrain(
    ...         out=out, size="quick", pretrain__num_steps=2, pretrain__num_points=8,
    ...         projection__hidden=(8,), data__cache_dir=out, **tiny, **few,
    ...     )  # doctest: +ELLIPSIS
    ...     run.folder.name, len(run.scores)
    slices ...
    ('pretrain', 0)
    """
    return _train("pretrain", data, out, size, start, resume, settings)


def finetune(
    data: _Place | None = None,
    *,
    out: _Place | Run,
    size: str | None = None,
    start: _Place | None = None,
    resume: bool = True,
    **settings: Any,
) -> Run:
    """Trains backbone and segmentation head on a few labelled patients.

    Args:
        data: As for `pretrain`, like the others.
        out: The workdir, which may be that of the pretraining.
        size: As for `pretrain`.
        start: The pretraining to start from. None takes the one in `out`, and "none"
            random weights.
        resume: As for `pretrain`.
        **settings: Such as `data__num_labeled=3`.

    Returns:
        The run, with its folder `<out>/finetune` and its scores.

    Raises:
        InputError: As `pretrain`, and if there is no pretraining to start from.
        KeyboardInterrupt: As `pretrain`.

    >>> from pix2rep_jax import finetune
    >>> finetune(out="no_such_folder", size="tiny")
    Traceback (most recent call last):
        ...
    pix2rep_jax.errors.InputError: configs/pix2rep.py has no variant 'tiny': ...
    """
    return _train("finetune", data, out, size, start, resume, settings)


def probe(
    data: _Place | None = None,
    *,
    out: _Place | Run,
    size: str | None = None,
    start: _Place | None = None,
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
    >>> probe(out="no_such_folder", size="quick", probe__num_step=2)
    Traceback (most recent call last):
        ...
    pix2rep_jax.errors.InputError: ... has no setting probe.num_step...
    """
    return _train("probe", data, out, size, start, resume, settings)


def evaluate(
    run: _Place | Run | Sequence[_Place | Run],
    *,
    data: _Place | None = None,
    **settings: Any,
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
    >>> evaluate("no_such_folder")
    Traceback (most recent call last):
        ...
    pix2rep_jax.errors.InputError: there is no trained segmenter in ...
    """
    workdir, *others = _find_segmenters(run, settings)
    words = _command("evaluate", workdir, None, data, None, settings)
    _, checkpoint = _run("evaluate", workdir, words, others=others)
    folder = workdir / "evaluate"
    if len(find_ensemble([workdir, *others], checkpoint=checkpoint)) > 1:
        folder /= "ensemble"
    return Run(workdir, folder, _scores(folder))


def predict(
    run: _Place | Run | Sequence[_Place | Run],
    input: _Place,
    output: _Place,
    *,
    overwrite: bool = False,
    probabilities: bool = False,
    suffix: str = "_seg",
    support: _Place | None = None,
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
    >>> predict("no_such_folder", "no_such_scans", "masks")
    Traceback (most recent call last):
        ...
    pix2rep_jax.errors.InputError: there is no trained segmenter in ...
    """
    workdir, *others = (
        _find_segmenters(run, settings) if support is None else _workdirs(run)
    )
    words = _command("predict", workdir, None, None, None, settings)
    status, _ = _run(
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


def export(
    run: _Place | Run,
    out: _Place,
    *,
    format: str = "safetensors",
    overwrite: bool = False,
) -> Path:
    """Writes a network for other programs, and a config.json that says how to use it.

    Args:
        run: A workdir, or what a function that trains returned. A workdir's segmenter
            comes before its pretraining.
        out: The folder.
        format: "safetensors", "onnx", "stablehlo" or "pytorch".
        overwrite: Whether an earlier export in the folder is replaced.

    Returns:
        The network's file.

    Raises:
        InputError: If there is no network, if `out` holds something else, or if a
            package is missing.

    >>> from pix2rep_jax import export
    >>> export("no_such_folder", "exported")
    Traceback (most recent call last):
        ...
    pix2rep_jax.errors.InputError: there is no pretrain run in ...
    """
    from pix2rep_jax.formats.network import load_network  # late: few need it
    from pix2rep_jax.formats.write import write_export

    network, _ = load_network(find_network(os.fspath(run)))
    place = expand(os.fspath(out), "the folder of the export")
    return write_export(network, place, format=format, overwrite=overwrite)


def report(
    run: _Place | Run | Sequence[_Place | Run],
    output: _Place | None = None,
    *,
    overwrite: bool = False,
    anonymise: bool = False,
) -> Path:
    """Writes a page that says whether pretraining has helped.

    Args:
        run: A workdir, or what `finetune` returned. Several are compared.
        output: The HTML file; None is `<workdir>/report/report.html`.
        overwrite: Whether a file is replaced that is not such a page.
        anonymise: Whether numbers stand for the names of patients and folders.

    Returns:
        The file's path.

    Raises:
        InputError: If there is no run, or the file cannot be written.

    >>> from pix2rep_jax import report
    >>> report("no_such_folder")
    Traceback (most recent call last):
        ...
    pix2rep_jax.errors.InputError: there is nothing to report of in ...
    """
    workdir, *others = _workdirs(run)
    words = _command("report", workdir, None, None, None, {})
    given = None if output is None else os.fspath(output)
    options = {"output": given, "overwrite": overwrite, "anonymise": anonymise}
    _run("report", workdir, words, others=others, command=words, **options)
    default = workdir / "report" / "report.html"
    return default if given is None else Path(given).expanduser()


def explore(
    run: _Place | Run,
    scans: _Place,
    out: _Place,
    *,
    overwrite: bool = False,
    embedding: str | None = None,
    anonymise: bool = False,
    **settings: Any,
) -> Path:
    """Makes one HTML page to look into the embeddings of a few scans.

    Args:
        run: A workdir, or what a mode returned. Its segmenter is preferred to its
            pretraining.
        scans: A scan, or a folder that is searched with its subfolders.
        out: The `.html` file.
        overwrite: Whether a file that exists is replaced.
        embedding: "features" or "projection", which only a pretraining has.
        anonymise: Whether the scans' names are left out.
        **settings: Such as `predict__largest_component=True`.

    Returns:
        The page's path.

    Raises:
        InputError: If there is no scan, no run, or no place for the page.

    >>> from pix2rep_jax import explore
    >>> explore("no_such_folder", "no_such_scans", "page.txt")
    Traceback (most recent call last):
        ...
    pix2rep_jax.errors.InputError: --output page.txt is not the name of a page: ...
    """
    (workdir,) = _workdirs(run)
    words = _command("explore", workdir, None, None, None, settings)
    _run(
        "explore",
        workdir,
        words,
        input=os.fspath(scans),
        output=os.fspath(out),
        overwrite=overwrite,
        embedding=embedding,
        anonymise=anonymise,
    )
    return Path(out).expanduser()


def _train(
    mode: str,
    data: _Place | None,
    out: _Place | Run,
    size: str | None,
    start: _Place | None,
    resume: bool,
    settings: Mapping[str, Any],
) -> Run:
    """Runs a mode that trains."""
    (workdir,) = _workdirs(out)
    folder = workdir / mode
    if not resume and (folder / "config.json").exists():
        raise InputError(
            f"{folder} holds a run already: give resume=True to go on with it, or "
            "another folder as out"
        )
    words = _command(mode, workdir, size, data, start, settings)
    _run(mode, workdir, words, command=words)
    return Run(workdir, folder, _scores(folder))


def _find_segmenters(
    given: _Place | Run | Sequence[_Place | Run], settings: Mapping[str, Any]
) -> list[Path]:
    """Lists workdirs, and raises InputError if one of them has no segmenter."""
    workdirs = _workdirs(given)
    if not {"init__checkpoint", "init.checkpoint"} & {*settings}:
        find_ensemble(workdirs)
    return workdirs


def _workdirs(given: _Place | Run | Sequence[_Place | Run]) -> list[Path]:
    """Lists the absolute workdirs of one or several runs, at least one."""
    is_one = isinstance(given, str | os.PathLike)
    listed = [given] if is_one else list(given)  # type: ignore[arg-type]
    if not listed:
        raise InputError("no run is given: name the folder of one")
    places = (each.workdir if isinstance(each, Run) else each for each in listed)
    return [expand(each, "the run's folder") for each in places]  # type: ignore[arg-type]


def _command(
    mode: str,
    workdir: Path,
    size: str | None,
    data: _Place | None,
    start: _Place | None,
    settings: Mapping[str, Any],
) -> list[str]:
    """Writes the command line that does the same, program first."""
    words = ["pix2rep"]
    if size is None and find_source(workdir, mode) is None:
        size = "small"
    if size is not None:
        words.append(f"--config=configs/pix2rep.py:{size}")
    words += [f"--mode={mode}", f"--workdir={workdir}"]
    given = {name.replace("__", "."): value for name, value in settings.items()}
    for name, place in (("data.root", data), ("init.checkpoint", start)):
        if place is None:
            continue
        if name in given:
            raise InputError(f"{name} is given twice: leave one of both out")
        given[name] = os.fspath(place)
    return words + [f"--config.{name}={_word(x)}" for name, x in given.items()]


def _word(value: Any) -> str:
    """Writes a value as a command line has it."""
    if isinstance(value, list | tuple):
        return repr(tuple(value))
    return str(value)


def _run(mode: str, workdir: Path, words: list[str], **options: Any) -> tuple[int, str]:
    """Does what the command line does with these words.

    Returns:
        The mode's exit code, and the setting `init.checkpoint`.
    """
    full = with_quoted_words(with_run_config(with_found_config(words)))
    config = read_settings(full)
    check(config, {name: options.get(name) for name in ("input", "output", "support")})
    prepare(config, workdir, mode, command=words)
    module = importlib.import_module(f"pix2rep_jax.modes.{mode}")
    said = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # Orbax tells every file it writes
    try:
        status = module.run(config, workdir, **options) or 0
    except SystemExit as end:  # a signal: in a notebook the cell was interrupted
        raise KeyboardInterrupt(f"{mode} was stopped; it is saved") from end
    finally:
        logging.set_verbosity(said)
    return status, config.init.checkpoint


def _scores(folder: Path) -> dict[str, float]:
    """Reads the Dice of evaluation.json; nothing where nothing was scored."""
    path = folder / "evaluation.json"
    if not path.is_file():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))["dice"]
    return {name: math.nan if x is None else x for name, x in found.items()}
