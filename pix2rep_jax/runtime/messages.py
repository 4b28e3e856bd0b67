"""Which messages are shown, and where, when this package runs as a program."""

import logging
import os
import sys

__all__ = ["hide_compiler_messages", "show_messages"]


def hide_compiler_messages() -> None:
    """Hides what XLA says by itself, unless the user's environment asks for it.

    Under load it takes a slow compilation for a bug and asks to file one. What stops a
    program reaches the user as an exception all the same. It must be called before jax
    is imported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def show_messages() -> None:
    """Shows this package's messages and warnings on standard error, as plain lines.

    A program that imports the package sets up logging itself, so only the command line
    calls this.
    """
    logger = logging.getLogger("pix2rep_jax")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # absl's own handler would show them again
