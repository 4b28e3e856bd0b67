"""How large the caches may grow, and what goes first."""

import contextlib
import logging
import os
from pathlib import Path

__all__ = ["limit_cache"]

_LOG = logging.getLogger(__name__)

_KINDS = (
    "slices-*.npz",
    "statistics-*.npz",
    "fingerprint-*.json",
    "detail-*.json",
    "programs/*",
)
"""What may be removed: all of it is made again when it is needed."""


def limit_cache(folder: Path, *, limit_gb: float, keep: Path) -> None:
    """Removes the least recently used files of the caches until the rest fits.

    Another process may have read a removed file: it then prepares its scans again.

    Args:
        folder: The folder of all caches.
        limit_gb: Room for all files together, GB; 0 is no limit.
        keep: A file that stays, however large it is.
    """
    if not limit_gb:
        return
    found: list[tuple[float, int, Path]] = []
    for path in (each for kind in _KINDS for each in folder.glob(kind)):
        with contextlib.suppress(OSError):  # another process has removed it
            status = path.stat()
            used = max(status.st_atime, status.st_mtime)
            found.append((used, status.st_size, path))
    total, number, freed = sum(size for _, size, _ in found), 0, 0
    for _, size, path in sorted(found):
        if total - freed <= limit_gb * 1e9:
            break
        if path == keep:
            continue
        with contextlib.suppress(OSError):
            os.unlink(path)
            number, freed = number + 1, freed + size
    if number:
        _LOG.warning(
            "note: %d files of the cache in %s, which were not used for longest, were "
            "removed (%.3g GB): data.cache_gb is %g",
            number,
            folder,
            freed / 1e9,
            limit_gb,
        )
