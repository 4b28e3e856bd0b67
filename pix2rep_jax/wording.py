"""Chooses words: flags or arguments by who called, singular or plural by a number.

Sentences are written with flags, such as `--overwrite`. Where Python has called, they
name what a caller can write there: `overwrite=True`.
"""

import contextlib
import re
from collections.abc import Iterator

__all__ = ["count", "for_caller", "in_function", "inflect", "speak_of_flags"]

_TRAINING = {"workdir": "out", "data.root": "data", "init.checkpoint": "start"}
_WRITING = {"workdir": "run", "output": "out"}
_READING = {**_WRITING, "input": "scans"}

FUNCTIONS = {
    **dict.fromkeys(("pretrain", "probe", "finetune"), _TRAINING),
    "evaluate": {"workdir": "run", "data.root": "data"},
    "predict": {"workdir": "run"},
    **dict.fromkeys(("embed", "explore"), _READING),
    **dict.fromkeys(("export", "report"), _WRITING),
}
"""The modes that are functions, with the arguments that have other names than flags."""

_SWITCHES = ("overwrite", "probabilities", "anonymise")

_VALUED = "workdir|input|output|support|suffix|embedding|grid|format"

_VALUE = r"""=(?:'[^']*'|"[^"]*"|\S*[^\s;:).,?])| [A-Z]{2,}(?:\.\w+)?\b"""
"""Behind a flag: `=VALUE` up to the sentence's own marks, or a capital placeholder."""

_FLAG = rf"--((?:config\.\w+(?:\.\w+)*|{_VALUED}|{'|'.join(_SWITCHES)})\b)({_VALUE})?"

_PLAIN_FLAG = re.sub(r"(?<!\\)\((?!\?)", "(?:", _FLAG)

_OPTIONS = re.compile(
    rf"(?<![\w/-])(?:(?:pix2rep )?--mode[ =](?P<mode>[a-z]+)(?: --config=\S+)?"
    rf"(?P<flags>(?: {_PLAIN_FLAG})*)|(?P<flag>{_PLAIN_FLAG}))"
)


def count(number: int, noun: str, *, plural: str | None = None) -> str:
    """Writes a number, and behind it what it counts.

    Args:
        number: How many there are.
        noun: What one of them is called. The last of its words takes the s.
        plural: What several are called, where an s is not enough.

    >>> count(1, "patient"), count(3, "test patient")
    ('1 patient', '3 test patients')
    >>> count(0, "class", plural="classes")
    '0 classes'
    """
    return f"{number} {inflect(number, noun, plural=plural)}"


def inflect(number: int, noun: str, *, plural: str | None = None) -> str:
    """Writes what a number counts, without the number; the arguments are `count`'s."""
    return noun if number == 1 else plural or f"{noun}s"


class _Caller:
    """Who called: a function of `FUNCTIONS`, "" for other Python, None for a shell."""

    function: str | None = ""


def speak_of_flags() -> None:
    """Keeps the flags in sentences, because this process is the command line's."""
    _Caller.function = None


@contextlib.contextmanager
def in_function(name: str) -> Iterator[None]:
    """Names the arguments of a function in all sentences of a block.

    Args:
        name: One of `FUNCTIONS`.
    """
    before, _Caller.function = _Caller.function, name
    try:
        yield
    finally:
        _Caller.function = before


def for_caller(sentence: str) -> str:
    """Writes a sentence in the words of who called; one that has been stays as it is.

    Args:
        sentence: It may name flags, and modes as `--mode predict`.

    >>> with in_function("embed"):
    ...     for_caller("name another --output, or add --overwrite")
    "name another 'out', or add overwrite=True"
    >>> with in_function("pretrain"):
    ...     for_caller("run --mode probe --config.data.classes=BG,LV")
    'run probe(data__classes="BG,LV")'
    """
    if (function := _Caller.function) is None:
        return sentence

    def option(found: re.Match[str]) -> str:
        mode = found["mode"]
        if mode is None:
            return _argument(found["flag"], function)
        if mode not in FUNCTIONS:  # for the command line alone
            return f"pix2rep {found[0].removeprefix('pix2rep ')}"
        flags = (each[0] for each in re.finditer(_FLAG, found["flags"]))
        return f"{mode}({', '.join(_argument(each, mode) for each in flags)})"

    return _OPTIONS.sub(option, sentence)


def _argument(flag: str, function: str) -> str:
    """Writes a flag as an argument; without a value it is the name in quotes."""
    found = re.fullmatch(_FLAG, flag)
    assert found is not None
    name, value = found[1].removeprefix("config."), (found[2] or "")[1:]
    name = FUNCTIONS.get(function, {}).get(name, name).replace(".", "__")
    if not value:
        return f"{name}=True" if name in _SWITCHES else f"'{name}'"
    plain = re.fullmatch(r"-?\d+(\.\d+)?|True|False|[A-Z]{2,}(\.\w+)?", value)
    return f"{name}={value}" if plain else f'{name}="{value.strip(chr(39))}"'
