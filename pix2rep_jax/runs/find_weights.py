"""Where a run's weights lie in one file: by its path, in an export, on the hub."""

import functools
import hashlib
import os
import re
from pathlib import Path
from typing import Any

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.weights_file import ENDING, is_weights, read_about
from pix2rep_jax.runtime.atomic_file import read_object

__all__ = ["DESCRIPTION", "file_sha256", "find_weights", "hub_name"]

DESCRIPTION = "config.json"
"""The file of an exported folder that names the other one, and its SHA-256."""

_HUB = "hf://"

_REPOSITORY = r"[\w.-]+/[\w.-]+(@[\w./-]+)?"
"""owner/name on the hub, perhaps with a revision behind an @."""


def find_weights(named: str | Path) -> Path | None:
    """Finds the file of weights that a name stands for.

    Args:
        named: A `.safetensors` file, a folder of `--mode export --format=safetensors`,
            or `hf://owner/name[@revision]`. `owner/name` means the hub too, where no
            folder `owner` exists.

    Returns:
        The file's absolute path; None if the name is that of something else.

    Raises:
        InputError: If the file cannot be had, is not of a pretraining, or is not the
            one whose SHA-256 is written beside it.
    """
    if hub_name(named):
        return _checked(_download(str(named).removeprefix(_HUB)))
    path = Path(os.path.abspath(Path(named).expanduser()))
    if is_weights(path):
        if not path.is_file():
            raise InputError(
                f"there is no file {path}: correct --config.init.checkpoint"
            )
        return _checked(path)
    description = read_object(path / DESCRIPTION)
    if "sha256" not in description:
        return None
    return _checked(path / _file_name(description, path))


def hub_name(named: str | Path) -> str:
    """Returns the name of a repository on the hub; "" if the name means another thing.

    Args:
        named: As for `find_weights`. A `Path` is always one of this machine.
    """
    if not isinstance(named, str):
        return ""
    if named.startswith(_HUB):
        if not re.fullmatch(_REPOSITORY, named.removeprefix(_HUB)):
            raise InputError(f"{named} is not a name on the hub: write hf://owner/name")
        return named
    is_name = re.fullmatch(_REPOSITORY, named) and not is_weights(named)
    return f"{_HUB}{named}" if is_name and not Path(named).parent.exists() else ""


def file_sha256(path: Path) -> str:
    """Hashes a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checked(path: Path) -> Path:
    """Returns the path of a pretraining's weights that nobody has changed."""
    beside = read_object(path.with_name(DESCRIPTION))
    known = [beside.get("sha256")] if beside.get("file") == path.name else []
    sums = path.with_name(f"{path.name}.sha256")
    if sums.is_file():
        known += sums.read_text(encoding="utf-8", errors="replace").split()[:1]
    if known and {*map(str, known)} != {_sha256(path)}:
        raise InputError(
            f"{path} is not the file whose SHA-256 is written beside it: get it again"
        )
    if (mode := read_about(path).mode) != "pretrain":
        raise InputError(
            f"{path} holds the network of --mode {mode}: name one of --mode pretrain "
            "by --config.init.checkpoint"
        )
    return path


def _sha256(path: Path) -> str:
    """Hashes a file once: it is looked up several times at a start."""
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path} is missing: get the whole folder again") from error
    return _hash(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _hash(path: Path, size: int, changed_ns: int) -> str:
    return file_sha256(path)


def _file_name(description: dict[str, Any], place: object) -> str:
    """Reads the name of the file of weights; it must not lead elsewhere."""
    name = description.get("file")
    if not isinstance(name, str) or not re.fullmatch(rf"[\w.-]+\{ENDING}", name):
        raise InputError(
            f"{place} does not hold weights to start from (its file is {name!r}): "
            "export the pretraining by --mode export --format=safetensors"
        )
    return name


def _download(repository: str) -> Path:
    """Gets the weights of a repository on the hub, or finds them in its cache."""
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise InputError(
            f"there is no folder {repository}; to get it from the hub, install its "
            "client: pip install 'pix2rep-jax[export]' (or pip install huggingface-hub)"
        ) from error
    name, _, revision = repository.partition("@")
    try:
        path = Path(hf_hub_download(name, DESCRIPTION, revision=revision or None))
        file = _file_name(read_object(path), f"{_HUB}{name}")
        # The same commit, even if another one has come since.
        return Path(hf_hub_download(name, file, revision=path.parent.name))
    except InputError:
        raise
    except Exception as error:  # its client raises what its layers below raise
        said = " ".join(str(error).split()[:40]) or type(error).__name__
        raise InputError(
            f"there is no folder {repository}, and the hub does not give "
            f"{_HUB}{repository} ({said}): correct --config.init.checkpoint, or get "
            "the files yourself"
        ) from error
