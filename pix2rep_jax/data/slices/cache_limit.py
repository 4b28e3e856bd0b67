"""How large the caches may grow, and what goes first."""

import contextlib
import logging
import os
import re
from pathlib import Path

from pix2rep_jax.wording import count

__all__ = ["limit_cache", "list_cache"]

_LOG = logging.getLogger(__name__)

_OURS = re.compile(
    r"(slices|statistics)-[0-9a-f]{24}\.npz|(fingerprint|detail)-[0-9a-f]{24}\.json"
    r"|slices-[0-9a-f]{24}\.bin|programs/.+-[0-9a-f]{64}-(cache|atime)"
)
"""What may be removed: all of it is made again when it is needed.

The names end in hashes. A user's folder may hold `slices-3.npz` and `programs` too.
"""


def list_cache(folder: Path) -> list[tuple[float, int, Path]]:
    """Lists the caches' own files: when each was last used, its bytes, and its path.

    Args:
        folder: The folder of all caches. What else it holds is left out.
    """
    found = []
    for path in (*folder.glob("*-*.*"), *folder.glob("programs/*")):
        if not _OURS.fullmatch(path.relative_to(folder).as_posix()):
            continue
        with contextlib.suppress(OSError):  # another process has removed it
            status = path.stat()
            used = max(status.st_atime, status.st_mtime)
            found.append((used, status.st_size, path))
    return found


def limit_cache(folder: Path, *, limit_gb: float, keep: Path) -> None:
    """Removes the least recently used files of the caches until the rest fits.

    Another process may have read a removed file: it then prepares its scans again.

    Args:
        folder: The folder of all caches.
        limit_gb: Room for all files together, GB; 0 is no limit.
        keep: A file that stays, however large it is, with the slices that it describes.
    """
    if not limit_gb:
        return
    found = list_cache(folder)
    total, number, freed = sum(size for _, size, _ in found), 0, 0
    for _, size, path in sorted(found):
        if total - freed <= limit_gb * 1e9:
            break
        if path.with_suffix("") == keep.with_suffix(""):
            continue
        with contextlib.suppress(OSError):
            os.unlink(path)
            number, freed = number + 1, freed + size
    if number:
        _LOG.warning(
            "note: removed %s of the cache in %s, used longest ago (%.3g GB): "
            "data.cache_gb is %g",
            count(number, "file"),
            folder,
            freed / 1e9,
            limit_gb,
        )
