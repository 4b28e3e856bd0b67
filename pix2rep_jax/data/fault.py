"""What is wrong with single files, and which of them have the same fault."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Fault", "group_faults", "make_fault"]


class Fault(NamedTuple):
    """What is wrong with one file.

    Attributes:
        name: The file, without its folder; or the scan.
        sentence: What is wrong, where, and how to mend it.
        kind: The same without the names of files, to tell which faults are alike.
    """

    name: str
    sentence: str
    kind: str


def make_fault(sentence: str, paths: Sequence[Path]) -> Fault:
    """Takes the name of the file at fault out of a sentence.

    Args:
        sentence: What is wrong.
        paths: The files of one scan, its masks among them.
    """
    kind, named = sentence, []
    # A longer path comes before one that it begins with.
    ordered = sorted({*paths}, key=lambda path: -len(str(path)))
    for path in ordered:
        if str(path) in kind:
            named.append(path.name)
            kind = kind.replace(str(path), "FILE")
    for path in ordered:  # after all paths: a scan and its mask may share a name
        kind = kind.replace(path.name, "FILE")
    return Fault((*named, paths[0].name)[0], sentence, kind)


def group_faults(faults: Iterable[Fault]) -> list[list[Fault]]:
    """Puts faults of one kind together, in the order of their first ones."""
    groups: dict[str, list[Fault]] = {}
    for fault in faults:
        groups.setdefault(fault.kind, []).append(fault)
    return [*groups.values()]
