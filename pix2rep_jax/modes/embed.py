"""--mode embed: the embedding of every scan, for other programs and for viewers."""

import os
import sys
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data.fault import Fault
from pix2rep_jax.data.scan_notes import count_notes
from pix2rep_jax.errors import InputError, check_choice
from pix2rep_jax.inference.anonymous_scan import (
    ANONYMOUS_NOTE,
    anonymous_names,
    without_names,
)
from pix2rep_jax.inference.backbone import GRIDS, Backbone
from pix2rep_jax.inference.found_scans import FoundScans, describe_written
from pix2rep_jax.inference.principal_components import Colours, find_colours
from pix2rep_jax.inference.scan_files import (
    case_name,
    join_channels,
    pair_with_masks,
)
from pix2rep_jax.inference.write_embeddings import (
    FORMATS,
    sample_pixels,
    write_embedding,
)
from pix2rep_jax.modes.scan_backbone import load_backbone
from pix2rep_jax.modes.scan_places import EMBEDDINGS, find_places
from pix2rep_jax.modes.skipped_scans import describe_alike, explain, skip
from pix2rep_jax.runs.manifest import make_folder
from pix2rep_jax.runtime.progress_bar import open_progress_bar

__all__ = ["run"]

_COLOURED = 16
"""Scans, evenly among all, whose pixels decide the colours."""


def run(
    config: ConfigDict,
    workdir: str | Path,
    *,
    input: str | Path | None,
    output: str | Path | None,
    overwrite: bool = False,
    embedding: str | None = None,
    grid: str | None = None,
    format: str | None = None,
    anonymise: bool = False,
) -> int:
    """Writes the embedding of every scan of a file or folder.

    A scan whose file exists is passed over. A scan that cannot be embedded is reported
    and left out. The last line counts what was written and what was left out.

    Args:
        config: Its `init.checkpoint` names the run to use if the workdir has none.
        workdir: A run's folder. The features are those of its fine-tuning, or else of
            its probe, or else of its pretraining.
        input: A scan, or a folder that is searched with all its subfolders.
        output: The folder for the files, in the subfolders that the input has:
            `NAME_embedding.npz`, `NAME_embedding.nii.gz` or `NAME_rgb.nii.gz`.
        overwrite: Whether a file that exists is replaced.
        embedding: "features", which None stands for, or the "projection" of the
            pretraining.
        grid: The pixels of an npz, "network" or "scan"; None is the former. NIfTI has
            the scan's.
        format: "npz" (default) has float16 `embedding` `[slices, rows, columns, d]`,
            and where its pixels lie: `origin_px` and `step_px`, in pixels of the slice,
            and `spacing_mm`. "nifti" has the channels last. "rgb" has the first three
            principal components of some pixels of all scans as colours.
        anonymise: Whether files are named `scan-001` and so on, in the order of the
            scans' names, and NIfTI headers have nothing but affine and shape.

    Returns:
        The exit code: 0, or 1 if a scan could not be embedded.

    Raises:
        InputError: If there is no scan, no run, or no place for the files. Also
            if `anonymise` would number scans anew beside files that are there.
    """
    format = format or "npz"
    check_choice("--format", format, tuple(FORMATS))
    check_choice("--grid", grid or "network", GRIDS)
    if format != "npz" and grid == "network":
        raise InputError(
            f"--format={format} has the scan's own pixels: leave out --grid=network, "
            "or choose --format=npz"
        )
    places = find_places(input, output, mode="embed", writes=EMBEDDINGS)
    input, output, found = places
    _, backbone = load_backbone(config, workdir, embedding or "features")
    pairs = list_targets(found, backbone.inputs.files, input, output, FORMATS[format])
    if anonymise:
        pairs = number_targets(pairs, output, FORMATS[format], overwrite=overwrite)
        print(ANONYMOUS_NOTE, file=sys.stderr)
    make_folder(output, option="--output")
    left = [pair for pair in pairs if overwrite or not os.path.exists(pair[1])]
    colours = None
    if format == "rgb" and left:
        colours = choose_colours(backbone, [scan for scan, _ in pairs])
    faults: list[Fault] = []
    notes = []
    with open_progress_bar(len(left), description="embed", unit="scan") as bar:
        for path, target in left:
            try:
                scan = backbone.read(path)
                if anonymise:
                    scan = without_names(scan, target.name)
                target.parent.mkdir(parents=True, exist_ok=True)
                write_embedding(
                    target,
                    backbone,
                    scan,
                    format=format,
                    grid=grid or "network",
                    colours=colours,
                )
                notes.append((str(path), scan.notes))
            except Exception as error:  # one bad file must not cost the next its own
                skip(error, path, faults)
            bar.update()
    for sentence in (*describe_alike(faults), *count_notes(notes)):
        print(sentence, file=sys.stderr)
    print(
        describe_written(
            found,
            output,
            number=len(pairs),
            left=len(left),
            failures=len(faults),
            things="embeddings",
            done="embedded",
        )
    )
    return places.status(faults)


def list_targets(
    found: FoundScans, files: int, input: Path, output: Path, ending: str
) -> list[tuple[Path, Path]]:
    """Pairs each scan with the file of its embedding.

    Args:
        found: The scans.
        files: How many files a case has.
        input: Where they were found.
        output: The folder for the embeddings.
        ending: The end of a file's name, from `FORMATS`.

    Raises:
        InputError: If two scans have one target.
    """
    suffix = ending.partition(".")[0]
    pairs = pair_with_masks(
        join_channels(found.scans, files),
        input=input,
        output=output,
        suffix=suffix,
        files=found.scans,
    )
    return [
        (scan, target.with_name(case_name(target, suffix=suffix) + ending))
        for scan, target in pairs
    ]


def number_targets(
    pairs: list[tuple[Path, Path]], output: Path, ending: str, *, overwrite: bool
) -> list[tuple[Path, Path]]:
    """Replaces the names of the files by numbers.

    Args:
        pairs: From `list_targets`.
        output: The folder for the embeddings.
        ending: As for `list_targets`.
        overwrite: Whether files that exist are replaced.

    Raises:
        InputError: If a file exists and is to be kept. Its number may be that of
            another scan, if scans have come or gone since.
    """
    names = anonymous_names(len(pairs))
    numbered = [
        (scan, output / f"{name}{ending}")
        for (scan, _), name in zip(pairs, names, strict=True)
    ]
    present = [target for _, target in numbered if target.exists()]
    if present and not overwrite:
        raise InputError(
            f"{present[0]} exists, and its number may stand for another scan: name "
            "another --output, or add --overwrite"
        )
    return numbered


def choose_colours(backbone: Backbone, scans: list[Path]) -> Colours:
    """Finds colours that mean the same in all scans.

    They depend on the whole folder, so that a second command paints alike.

    Raises:
        InputError: If none of the scans that were chosen can be read.
    """
    places = np.linspace(0, len(scans) - 1, min(_COLOURED, len(scans))).round()
    chosen = [scans[int(place)] for place in places]
    samples = []
    with open_progress_bar(
        len(chosen), description="choose colours", unit="scan", delay_s=5
    ) as bar:
        for path in chosen:
            try:
                samples.append(sample_pixels(backbone, backbone.read(path)))
            except Exception as error:  # it is reported when its turn comes
                refused = explain(error, path)
            bar.update()
    if not samples:
        raise InputError(
            f"no scan can give the colours; for example {chosen[-1]}: {refused}"
        )
    return find_colours(samples)
