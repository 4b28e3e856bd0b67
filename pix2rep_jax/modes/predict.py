"""--mode predict: the mask of every scan, on the scan's own grid."""

import sys
from pathlib import Path

from ml_collections import ConfigDict
from tqdm import tqdm

from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.scan_files import (
    find_scans,
    pair_with_masks,
    write_prediction,
)
from pix2rep_jax.inference.segmenter import Segmenter
from pix2rep_jax.runs.manifest import make_folder
from pix2rep_jax.runs.start import find_segmenters

__all__ = ["run"]


def run(
    config: ConfigDict,
    workdir: str | Path,
    *,
    input: str | Path | None,
    output: str | Path | None,
    overwrite: bool = False,
) -> int:
    """Writes the mask of every scan of a file or folder.

    A scan whose mask exists is passed over, so that the same command goes on where it
    was stopped. A scan that cannot be segmented is reported and left out.

    Args:
        config: Its `init.checkpoint` names the run to use if the workdir has none.
        workdir: The run's folder; fine-tuning is preferred to probing.
        input: A NIfTI file, or a folder that is searched with all its subfolders.
        output: The folder for the masks, `NAME_seg.nii.gz` in the subfolders that the
            input has. For a single scan also the mask's own name.
        overwrite: Whether a mask that exists is replaced.

    Returns:
        The exit code: 0, or 1 if a scan was left out.

    Raises:
        InputError: If there is no scan, no network, or no place for the masks.
    """
    if not input or not output:
        raise InputError(
            "predict needs a scan or a folder of scans and a folder for the masks: add "
            "--input PATH --output FOLDER"
        )
    input, output = Path(input).expanduser(), Path(output).expanduser()
    pairs = pair_with_masks(find_scans(input), input=input, output=output)
    runs = find_segmenters(workdir, checkpoint=config.init.checkpoint)
    segmenter = Segmenter.load(runs[0])
    is_file = [target for _, target in pairs] == [output]
    make_folder(output.parent if is_file else output, option="--output")
    left = [pair for pair in pairs if overwrite or not pair[1].exists()]
    bar = tqdm(
        left,
        desc="predict",
        unit="scan",
        file=sys.stderr,
        mininterval=1.0,
        disable=not left,
    )
    failures = 0
    for scan, target in bar:
        try:
            write_prediction(segmenter, scan, target, overwrite=overwrite)
        except (InputError, OSError) as error:
            failures += 1
            tqdm.write(f"skipped {scan}: {error}", file=sys.stderr)
    line = f"{len(left) - failures} of {len(pairs)} masks were written to {output}"
    if present := len(pairs) - len(left):
        line += f"; {present} were there before: add --overwrite to replace them"
    print(line)
    print("labels: " + ", ".join(f"{i} {c}" for i, c in enumerate(segmenter.classes)))
    return 1 if failures else 0
