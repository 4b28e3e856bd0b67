"""Turns Ctrl-C and SIGTERM into a flag that the loop reads between two steps."""

import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["Interrupt"]


class Interrupt:
    """Remembers the first SIGINT or SIGTERM, so that a run can save and leave.

    A second signal acts at once, as it would without this class. Python allows
    handlers in the main thread only, so other threads catch nothing.

    Attributes:
        signal: The signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for each in (signal.SIGINT, signal.SIGTERM):
                self._previous[each] = signal.signal(each, self._remember)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore_handlers()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        for each, handler in self._previous.items():
            signal.signal(each, handler)
