"""tqdm on stderr: a bar on a terminal, one line every 30 seconds in a log file."""

import io
import sys

from tqdm import tqdm

__all__ = ["open_progress_bar"]

_PLAIN = "{desc}: step {n_fmt}/{total_fmt}{postfix}, {rate_fmt}, {remaining} left"


def open_progress_bar(total: int, *, initial: int, description: str) -> tqdm:
    """Opens the display of a run.

    Args:
        total: Steps of the whole run.
        initial: Steps done before.
        description: Name of the run.
    """
    shared = {"total": total, "initial": initial, "desc": description, "unit": "step"}
    shared["disable"] = initial >= total
    if sys.stderr.isatty():
        return tqdm(**shared, dynamic_ncols=True)
    return tqdm(**shared, file=_Lines(), bar_format=_PLAIN, mininterval=30, miniters=1)


class _Lines(io.TextIOBase):
    """Writes each state of a bar to stderr as a line of its own."""

    def write(self, text: str) -> int:
        """Writes what a bar would draw over itself."""
        if line := text.strip():
            if line.endswith("? left"):  # before the first step
                line = line.partition(",")[0] + ", compiling"
            print(line, file=sys.stderr, flush=True)
        return len(text)
