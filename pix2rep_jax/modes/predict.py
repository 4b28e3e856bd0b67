"""--mode predict: the mask of every scan, on the scan's own grid."""

import contextlib
import dataclasses
import functools
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pix2rep_jax.data.fault import Fault
from pix2rep_jax.data.files.picture_file import is_picture
from pix2rep_jax.data.layout.class_values import describe_values, find_class_values
from pix2rep_jax.data.scan_notes import count_notes
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.found_scans import describe_written
from pix2rep_jax.inference.mask_volumes import Row
from pix2rep_jax.inference.postprocess import pieces_of, read_options
from pix2rep_jax.inference.scan_files import (
    SUFFIX,
    channels_note,
    join_channels,
    pair_with_masks,
    probabilities_path,
)
from pix2rep_jax.inference.segmenter import Segmenter
from pix2rep_jax.inference.support_scans import SETTINGS
from pix2rep_jax.inference.volume_table import write_tables
from pix2rep_jax.inference.write_masks import write_masks
from pix2rep_jax.modes.scan_places import MASKS, find_places
from pix2rep_jax.modes.skipped_scans import describe_alike, skip
from pix2rep_jax.runs.kept_checkpoint import describe_networks
from pix2rep_jax.runs.manifest import make_folder, read_config
from pix2rep_jax.runs.start import find_ensemble, find_pretraining
from pix2rep_jax.runtime.config_checks import plain
from pix2rep_jax.runtime.progress_bar import open_progress_bar
from pix2rep_jax.wording import for_caller

__all__ = ["run"]


def run(
    config: ConfigDict,
    workdir: str | Path,
    *,
    input: str | Path | None,
    output: str | Path | None,
    overwrite: bool = False,
    probabilities: bool = False,
    suffix: str = SUFFIX,
    others: Sequence[str | Path] = (),
    support: str | Path | None = None,
) -> int:
    """Writes the mask of every scan of a file or folder.

    A scan whose mask exists is passed over, so that the same command goes on where it
    was stopped. A scan that cannot be segmented is reported and left out. The last line
    counts what was written and what was left out.

    Args:
        config: Its `init.checkpoint` names the run to use if the workdir has none. Its
            section `predict` has the options.
        workdir: The run's folder; fine-tuning is preferred to probing. The folder of a
            cross-validation gives the mean of its networks.
        input: A scan, or a folder that is searched with all its subfolders.
        output: The folder for the masks, `NAME_seg.nii.gz` in the subfolders that the
            input has (`NAME_seg.png` for a picture). It gets `labels.json` and
            `volumes.csv` too. For a single scan also the mask's own name.
        overwrite: Whether a mask that exists is replaced.
        probabilities: Whether `NAME_probabilities.nii.gz` is written as well.
        suffix: What stands in place of `_seg`.
        others: Further workdirs, whose networks are averaged with the first one's.
        support: Masked scans by which a pretraining segments without training, as for
            `Segmenter.from_support`.

    Returns:
        The exit code: 0, or 1 if a scan could not be segmented.

    Raises:
        InputError: If there is no scan, no network, or no place for the masks.
    """
    places = find_places(input, output, mode="predict", writes=MASKS)
    input, output, found = places
    if support is not None:
        segmenter = load_from_support(config, workdir, support, others=others)
    else:
        runs = find_ensemble([workdir, *others], checkpoint=config.init.checkpoint)
        keep = config.segmentation.keep
        segmenter = Segmenter.load(runs, **read_options(config), keep=keep)
        print(describe_networks(runs, keep))
    if note := channels_note(found.scans, segmenter.inputs.files):
        print(for_caller(note), file=sys.stderr)
    scans = join_channels(found.scans, segmenter.inputs.files, suffix=suffix)
    pairs = pair_with_masks(
        scans, input=input, output=output, suffix=suffix, files=found.scans
    )
    is_file = [target for _, target in pairs] == [output]
    make_folder(output.parent if is_file else output, option="--output")
    beside = functools.partial(probabilities_path, suffix=suffix)

    def is_left(target: Path) -> bool:
        targets = [target, beside(target)] if probabilities else [target]
        return overwrite or not all(map(os.path.exists, targets))  # names may be long

    left = [pair for pair in pairs if is_left(pair[1])]
    faults: list[Fault] = []
    notes = []
    measured: dict[Path, tuple[Row, ...]] = {}
    written = 0
    masks = write_masks(
        segmenter,
        left,
        overwrite=overwrite,
        probabilities_path=beside if probabilities else None,
    )
    with (
        contextlib.closing(masks),
        open_progress_bar(len(left), description="predict", unit="scan") as bar,
    ):
        for outcome in masks:
            bar.update()
            if outcome.error is None:
                notes.append((str(outcome.scan), outcome.notes))
                measured[outcome.target] = outcome.rows
                written += bool(outcome.rows or probabilities)
            else:
                skip(outcome.error, outcome.scan, faults)
    for sentence in (*describe_alike(faults), *count_notes(notes)):
        print(sentence, file=sys.stderr)
    if not is_file:
        for sentence in write_tables(
            output,
            pairs,
            measured,
            classes=segmenter.classes,
            values=segmenter.inputs.label_values,
            suffix=suffix,
            replace=overwrite and output.resolve() != input.resolve(),
        ):
            print(sentence, file=sys.stderr)
    values = segmenter.inputs.label_values
    if values and any(is_picture(scan) for scan, _ in pairs):
        print(list_labels(segmenter.classes, values))
    elif support is not None:
        print(list_labels(segmenter.classes, range(len(segmenter.classes))))
    else:
        print(describe_labels(segmenter.classes, read_config(runs[0])["data"]))
    print(
        describe_written(
            found,
            output,
            number=len(pairs),
            left=written + len(faults),
            failures=len(faults),
            things="masks",
            done="segmented",
        )
    )
    return places.status(faults)


def load_from_support(
    config: ConfigDict,
    workdir: str | Path,
    support: str | Path,
    *,
    others: Sequence[str | Path] = (),
) -> Segmenter:
    """Makes the segmenter of `--support`.

    Args:
        config: Its section `context` has the options. What it says of masks and scans
            counts where that is not the pretraining's (`data.classes`,
            `data.label_values`, and `support_scans.SETTINGS`).
            `predict.largest_component=True` counts too.
        workdir: The run's folder.
        support: The masked scans.
        others: Further workdirs, which cannot be used.

    Raises:
        InputError: If there is no pretraining, or more than one, or if the support
            cannot be used.
    """
    if others:
        raise InputError(
            "--support takes one pretraining, and --workdir names several: name one"
        )
    run = find_pretraining(workdir, checkpoint=config.init.checkpoint)
    before, data = read_config(run)["data"], config.data
    told = [
        name
        for name in ("classes", "label_values")
        if tuple(data[name]) != tuple(before[name])
    ]
    own = {
        name: data[name]
        for name in SETTINGS
        if data.get(name, "auto") not in ((), "auto")  # what leaves it to the run
        and plain(data[name]) != before.get(name)
    }
    segmenter = Segmenter.from_support(
        run,
        support,
        classes=tuple(data.classes) if told else (),
        label_values=tuple(data.label_values) if told else (),
        data=own,
        **config.get("context", ConfigDict()).to_dict(),
    )
    print(f"in-context segmentation by {run} and the masks in {support}")
    options = read_options(config)
    if options["mirror"] is True:
        note = "note: --support does not mirror, so predict.mirror changes nothing"
        print(for_caller(note), file=sys.stderr)
    pieces = pieces_of(segmenter.classes, options["largest_component"])
    return dataclasses.replace(segmenter, pieces=pieces)


def describe_labels(classes: Sequence[str], data: Mapping[str, Any]) -> str:
    """Names the values of the masks, and those of the experts' masks if they differ.

    Args:
        classes: Names of the classes in the order of the values.
        data: The `data` section of the network's run.
    """
    line = list_labels(classes, range(len(classes)))
    try:
        values = find_class_values(ConfigDict(data))
    except InputError:  # its scans may have been moved or changed since
        return line
    if values == tuple(range(len(classes))):
        return line
    return f"{line} (in the experts' masks: {describe_values(classes, values)})"


def list_labels(classes: Sequence[str], values: Sequence[int]) -> str:
    """Names the values in the masks, such as "labels: 0 BG, 1 RV".

    A class that is called after its value is named once.

    >>> list_labels(["background", "1", "LV"], [0, 1, 2])
    'labels: 0 background, 1, 2 LV'
    """
    pairs = zip(map(str, values), classes, strict=True)
    named = (name if name == value else f"{value} {name}" for value, name in pairs)
    return "labels: " + ", ".join(named)
