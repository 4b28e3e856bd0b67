"""An exported folder: the network's file in one format, and config.json."""

import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from pix2rep_jax.errors import InputError, check_choice, name_some
from pix2rep_jax.formats.description import describe
from pix2rep_jax.formats.network import Network
from pix2rep_jax.formats.onnx import write_onnx
from pix2rep_jax.formats.pytorch import write_pytorch
from pix2rep_jax.formats.safetensors import write_safetensors
from pix2rep_jax.formats.stablehlo import write_stablehlo
from pix2rep_jax.runs.find_weights import DESCRIPTION, file_sha256
from pix2rep_jax.runs.manifest import make_folder
from pix2rep_jax.runtime.atomic_file import read_object, replacing, write_whole
from pix2rep_jax.runtime.leftovers import remove_leftovers

__all__ = ["FORMATS", "check_folder", "check_format", "write_export"]


class Format(NamedTuple):
    """A format that a network can be written in.

    Attributes:
        file: The name of its file.
        package: The optional package that writes it.
        write: Writes a network.
    """

    file: str
    package: str
    write: Callable[[Path, Network], None]


FORMATS: Mapping[str, Format] = {
    "safetensors": Format("{kind}.safetensors", "safetensors", write_safetensors),
    "onnx": Format("{kind}.onnx", "onnx", write_onnx),
    "stablehlo": Format("{kind}.stablehlo", "flatbuffers", write_stablehlo),
    "pytorch": Format("{kind}_pytorch.safetensors", "safetensors", write_pytorch),
}


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
    if format != "safetensors" and not network.is_whole:
        parts = name_some(network.record.trained)
        raise InputError(
            f"the pretraining in {network.run} has trained only {parts}, so its "
            "features mean nothing: choose --format=safetensors, and start a run from "
            "it"
        )
    check_format(format)
    earlier = check_folder(output, overwrite=overwrite)
    make_folder(output, option="--output")
    path = output / FORMATS[format].file.format(kind=network.kind)
    try:
        with replacing(path) as partial:
            FORMATS[format].write(partial, network)
            content = describe(
                network, format=format, file=path.name, sha256=file_sha256(partial)
            )
            # Both files appear at once: half an export is not taken for another's.
            write_whole(output / DESCRIPTION, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}): free some space or "
            "name another --output"
        ) from error
    if earlier not in ("", path.name):
        (output / earlier).unlink(missing_ok=True)
    return path


def check_format(format: str) -> None:
    """Checks that a format can be written, before anything is loaded or made.

    Raises:
        InputError: If there is no such format, or if its package is missing.
    """
    check_choice("--format", format, tuple(FORMATS))
    package = FORMATS[format].package
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            f"--format={format} needs the package {package}: pip install "
            f"'pix2rep-jax[export]' (or pip install {package})"
        ) from error


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
    remove_leftovers(output)
    found = sorted(each.name for each in output.iterdir()) if output.exists() else []
    before = read_object(output / DESCRIPTION)
    # A process that was killed has left the description alone.
    if not found or (found == [DESCRIPTION] and "sha256" in before):
        return ""
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
    known = {each.file.format(kind=x) for each in FORMATS.values() for x in _KINDS}
    file = before.get("file", "")
    return file if file in known else ""


_KINDS = ("backbone", "segmenter")
