"""The result of each case: a line of a CSV beside the run, and the summary of it."""

import csv
import fcntl
import os
from pathlib import Path
from typing import NamedTuple


class Result(NamedTuple):
    """What happened in a case.

    Attributes:
        kind: What was tried, such as "kill".
        case: Its name among those of its kind.
        tried: How many inputs it has; 1 for a fault of the whole program.
        same: How many ended with the numbers that they had without the fault, or were
            accepted and gave what was promised.
        sentence: How many ended with one sentence.
        failed: How many did anything else.
        seconds: How long it took.
        detail: What was done, and what failed.
        draw: The number of the draw of moments and inputs.
    """

    kind: str
    case: str
    tried: int = 1
    same: int = 0
    sentence: int = 0
    failed: int = 0
    seconds: float = 0.0
    detail: str = ""
    draw: int = 0


def append(path: Path, result: Result) -> None:
    """Adds a line; several processes may do so at the same time."""
    with open(path, "a+", newline="", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        writer = csv.writer(file)
        if not file.seek(0, os.SEEK_END):
            writer.writerow(Result._fields)
        whole = [int(x) if isinstance(x, bool) else x for x in result]
        writer.writerow(round(x, 2) if isinstance(x, float) else x for x in whole)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[Result]:
    """Reads all lines; one that a killed process has half written is left out."""
    if not path.exists():
        return []
    found = []
    with open(path, newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if None in line or None in line.values():
                continue
            numbers = {name: int(line[name]) for name in (*Result._fields[2:6], "draw")}
            seconds = float(line["seconds"])
            found.append(Result(**{**line, **numbers, "seconds": seconds}))
    return found


TITLES = {
    "kill": "kill -9, and the same command again",
    "signal": "SIGTERM or SIGINT, once and twice",
    "disk": "a disk that is full",
    "file": "a damaged file of a run or a cache",
    "header": "NIfTI headers",
    "tree": "folders of scans",
    "words": "command lines",
}
"""Every kind, in the order of the table."""


def table(results: list[Result]) -> str:
    """The summary in Markdown: one line per kind, all draws together."""
    lines = [
        "| what | tried | same or right numbers | one sentence | anything else |",
        "|---|---|---|---|---|",
    ]
    for kind, title in TITLES.items():
        own = [each for each in results if each.kind == kind]
        if own:
            names = ("tried", "same", "sentence", "failed")
            sums = [sum(getattr(each, name) for each in own) for name in names]
            lines.append(f"| {title} | {' | '.join(f'{x:,}' for x in sums)} |")
    return "\n".join(lines) + "\n"
