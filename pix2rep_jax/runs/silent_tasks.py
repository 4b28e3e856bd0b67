"""Reading and saving checkpoints without a page of tracebacks where that fails."""

import contextlib
import gc
import logging
import sys
import time
from collections.abc import Iterator

__all__ = ["silent_tasks"]


@contextlib.contextmanager
def silent_tasks() -> Iterator[None]:
    """Lets the tasks of a read or a save that failed end silently: the error says why.

    Orbax reads and writes many arrays at a time, and leaves the others under way where
    one fails. They print a traceback each, once they find that nobody waits for them.
    """
    logger = logging.getLogger("asyncio")
    hooks = sys.unraisablehook, sys.excepthook
    logger.disabled, sys.unraisablehook = True, lambda _: None
    sys.excepthook = lambda *_: None
    try:
        yield
    except Exception:
        for _ in range(5):
            time.sleep(0.1)  # some tasks are still under way
            gc.collect()
        raise
    finally:
        logger.disabled = False
        sys.unraisablehook, sys.excepthook = hooks
