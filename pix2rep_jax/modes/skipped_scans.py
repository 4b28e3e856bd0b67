"""Scans that a mode could not use: each kind of fault is said once."""

import sys
from pathlib import Path

from tqdm import tqdm

from pix2rep_jax.data.fault import Fault, group_faults, make_fault
from pix2rep_jax.errors import InputError, name_some
from pix2rep_jax.wording import count

__all__ = ["describe_alike", "explain", "skip"]


def skip(error: Exception, scan: Path, faults: list[Fault]) -> None:
    """Adds a scan to those that were skipped, and says why if that is new.

    Args:
        error: What was raised.
        scan: The scan's file.
        faults: Those of the scans before it. The scan's own is added.
    """
    fault = make_fault(explain(error, scan), [scan])
    if fault.kind not in {each.kind for each in faults}:
        tqdm.write(f"skipped {scan}: {fault.sentence}", file=sys.stderr)
    faults.append(fault._replace(name=str(scan)))


def describe_alike(faults: list[Fault]) -> list[str]:
    """Names the scans that were skipped without a word, one line per kind of fault."""
    groups = [group for group in group_faults(faults) if len(group) > 1]
    return [
        f"skipped {count(len(others), 'more scan')} for the same reason as "
        f"{first.name}: {name_some(each.name for each in others)}"
        for first, *others in groups
    ]


def explain(error: Exception, scan: Path) -> str:
    """Writes what happened to a scan as one sentence, which follows the scan's path.

    Exceptions other than the program's are named by their type.
    """
    if isinstance(error, InputError):
        said = str(error)
        rest = said.removeprefix(f"{scan} ")
        return said if rest == said else f"it {rest}"
    said = " ".join(str(error).split()) or "no reason given"
    return f"it cannot be segmented ({type(error).__name__}: {said})"
