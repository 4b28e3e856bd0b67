"""Files that nobody ever reads half of."""

import contextlib
import os
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, text: str) -> None:
    """Writes a text file in one go, in place of what was there.

    Nothing of the new one stays beside it if that fails.

    Args:
        path: Of the file; its folder exists.
        text: The whole content.

    Raises:
        OSError: If it cannot be written; what was there is as it was.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
