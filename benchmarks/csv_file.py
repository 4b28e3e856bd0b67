"""Reads and writes the tables of results: one line per run, and tables in pages."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pix2rep_jax.runtime.atomic_file import write_whole

__all__ = ["keep_others", "put_table", "read_rows", "read_table", "write_rows"]


def read_rows(path: Path) -> list[dict[str, str]]:
    """Reads the lines of a CSV; none if there is no such file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a CSV as a whole. Its columns are those of the first line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.getvalue())


def keep_others(
    path: Path, rows: Sequence[dict[str, str]], names: Sequence[str]
) -> list[dict[str, str]]:
    """Joins new lines of a table to those that it has of other runs.

    The folder of an earlier run may be gone, and its line stays.

    Args:
        path: The table.
        rows: The new lines.
        names: The columns that tell runs apart, and by which lines are sorted.
    """

    def run(row: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(row[name] for name in names)

    found = {run(row) for row in rows}
    others = [row for row in read_rows(path) if run(row) not in found]
    return sorted((*others, *rows), key=run)


def put_table(page: Path, mark: str, text: str) -> None:
    """Replaces what stands between the two marks of a page."""
    above, _, below = page.read_text(encoding="utf-8").split(mark)
    write_whole(page, f"{above}{mark}\n{text}\n{mark}{below}")


def read_table(page: Path, mark: str) -> str:
    """Reads what `put_table` has put into a page."""
    _, text, _ = page.read_text(encoding="utf-8").split(mark)
    return text[1:-1]
