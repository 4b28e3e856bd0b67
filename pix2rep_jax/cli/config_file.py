"""Which configuration file a command line names, and which folder is its run's."""

import re
from collections.abc import Sequence
from pathlib import Path

import pix2rep_jax
from pix2rep_jax.errors import InputError

__all__ = ["config_argument", "default_workdir", "find_config", "with_found_config"]


def config_argument(words: Sequence[str]) -> str:
    """Finds what stands behind `--config`; empty where there is no such flag."""
    index = _find_flag(words)
    if index is None:
        return ""
    word = words[index]
    return word.partition("=")[2] if "=" in word else "".join(words[index + 1 :][:1])


def with_found_config(words: Sequence[str]) -> list[str]:
    """Replaces what stands behind `--config` by the file that it means.

    Args:
        words: The command line, program first.

    Raises:
        InputError: If there is no such file.
    """
    words, named = list(words), config_argument(words)
    if named:
        index, found = _find_flag(words), find_config(named)
        if "=" in words[index]:
            words[index] = f"--config={found}"
        else:
            words[index + 1] = found
    return words


def find_config(named: str) -> str:
    """Finds a configuration file, in the package if it is not where it is named.

    Args:
        named: As written behind `--config`: "configs/pix2rep.py:small". Only
            `configs/NAME.py` and `NAME.py` are looked up in the package.

    Returns:
        The same with the path of the file that exists.

    Raises:
        InputError: If there is no such file.
    """
    path, colon, size = named.partition(":")
    if Path(path).is_file():
        return named
    if str(Path(path).parent) in (".", "configs"):
        for folder in _own_folders():
            if (folder / Path(path).name).is_file():
                return f"{folder / Path(path).name}{colon}{size}"
    raise InputError(
        f"there is no config file {path!r}: try --config configs/pix2rep.py"
    )


def default_workdir(named: str) -> Path:
    """Names a run's folder after a configuration file and its size.

    Args:
        named: As written behind `--config`: "configs/pix2rep.py:small".

    Returns:
        `runs/<file's name>[-<size>]`.
    """
    path, _, size = named.partition(":")
    name = Path(path).stem + (f"-{size}" if size else "")
    return Path("runs") / re.sub(r"[^\w.=-]+", "-", name)


def _find_flag(words: Sequence[str]) -> int | None:
    """Returns the place of the flag that names a value, if there is one."""
    for index, word in enumerate(words):
        if re.match(r"--?config(=|$)", word):
            return index
    return None


def _own_folders() -> list[Path]:
    """Lists where this package's configurations may lie: installed, or in a clone."""
    package = Path(pix2rep_jax.__file__).parent
    installed, clone = package / "configs", package.parent / "configs"
    return [installed] if installed.is_dir() else [clone]
