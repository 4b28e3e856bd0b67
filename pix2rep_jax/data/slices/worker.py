"""A process that prepares scans for another one, which it is started by.

`python -m pix2rep_jax.data.slices.worker` takes calls from its standard input, and
gives their results to its standard output. It ends with the process that has started
it. Nothing of that process is imported anew, as the pools of `multiprocessing` do: that
may be a notebook, or a script without a guard.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

__all__ = ["Worker"]

_PACKAGE = Path(__file__).resolve().parents[3]


class Worker:
    """A process that answers one call after the other."""

    def __init__(self) -> None:
        """Starts it."""
        places = (str(_PACKAGE), os.environ.get("PYTHONPATH", ""))
        path = os.pathsep.join(filter(None, places))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pix2rep_jax.data.slices.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._calls = Connection(os.dup(self._process.stdin.fileno()), readable=False)
        self._results = Connection(
            os.dup(self._process.stdout.fileno()), writable=False
        )
        self._process.stdin.close()
        self._process.stdout.close()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a function there, and returns its result.

        If the process has ended, such as for want of memory, the function is called
        here.

        Raises:
            Exception: What the function raises.
        """
        try:
            self._calls.send((function, arguments))
            error, result = self._results.recv()
        except (OSError, EOFError):
            return function(*arguments)
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """Ends the process, and waits for its end."""
        self._calls.close()
        self._results.close()
        self._process.wait()


def serve() -> None:
    """Answers calls until the standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process decides
    calls = Connection(os.dup(0), writable=False)
    results = Connection(os.dup(1), readable=False)
    os.dup2(2, 1)  # what is printed is no result
    while True:
        try:
            function, arguments = calls.recv()
        except EOFError:
            return
        answer: tuple[Exception | None, Any]
        try:
            answer = None, function(*arguments)
        except Exception as error:
            answer = error, None
        results.send(answer)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        serve()
