"""Where the messages of this package go when it runs as a program."""

import logging
import sys

__all__ = ["show_messages"]


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
