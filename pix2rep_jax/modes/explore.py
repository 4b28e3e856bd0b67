"""--mode explore: one HTML file to look into the embeddings of a few scans."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from pix2rep_jax.data.fault import Fault
from pix2rep_jax.data.files.scan import Scan
from pix2rep_jax.data.scan_notes import count_notes
from pix2rep_jax.errors import InputError
from pix2rep_jax.explorer.explored_scan import ExploredScan, explore_scan
from pix2rep_jax.explorer.page import write_page
from pix2rep_jax.explorer.reduced_vectors import reduce_vectors
from pix2rep_jax.inference.anonymous_scan import ANONYMOUS_NOTE, anonymous_names
from pix2rep_jax.inference.backbone import Backbone
from pix2rep_jax.inference.postprocess import read_options
from pix2rep_jax.inference.scan_files import join_channels
from pix2rep_jax.inference.scan_masks import find_masks, name_classes, read_scan_mask
from pix2rep_jax.inference.segmenter import Segmenter
from pix2rep_jax.modes.scan_backbone import is_segmenter, load_backbone
from pix2rep_jax.modes.scan_places import PAGE, find_places
from pix2rep_jax.modes.skipped_scans import describe_alike, skip
from pix2rep_jax.runs.manifest import make_folder, read_config
from pix2rep_jax.runtime.progress_bar import open_progress_bar
from pix2rep_jax.wording import count, for_caller

__all__ = ["run"]

MOST = 12
"""Scans in a page. Of more, so many are taken evenly."""


def run(
    config: ConfigDict,
    workdir: str | Path,
    *,
    input: str | Path | None,
    output: str | Path | None,
    overwrite: bool = False,
    embedding: str | None = None,
    anonymise: bool = False,
) -> int:
    """Writes a page that shows which pixels of some scans a network finds alike.

    Args:
        config: Its `init.checkpoint` names the run to use if the workdir has none.
        workdir: A run's folder. If it has a segmenter, the page shows the features of
            its backbone and its predictions; else those of the pretraining.
        input: A scan, or a folder that is searched with all its subfolders. Masks
            beside the scans are shown too.
        output: The `.html` file.
        overwrite: Whether a file that exists is replaced.
        embedding: "features" or "projection", which only a pretraining has. None takes
            the latter of a pretraining if it has one.
        anonymise: Whether scans are called `scan-001` and so on.

    Returns:
        The exit code: 0, or 1 if a scan could not be used.

    Raises:
        InputError: If there is no scan, no run, or no place for the file.
    """
    places = find_places(input, output, mode="explore", writes=PAGE)
    input, output, found = places
    if output.exists() and not overwrite:
        raise InputError(f"{output} exists: add --overwrite to replace it")
    folder, backbone, segmenter = load(config, workdir, embedding)
    cases = join_channels(found.scans, backbone.inputs.files)
    if len(cases) > MOST:
        note = (
            f"note: {len(cases)} scans were found, and the page shows {MOST} of them, "
            "evenly chosen: name others by --input"
        )
        print(for_caller(note), file=sys.stderr)
        chosen = np.linspace(0, len(cases) - 1, MOST).round().astype(int)
        cases = [cases[index] for index in chosen]
    names = [case.name for case in cases]
    if anonymise:
        names = anonymous_names(len(cases))
        print(ANONYMOUS_NOTE, file=sys.stderr)
    masks = Masks(folder, [case.path for case in cases], input, segmenter)
    make_folder(output.parent, option="--output")
    scans: list[ExploredScan] = []
    faults: list[Fault] = []
    notes = []
    with open_progress_bar(len(cases), description="explore", unit="scan") as bar:
        for case, name in zip(cases, names, strict=True):
            try:
                scan = backbone.read(case.path)
                labels = masks.read(case.path, scan)
                scans.append(
                    explore_scan(
                        backbone,
                        scan,
                        name=name,
                        share=1 / len(cases),
                        labels=labels,
                        segmenter=segmenter,
                    )
                )
                notes.append((str(case.path), scan.notes))
            except Exception as error:  # one bad file must not cost the others
                skip(error, case.path, faults)
            bar.update()
    if not scans:
        raise InputError(f"none of the scans in {input} can be shown: see above")
    for sentence in (*describe_alike(faults), *count_notes(notes)):
        print(sentence, file=sys.stderr)
    reduced = reduce_vectors([scan.embeddings for scan in scans])
    write_page(
        output,
        scans,
        reduced,
        title="What the network finds alike",
        about=describe(backbone, segmenter),
        classes=masks.classes,
        notes=[ANONYMOUS_NOTE.removeprefix("note: ")] if anonymise else [],
    )
    size = output.stat().st_size / 1e6
    print(
        f"{output} shows {count(len(scans), 'scan')} in {size:.1f} MB, with embeddings "
        f"of {count(reduced.axes, 'value')} of 8 bits. By that, 99 % of the "
        f"similarities are off by at most {reduced.error:.3f}, and the worst of those "
        f"compared by {reduced.largest_error:.3f}. Open it in a browser"
    )
    return places.status(faults)


def load(
    config: ConfigDict, workdir: str | Path, embedding: str | None
) -> tuple[Path, Backbone, Segmenter | None]:
    """Loads the network to look into.

    Args:
        config: As for `run`, like the others.
        workdir: A segmenter in it is preferred to its pretraining.
        embedding: "projection" takes the pretraining all the same.

    Returns:
        The folder of the run, its backbone, and its segmenter if it has one.

    Raises:
        InputError: If there is no run.
    """
    folder, backbone = load_backbone(config, workdir, embedding)
    if not is_segmenter(folder):
        return folder, backbone, None
    options = read_options(config)
    segmenter = Segmenter.load(folder, **options, keep=config.segmentation.keep)
    return folder, backbone, segmenter


def describe(backbone: Backbone, segmenter: Segmenter | None) -> str:
    """Says in one sentence what the page compares. No name of a run stands in it."""
    kind = "a segmenter" if segmenter else "a pretraining without labels"
    what = "features" if backbone.embedding == "features" else "projected embeddings"
    seen = backbone.preparation.describe(backbone.inputs.channels)
    return f"Cosine similarity of the {what} of {kind}, which sees {seen}."


class Masks:
    """The experts' masks of the scans, where there are any.

    Attributes:
        classes: Names of the classes of masks and predictions, background first.
    """

    def __init__(
        self,
        run: Path,
        scans: Sequence[Path],
        input: Path,
        segmenter: Segmenter | None,
    ) -> None:
        data = read_config(run)["data"]
        self._ignore = tuple(data.get("ignore", ()))
        self._paths = find_masks(scans, input)
        self._values: tuple[int, ...] = ()
        self.classes = tuple(data["classes"])
        try:
            if self._paths:
                found = name_classes([*self._paths.values()], data)
                self.classes, self._values = found
        except InputError as error:
            self._leave_out(error)
        if segmenter is not None and self.classes != segmenter.classes:
            self._leave_out("they have other classes than the network")
            self.classes = segmenter.classes

    def read(self, path: Path, scan: Scan) -> np.ndarray | None:
        """Reads the mask of a scan; None if there is none that can be used."""
        mask = self._paths.get(path)
        if mask is None:
            return None
        try:
            return read_scan_mask(mask, scan, self._values, ignore=self._ignore)
        except InputError as error:
            tqdm.write(f"note: left out a mask: {error}", file=sys.stderr)
            return None

    def _leave_out(self, reason: object) -> None:
        """Takes no mask, and says why."""
        print(f"note: the masks are left out: {reason}", file=sys.stderr)
        self._paths = {}
