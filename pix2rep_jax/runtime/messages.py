"""Which messages are shown, and where: in a program, a script or a notebook."""

import copy
import logging
import os
import sys

from pix2rep_jax.wording import for_caller

__all__ = ["hide_compiler_messages", "show_messages", "show_notes"]

_PACKAGE = "pix2rep_jax"


def hide_compiler_messages() -> None:
    """Hides what XLA says by itself, unless the user's environment asks for it.

    Under load it takes a slow compilation for a bug and asks to file one. What stops a
    program reaches the user as an exception all the same. It must be called before jax
    is imported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def show_messages() -> None:
    """Shows this package's messages and warnings on standard error, as plain lines.

    Only the command line calls this; `show_notes` is for all others.
    """
    logger = logging.getLogger(_PACKAGE)
    for handler in [each for each in logger.handlers if isinstance(each, _Notes)]:
        logger.removeHandler(handler)
    if not logger.handlers:
        plain = logging.StreamHandler(sys.stderr)
        plain.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(plain)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # absl's own handler would show them again


def show_notes() -> None:
    """Shows warnings of this package as notes, where nobody has set up logging.

    Nothing but the package's own logger is changed. Handlers of the user get the
    warnings as they do from other packages, also those that come later.
    """
    logger = logging.getLogger(_PACKAGE)
    if not any(isinstance(each, _Notes) for each in logger.handlers):
        logger.addHandler(_Notes())
        logger.propagate = False  # the handler hands on what others are to get


class _Notes(logging.Handler):
    """Prints `note: ...` on standard error, or leaves that to the user's handlers."""

    def emit(self, record: logging.LogRecord) -> None:
        told = copy.copy(record)
        told.msg, told.args = for_caller(record.getMessage()), None
        root, own = logging.getLogger(), logging.getLogger(_PACKAGE).handlers
        if _is_set_up(root):
            for handler in root.handlers:
                if told.levelno >= handler.level and handler not in own:
                    handler.handle(told)  # what is in `own` gets it anyway
        elif own == [self]:
            known = told.msg.startswith(("note: ", "warning: "))
            print(told.msg if known else f"note: {told.msg}", file=sys.stderr)


def _is_set_up(root: logging.Logger) -> bool:
    """Whether there is more than what `logging.basicConfig()` makes of itself.

    absl calls that while Orbax is imported, and so would any `logging.warning()`.
    """
    return root.level != logging.WARNING or any(
        type(each) is not logging.StreamHandler
        or each.level != logging.NOTSET
        or bool(each.filters)
        or getattr(each.formatter, "_fmt", "") != logging.BASIC_FORMAT
        for each in root.handlers
    )
