"""Writes files whole: a reader never finds half of one."""

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.leftovers import partial_path, remove_leftovers

__all__ = ["read_object", "read_sealed", "replacing", "write_sealed", "write_whole"]


@contextlib.contextmanager
def replacing(path: Path, *, suffix: str = "") -> Iterator[Path]:
    """Gives a hidden file beside `path` to write, and at the end moves it there.

    Its name is random, since processes on several hosts may have equal numbers. If the
    block raises, the hidden file is removed and `path` stays unchanged. What a killed
    process left in the folder is removed once.

    Args:
        path: The file to write; its folder exists.
        suffix: End of the hidden file's name, for writers that look at it.

    Yields:
        The hidden file's path.
    """
    _tidy(path.parent)
    partial = partial_path(path, suffix=suffix)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Replaces a text file.

    Args:
        path: The file to write; its folder exists.
        text: The whole content.

    Raises:
        InputError: If it cannot be written; `path` then stays unchanged.
    """
    try:
        with replacing(path) as partial:
            # A file's name may hold bytes that are not UTF-8.
            partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}): free some space or "
            "name another folder"
        ) from error


@functools.lru_cache(maxsize=4096)
def _tidy(folder: Path) -> None:
    """Removes leftovers once in a process: a folder may get thousands of files."""
    remove_leftovers(folder)


def read_object(path: Path) -> dict[str, Any]:
    """Reads a JSON object; returns an empty one if the file is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Replaces a file of JSON by one that `read_sealed` takes.

    Args:
        path: The file to write; its folder exists.
        content: What JSON can hold.

    Raises:
        InputError: If it cannot be written; `path` then stays unchanged.
    """
    sealed = {"seal": _seal(path, content), "content": content}
    write_whole(path, json.dumps(sealed))


def read_sealed(path: Path) -> dict[str, Any]:
    """Reads what `write_sealed` wrote under the same name.

    Returns:
        The content; an empty one if the file is missing, or if anything in it was
        changed since: a digit that was flipped is as good JSON as before.
    """
    found = read_object(path)
    content = found.get("content")
    if not isinstance(content, dict) or found.get("seal") != _seal(path, content):
        return {}
    return content


def _seal(path: Path, content: dict[str, Any]) -> str:
    """Hashes a file's name and its content."""
    text = json.dumps([path.name, content])
    return hashlib.sha256(text.encode()).hexdigest()
