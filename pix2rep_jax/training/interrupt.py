"""Turns Ctrl-C and SIGTERM into a flag that the loop reads between two steps."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["Interrupt", "call_at_second"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_at_second: list[Callable[[int, FrameType | None], None]] = []


def call_at_second(handler: Callable[[int, FrameType | None], None]) -> None:
    """Sets what a second signal calls, in a process that may end at once.

    Args:
        handler: As for `signal.signal`.
    """
    _at_second[:] = [handler]


class Interrupt:
    """Remembers the first SIGINT or SIGTERM, so that a run can save and leave.

    A second signal acts at once, as it would without this class, or it calls what
    `call_at_second` was given. Python allows handlers in the main thread only, so other
    threads catch nothing.

    Attributes:
        signal: The signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for each in _SIGNALS:
                self._previous[each] = signal.signal(each, self._remember)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore_handlers()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._restore_handlers()
        for handler in _at_second:
            for each in self._previous:
                signal.signal(each, handler)

    def _restore_handlers(self) -> None:
        for each, handler in self._previous.items():
            signal.signal(each, handler)
