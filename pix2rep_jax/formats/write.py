"""An exported folder: the network's file in one format, and config.json."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from pix2rep_jax.errors import InputError, check_choice, name_some
from pix2rep_jax.formats.description import describe
from pix2rep_jax.formats.network import Network
from pix2rep_jax.formats.onnx import write_onnx
from pix2rep_jax.formats.pytorch import write_pytorch
from pix2rep_jax.formats.safetensors import write_safetensors
from pix2rep_jax.formats.stablehlo import write_stablehlo
from pix2rep_jax.runs.find_weights import DESCRIPTION, file_sha256
from pix2rep_jax.runs.manifest import make_folder
from pix2rep_jax.runtime.atomic_file import read_object, write_whole

__all__ = ["FORMATS", "write_export"]

FORMATS: Mapping[str, tuple[str, Callable[[Path, Network], None]]] = {
    "safetensors": ("{kind}.safetensors", write_safetensors),
    "onnx": ("{kind}.onnx", write_onnx),
    "stablehlo": ("{kind}.stablehlo", write_stablehlo),
    "pytorch": ("{kind}_pytorch.safetensors", write_pytorch),
}
"""The name of each format's file, and what writes it."""


def write_export(
    network: Network, output: Path, *, format: str, overwrite: bool = False
) -> Path:
    """Writes a network in one format, and describes it.

    Args:
        network: From `load_network`.
        output: The folder, which is made.
        format: One of `FORMATS`.
        overwrite: Whether an earlier export in the folder is replaced. Other files are
            left as they are.

    Returns:
        The network's file.

    Raises:
        InputError: If there is no such format, if the folder holds something else or
            cannot be written, if a package is missing, or if the network is trained in
            part only.
    """
    check_choice("--format", format, tuple(FORMATS))
    if format != "safetensors" and not network.is_whole:
        parts = name_some(network.record.trained)
        raise InputError(
            f"the pretraining in {network.run} has trained only {parts}, so its "
            "features mean nothing: choose --format=safetensors, and start a run from "
            "it"
        )
    earlier = check_folder(output, overwrite=overwrite)
    make_folder(output, option="--output")
    name, write = FORMATS[format]
    path = output / name.format(kind=network.kind)
    try:
        write(path, network)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}): free some space or "
            "name another --output"
        ) from error
    content = describe(network, format=format, file=path.name, sha256=file_sha256(path))
    write_whole(output / DESCRIPTION, json.dumps(content, indent=2) + "\n")
    if earlier not in ("", path.name):
        (output / earlier).unlink(missing_ok=True)
    return path


def check_folder(output: Path, *, overwrite: bool) -> str:
    """Checks that an export may be written into a folder.

    Returns:
        The name of the file of an earlier export there, which is replaced; "" if there
        is none.

    Raises:
        InputError: If not.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"--output {output} is a file: give a folder")
    found = sorted(each.name for each in output.iterdir()) if output.exists() else []
    if not found:
        return ""
    before = read_object(output / DESCRIPTION)
    if DESCRIPTION in found and "sha256" not in before:
        raise InputError(
            f"{output} holds another {DESCRIPTION}, perhaps that of a run: name "
            "another --output"
        )
    if not overwrite:
        raise InputError(
            f"{output} holds {name_some(found)} already: name another --output, or add "
            "--overwrite to replace an earlier export"
        )
    known = {name.format(kind=x) for name, _ in FORMATS.values() for x in _KINDS}
    file = before.get("file", "")
    return file if file in known else ""


_KINDS = ("backbone", "segmenter")
