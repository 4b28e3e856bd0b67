"""The one exception that stands for a mistake a user can mend."""

from collections.abc import Sequence
from typing import Any

__all__ = ["InputError", "check_choice"]


class InputError(ValueError):
    """Says in one sentence what is wrong, where, and how to mend it.

    `main.py` prints the sentence without a traceback and exits with 1.
    """


def check_choice(name: str, value: Any, known: Sequence[str]) -> None:
    """Checks that a setting is one of the words that there are.

    Args:
        name: Of the setting, as one would type it.
        value: What it is.
        known: What it may be.

    Raises:
        InputError: If it is none of them.
    """
    if value not in known:
        choices = " or ".join(map(repr, known))
        raise InputError(f"{name} is {value!r}: it must be {choices}")
