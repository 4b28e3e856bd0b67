"""Files that nobody ever reads half of."""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pix2rep_jax.errors import InputError

__all__ = ["read_object", "replacing", "write_whole"]


@contextlib.contextmanager
def replacing(path: Path, *, suffix: str = "") -> Iterator[Path]:
    """Gives a hidden file beside `path` to write, and at the end moves it there.

    Nobody else writes it: process numbers, which several hosts may have alike, play no
    part in its name. Where the block raises, what was at `path` is as it was and
    nothing stays beside it.

    Args:
        path: Where the whole file is going to be; its folder exists.
        suffix: What the name has to end in, for writers that look at it.

    Yields:
        The hidden file's path.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{suffix}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Writes a text file in one go, in place of what was there.

    Nothing of the new one stays beside it if that fails.

    Args:
        path: Of the file; its folder exists.
        text: The whole content.

    Raises:
        InputError: If it cannot be written; what was there is as it was.
    """
    try:
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}): free some space or "
            "name another --workdir"
        ) from error


def read_object(path: Path) -> dict[str, Any]:
    """Reads a JSON object; an empty one where the file is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
