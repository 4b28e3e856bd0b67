"""The one exception that stands for a mistake a user can mend."""


class InputError(ValueError):
    """Says in one sentence what is wrong, where, and how to mend it.

    `main.py` prints the sentence without a traceback and exits with 1.
    """
