"""--mode export: the network of a run for other programs."""

import sys
from pathlib import Path

from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError
from pix2rep_jax.formats.network import load_network
from pix2rep_jax.formats.write import check_folder, check_format, write_export
from pix2rep_jax.runs.start import find_network

__all__ = ["run"]


def run(
    config: ConfigDict,
    workdir: str | Path,
    *,
    output: str | Path | None,
    overwrite: bool = False,
    format: str | None = None,
) -> None:
    """Writes a network and its config.json into a folder.

    Args:
        config: Its `init.checkpoint` names the run to use if the workdir has none, and
            its `segmentation.keep` the checkpoint of a segmenter.
        workdir: A workdir with a segmenter, or else with a pretraining; or the folder
            of one of its modes.
        output: The folder.
        overwrite: Whether an earlier export there is replaced.
        format: "safetensors" (default), "onnx", "stablehlo" or "pytorch".

    Raises:
        InputError: As `write_export`, and if there is no network.
    """
    format = format or "safetensors"
    check_format(format)
    if not output:
        raise InputError("export needs a folder for the network: add --output FOLDER")
    output = Path(output).expanduser()
    check_folder(output, overwrite=overwrite)
    run = find_network(workdir, checkpoint=config.init.checkpoint)
    network, note = load_network(run, keep=config.segmentation.keep)
    if note:
        print(note, file=sys.stderr)
    path = write_export(network, output, format=format, overwrite=overwrite)
    print(
        f"the {network.kind} of {network.run} at step {network.step} is in {path}; "
        f"{output / 'config.json'} says how to use it"
    )
