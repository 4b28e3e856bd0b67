"""Functions that show what a run has learned, and carry it elsewhere."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pix2rep_jax.api.command import run_command, write_command
from pix2rep_jax.api.run import Place, Run, network_folder, workdirs
from pix2rep_jax.runs.start import find_network
from pix2rep_jax.runtime.home import expand
from pix2rep_jax.wording import in_function

__all__ = ["embed", "explore", "export", "report"]

_LOG = logging.getLogger(__name__)


def embed(
    run: Place,
    scans: Place,
    out: Place,
    *,
    overwrite: bool = False,
    embedding: str = "features",
    grid: str | None = None,
    format: str = "npz",
    anonymise: bool = False,
    **settings: Any,
) -> Run:
    """Writes the embedding of every scan of a file or folder.

    `pix2rep_jax.api` explains the arguments that functions share.

    Args:
        run: A workdir, whose segmenter is preferred to its pretraining; or what a
            function that trains returned.
        out: The folder for the files.
        embedding: "features", or "projection": what the pretraining compares, and
            only a pretraining has.
        grid: The pixels of an npz, "network" (default) or "scan".
        format: "npz", "nifti" with the channels last, or "rgb" with three principal
            components as colours.

    Returns:
        The folder is `out`. If a scan could not be embedded, `complete` is False.

    Raises:
        InputError: If there is no scan, no run, or no place for the files.

    >>> from pix2rep_jax import embed
    >>> import numpy as np
    >>> embedded = embed("runs/pix2rep", "SCANS/images", "EMBEDDED")
    features of the network in ...
    >>> first = min(embedded.folder.iterdir())
    >>> np.load(first)["embedding"].shape  # slices, rows, columns, features
    (11, 32, 32, 6)
    """
    (workdir,), folder = workdirs(run), network_folder(run)
    words = write_command("embed", folder, settings)
    status, _ = run_command(
        "embed",
        folder,
        words,
        input=os.fspath(scans),
        output=os.fspath(out),
        overwrite=overwrite,
        embedding=embedding,
        grid=grid,
        format=format,
        anonymise=anonymise,
    )
    return Run(workdir, Path(out).expanduser(), complete=status == 0)


def explore(
    run: Place,
    scans: Place,
    out: Place,
    *,
    overwrite: bool = False,
    embedding: str | None = None,
    anonymise: bool = False,
    **settings: Any,
) -> Path:
    """Makes one HTML page to look into the embeddings of a few scans.

    `pix2rep_jax.api` explains the arguments that functions share.

    Args:
        run: A workdir, whose segmenter is preferred to its pretraining; or what a
            function that trains returned.
        out: The `.html` file.
        embedding: "features" or "projection", which only a pretraining has.
        **settings: Such as `predict__largest_component=True`.

    Returns:
        The page's path.

    Raises:
        InputError: If there is no scan, no run, or no place for the page.

    >>> from pix2rep_jax import explore
    >>> page = explore("runs/pix2rep", "SCANS/images", "page.html")
    features of the network in ...
    >>> page.read_text("utf-8")[:15]
    '<!DOCTYPE html>'
    """
    folder = network_folder(run)
    words = write_command("explore", folder, settings)
    run_command(
        "explore",
        folder,
        words,
        input=os.fspath(scans),
        output=os.fspath(out),
        overwrite=overwrite,
        embedding=embedding,
        anonymise=anonymise,
    )
    return Path(out).expanduser()


def export(
    run: Place, out: Place, *, format: str = "safetensors", overwrite: bool = False
) -> Path:
    """Writes a network for other programs, and a config.json that says how to use it.

    Args:
        run: As for `explore`.
        out: The folder.
        format: "safetensors", "onnx", "stablehlo" or "pytorch".
        overwrite: Whether an earlier export in the folder is replaced.

    Returns:
        The network's file.

    Raises:
        InputError: If there is no network, if `out` holds something else, or if a
            package is missing.

    >>> from pix2rep_jax import export
    >>> export("runs/pix2rep", "EXPORT", format="stablehlo").name
    'segmenter.stablehlo'
    """
    from pix2rep_jax.formats.network import load_network  # late: few need it
    from pix2rep_jax.formats.write import check_format, write_export

    with in_function("export"):
        check_format(format)
        network, note = load_network(find_network(network_folder(run)))
        if note:
            _LOG.warning(note)
        place = expand(os.fspath(out), "--output")
        return write_export(network, place, format=format, overwrite=overwrite)


def report(
    run: Place | Sequence[Place],
    out: Place | None = None,
    *,
    overwrite: bool = False,
    anonymise: bool = False,
) -> Path:
    """Writes a page that says whether pretraining has helped.

    Args:
        run: A workdir, or what `finetune` returned. Several are compared.
        out: The HTML file; None is `<workdir>/report/report.html`.
        overwrite: Whether a file is replaced that is not such a page.
        anonymise: As in `pix2rep_jax.api`, and for the names of folders.

    Returns:
        The file's path.

    Raises:
        InputError: If there is no run, or the file cannot be written.

    >>> from pix2rep_jax import report
    >>> report("runs/pix2rep", "report.html").name
    the report is in report.html
    'report.html'
    """
    workdir, *others = workdirs(run)
    words = write_command("report", workdir, {})
    given = None if out is None else os.fspath(out)
    options = {"output": given, "overwrite": overwrite, "anonymise": anonymise}
    run_command("report", workdir, words, others=others, command=words, **options)
    default = workdir / "report" / "report.html"
    return default if given is None else Path(given).expanduser()
