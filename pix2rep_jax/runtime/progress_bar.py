"""tqdm: a bar on a terminal or in a notebook, one line per minute in a log file."""

import importlib.util
import io
import sys
import time

from tqdm import tqdm

__all__ = ["in_notebook", "open_progress_bar"]

_PLAIN = "{desc}: {unit} {n_fmt}/{total_fmt}{postfix}, {rate_fmt}, {remaining} left"

_BETWEEN_S = 60.0
"""Seconds between two lines of a log file; the last line always comes."""


def open_progress_bar(
    total: int,
    *,
    description: str,
    initial: int = 0,
    unit: str = "step",
    delay_s: float = 0.0,
    show: bool = True,
    leave: bool = True,
) -> tqdm:
    """Opens the display of a run or of another loop.

    Args:
        total: Steps of the whole run.
        description: Name of the run.
        initial: Steps done before.
        unit: What is counted.
        delay_s: Nothing is shown of what takes less time, s.
        show: Whether anything is shown.
        leave: Whether it stays on a terminal when it is closed, which one inside of
            another should not.
    """
    shared = {"total": total, "initial": initial, "desc": description, "unit": unit}
    shared |= {"delay": delay_s, "disable": not show or initial >= total}
    shared |= {"leave": leave}
    if in_notebook():
        if importlib.util.find_spec("ipywidgets") is None:
            return tqdm(**shared)  # a cell draws a line over itself, as a terminal does
        from tqdm.notebook import tqdm as notebook_bar

        return notebook_bar(**shared)
    if sys.stderr.isatty():
        return tqdm(**shared, dynamic_ncols=True)
    # An inner bar at position 1 would move a cursor that a file does not have.
    shared |= {"position": 0, "leave": True, "mininterval": 1, "miniters": 1}
    return tqdm(**shared, file=_Lines(), bar_format=_PLAIN)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, as in Jupyter or Colab."""
    ipython = sys.modules.get("IPython")  # never imported for this question
    shell = ipython and ipython.get_ipython()
    return bool(shell) and hasattr(shell, "kernel")


class _Lines(io.TextIOBase):
    """Writes states of a bar to stderr, each as a line of its own."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._waiting = self._last = ""

    def write(self, text: str) -> int:
        """Writes what a bar would draw over itself, or keeps it for the end."""
        line = text.strip()
        if line.endswith("? left"):  # before the first step
            line = line.partition(",")[0] + ", starting"
        if not line:  # the bar is closed
            line, self._waiting = self._waiting, ""
        elif time.monotonic() < self._next_s:
            self._waiting, line = line, ""
        if line and line != self._last:
            self._last = line
            print(line, file=sys.stderr, flush=True)
            self._next_s, self._waiting = time.monotonic() + _BETWEEN_S, ""
        return len(text)
