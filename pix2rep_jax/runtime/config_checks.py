"""What a setting's value may be: small checks, and how a configuration is walked.

A module that uses settings declares them beside its functions, each with its check:

    SETTINGS = {"temperature": above_zero, "hidden": all_of(whole_numbers, above_zero)}

`pix2rep_jax/modes/settings.py` collects these declarations and checks a whole
configuration. A check takes a value and returns what the value must be instead, or ""
where the value is right. A tuple is right where each of its entries is.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pix2rep_jax.errors import InputError

__all__ = [
    "Check",
    "above_zero",
    "all_of",
    "anything",
    "ascending",
    "at_least_two",
    "auto_or",
    "between",
    "check_values",
    "choice",
    "effective",
    "finite",
    "not_below_zero",
    "pair",
    "plain",
    "seed",
    "share",
    "walk",
    "whole_numbers",
    "word_or",
    "words",
]

Check = Callable[[Any], str]


def check_values(values: Mapping[str, Any], checks: Mapping[str, Check]) -> None:
    """Checks every value by the check of its name.

    Args:
        values: Values by dotted names.
        checks: Checks by dotted names; a value without one must be finite.

    Raises:
        InputError: If a value is refused; names the first one.
    """
    for name, value in values.items():
        wanted = checks.get(name, finite)(value)
        if wanted:
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
            raise InputError(f"{name} is {shown}: it must be {wanted}")


def walk(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every value with its dotted name."""
    for name, value in node.items():
        if hasattr(value, "items"):
            yield from walk(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def plain(value: Any) -> Any:
    """Puts a list in place of a tuple, as JSON does."""
    return [*value] if isinstance(value, tuple) else value


_AS_BEFORE: Mapping[str, tuple[Any, ...]] = {
    "data.normalization": ("percentiles",),
    "data.fourth_axis": ("auto",),
    "data.split": ("auto",),
    "data.labeled": ((), []),
    "data.num_unlabeled": (0,),
    "data.ignore": ((), []),
    "finetune.warmup_share": (0,),
    "upright": (False,),
    "convolution_probability": (0,),
    "paste_probability": (0,),
    "cross_entropy_share": (0,),
    "pretrained_learning_rate": (0,),
    "pretrained_warmup_share": (0,),
}
"""Settings that earlier runs lack, with the values that do what those runs did.

A name without a dot stands for the settings of that name in all sections.
"""


def effective(config: Mapping[str, Any]) -> dict[str, Any]:
    """Lists the settings that change anything, given the values of the others.

    Args:
        config: A whole configuration, or a part.

    Returns:
        Values by dotted names.
    """
    settings = dict(walk(config))
    scratch = settings.get("init.checkpoint") == "none"

    def counts(name: str) -> bool:
        section, _, leaf = name.rpartition(".")
        if settings[name] in _AS_BEFORE.get(name, _AS_BEFORE.get(leaf, ())):
            return False
        if leaf == "min_steps":
            return settings[name] > 0 and not settings[f"{section}.num_steps"]
        if name == "data.fold":
            return settings.get("data.folds", 1) > 0
        if name == "data.window":
            return settings.get("data.normalization") == "window"
        if name == "data.empty_slices":  # a digest tells what masks became by "auto"
            return settings[name] == "unannotated"
        if name.startswith("finetune.unimatch."):
            weight = f"{section}.{leaf.partition('_')[0]}_weight"
            if leaf.startswith(("affinity_", "prototype_")) and not settings[weight]:
                return False
            if leaf.startswith("pretrained_") and scratch:
                return False
            return settings.get("finetune.method") == "unimatch"
        return True

    return {name: value for name, value in settings.items() if counts(name)}


def all_of(*checks: Check) -> Check:
    """Makes the check that asks several, and answers as the first that refuses."""
    return lambda value: next(filter(None, (check(value) for check in checks)), "")


def auto_or(check: Check) -> Check:
    """Makes the check that accepts "auto", and else what another check accepts."""
    return lambda value: (
        "" if value == "auto" else (wrong := check(value)) and f"{wrong}, or 'auto'"
    )


def choice(*known: str | int | bool) -> Check:
    """Makes the check for one of some words or numbers. True is not a number."""
    wanted, types = " or ".join(map(repr, known)), {*map(type, known)}
    return lambda value: "" if type(value) in types and value in known else wanted


def word_or(word: str, check: Check) -> Check:
    """Makes the check for one word, or for what another check accepts."""

    def wanted(value: Any) -> str:
        refused = "" if value == word else check(value)
        return f"{refused}, or {word!r}" if refused else ""

    return wanted


def anything(value: Any) -> str:
    """Accepts texts and switches, and values that are checked where they are used."""
    return finite(value)


def words(value: Any) -> str:
    """Accepts a list of words; the command line splits it at its commas."""
    return finite(value)


def finite(value: Any) -> str:
    """Refuses infinity and NaN."""
    wrong = (isinstance(x, float) and not math.isfinite(x) for x in _entries(value))
    return "finite" if any(wrong) else ""


def above_zero(value: Any) -> str:
    """Accepts finite numbers above 0."""
    return _numbers(value, lambda x: x > 0, "above 0")


def not_below_zero(value: Any) -> str:
    """Accepts finite numbers from 0 on."""
    return _numbers(value, lambda x: x >= 0, "0 or more")


def at_least_two(value: Any) -> str:
    """Accepts finite numbers from 2 on."""
    return _numbers(value, lambda x: x >= 2, "2 or more")


def share(value: Any) -> str:
    """Accepts numbers between 0 and 1, such as probabilities."""
    return _numbers(value, lambda x: 0 <= x <= 1, "between 0 and 1")


def between(low: float, high: float, why: str) -> Check:
    """Makes the check for a range outside of which a setting makes no sense.

    Args:
        low: The least right value.
        high: The largest right value.
        why: What lies beyond, such as "radians; 90 degrees are 1.571".
    """
    wanted = f"between {low:g} and {high:g} ({why})"
    return lambda value: _numbers(value, lambda x: low <= x <= high, wanted)


def seed(value: Any) -> str:
    """Accepts what a random number generator can be started from."""
    return _numbers(value, lambda x: 0 <= x < 2**32, "between 0 and 4294967295")


def whole_numbers(value: Any) -> str:
    """Accepts integers."""
    right = all(type(x) is int for x in _entries(value))
    return "" if right else "whole numbers, such as 16,32"


def pair(value: Any) -> str:
    """Accepts two numbers."""
    right = len(_entries(value)) == 2 and all(map(_is_number, _entries(value)))
    return "" if right else "two numbers, such as 0.5,1.5"


def ascending(value: Any) -> str:
    """Accepts a range whose first end is not above its second."""
    return "" if value[0] <= value[1] else "the smaller number first"


def _numbers(value: Any, is_right: Callable[[float], bool], wanted: str) -> str:
    """Checks finite numbers by a condition that is described by `wanted`."""
    if finite(value):
        return finite(value)
    entries = _entries(value)
    return "" if all(_is_number(x) and is_right(x) for x in entries) else wanted


def _entries(value: Any) -> tuple[Any, ...]:
    """Returns a tuple as it is, and any other value as a tuple of one."""
    return value if isinstance(value, tuple) else (value,)


def _is_number(value: Any) -> bool:
    """Tells numbers from texts and from truth values."""
    return isinstance(value, int | float) and not isinstance(value, bool)
