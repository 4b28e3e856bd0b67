"""What a command line says: the configuration file, the run's folder, lists."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

import pix2rep_jax
from pix2rep_jax.errors import InputError, plain_text
from pix2rep_jax.runtime.config_checks import Check, walk, words
from pix2rep_jax.runtime.home import expand

__all__ = [
    "config_argument",
    "default_workdir",
    "find_config",
    "flag_argument",
    "split_words",
    "split_workdirs",
    "with_found_config",
    "with_quoted_words",
    "with_run_config",
]

WORD_LISTS = (
    "data.classes",
    "data.exclude",
    "data.labeled",
    "study.methods",
    "study.figure3",
)
"""Lists of words. Their checks cannot be asked here, as that would import jax."""

_BRACKETS = {"(": ")", "[": "]", "'": "'", '"': '"'}


def config_argument(command: Sequence[str]) -> str:
    """Finds what stands behind `--config`; empty where there is no such flag."""
    index = _find_flag(command)
    if index is None:
        return ""
    word = command[index]
    return word.partition("=")[2] if "=" in word else "".join(command[index + 1 :][:1])


def flag_argument(command: Sequence[str], name: str) -> str:
    """Finds what stands behind a flag; empty where there is no such flag."""
    found = ""
    for index, word in enumerate(command):
        if match := re.match(rf"--?{name}(=|$)", word):
            following = "".join(command[index + 1 : index + 2])
            found = word[match.end() :] if match[1] else following
    return found


def with_run_config(command: Sequence[str]) -> list[str]:
    """Adds the configuration of the run in `--workdir` to a command without `--config`.

    Args:
        command: The words of the command line, program first.

    Returns:
        The words, with a `--config` before all others if there is such a run.
    """
    workdir = flag_argument(command, "workdir")
    if _find_flag(command) is not None or not workdir:
        return list(command)
    from pix2rep_jax.runs.remembered import find_source  # late: jax is slow

    mode = flag_argument(command, "mode")
    place = expand(split_workdirs(workdir, mode)[0], "--workdir")
    run = find_source(place, mode)
    if run is None:
        return list(command)
    file = Path(__file__).with_name("run_config.py")
    return [*command[:1], f"--config={file}:{run}", *command[1:]]


def with_found_config(command: Sequence[str]) -> list[str]:
    """Replaces what stands behind `--config` by the file that it means.

    Args:
        command: The words of the command line, program first.

    Returns:
        The words, with the flag before all others: the parser refuses a `--config.`
        that stands before it.

    Raises:
        InputError: If there is no such file.
    """
    replaced, named = list(command), config_argument(command)
    index = _find_flag(command)
    if index is not None and (named or len(command) > index + 1 or "=" in command[-1]):
        found = find_config(named)
        if "=" in command[index]:
            replaced[index] = f"--config={found}"
        else:
            replaced[index + 1] = found
    first: list[str] = []
    rest: list[str] = []
    following = iter(replaced[1:])
    for word in following:
        flag = re.match(r"--?config(=|$)", word)
        (rest if flag is None else first).append(word)
        if flag is not None and not flag[1]:
            first += [value for value in [next(following, None)] if value is not None]
    return [*replaced[:1], *first, *rest]


def with_quoted_words(command: Sequence[str]) -> list[str]:
    """Quotes the words of lists, which the parser would else take for Python.

    It reads 001 as a mistake, 1e5 as a number, and (BG as a word with a bracket.

    Args:
        command: The words of the command line, program first.

    Raises:
        InputError: If a bracket or a quotation mark has no partner.
    """
    replaced = list(command)
    pattern = re.compile(rf"--?config\.({'|'.join(map(re.escape, WORD_LISTS))})(=|$)")
    for index, word in enumerate(command):
        if not (found := pattern.match(word)):
            continue
        if found[2]:
            listed = read_words(word[found.end() :], found[1])
            replaced[index] = f"{found[0]}{_quote(listed)}"
        elif index + 1 < len(command):
            replaced[index + 1] = _quote(read_words(command[index + 1], found[1]))
    return replaced


def read_words(text: str, name: str) -> list[str]:
    """Splits a list of words at its commas, as people write lists: a,b or (a,b).

    Args:
        text: What stands behind the setting.
        name: The setting.

    Raises:
        InputError: If a bracket or a quotation mark has no partner.
    """
    words = [_without_marks(word) for word in _without_marks(text).split(",")]
    for word in words:
        closed = all(word.count(x) == word.count(y) for x, y in ("()", "[]"))
        if not closed or word[:1] in ("'", '"') or word[-1:] == '"':
            raise InputError(
                f"{name} has the entry {word}, in which a bracket or a quotation mark "
                f"has no partner: write the words alone, --config.{name}=A,B"
            )
    return list(filter(None, words))


def _without_marks(text: str) -> str:
    """Takes the brackets or quotation marks off that surround a text."""
    text = text.strip()
    if len(text) > 1 and _BRACKETS.get(text[0]) == text[-1]:
        inner = text[1:-1]
        if not any(mark in inner for mark in (text[0], text[-1])):
            return inner.strip()
    return text


def _quote(words: Sequence[str]) -> str:
    """Writes words as a list that the parser reads as these words."""
    return "".join(f"{word!a}," for word in words)


def find_config(named: str) -> str:
    """Finds a configuration file, in the package if it is not where it is named.

    Args:
        named: As written behind `--config`: "configs/pix2rep.py:small". Only
            `configs/NAME.py` and `NAME.py` are looked up in the package.

    Returns:
        The same with the path of the file that exists.

    Raises:
        InputError: If there is no such file.
    """
    path, colon, size = named.partition(":")
    if Path(path).is_file():
        return named
    if str(Path(path).parent) in (".", "configs"):
        for folder in _own_folders():
            if (folder / Path(path).name).is_file():
                return f"{folder / Path(path).name}{colon}{size}"
    raise InputError(
        f"there is no config file {path!r}: try --config configs/pix2rep.py"
    )


def default_workdir(named: str) -> Path:
    """Names a run's folder after a configuration file and its size.

    Args:
        named: As written behind `--config`: "configs/pix2rep.py:small".

    Returns:
        `runs/<file's name>[-<size>]`.
    """
    path, _, size = named.partition(":")
    name = Path(path).stem + (f"-{size}" if size else "")
    return Path("runs") / re.sub(r"[^\w.=-]+", "-", name)


def split_workdirs(named: str | Path, mode: str) -> list[str]:
    """Splits A,B,C behind `--workdir`, where a mode takes the runs of several.

    Args:
        named: As written; a folder that is there may have a comma in its name.
        mode: The mode that is to run.
    """
    named = str(named)
    if (
        mode not in ("predict", "evaluate", "report")
        or expand(named, "--workdir").exists()
    ):
        return [named]
    return [each.strip() for each in named.split(",") if each.strip()] or [named]


def split_words(config: ConfigDict, checks: Mapping[str, Check]) -> None:
    """Reads lists of words as people write them on a command line: a,b.

    The parser makes one word of "a,b", and numbers of words such as 101.

    Args:
        config: The whole configuration. Its lists of words are replaced.
        checks: Checks by dotted names; a list of words is declared as `words`.
    """
    for name, value in list(walk(config)):
        if checks.get(name) is not words or not isinstance(value, tuple):
            continue
        split = [str(word) for word in value]
        if len(split) == 1:
            split = [word.strip() for word in split[0].split(",")]
        plain = map(plain_text, filter(None, split))
        config.update_from_flattened_dict({name: tuple(plain)})


def _find_flag(command: Sequence[str]) -> int | None:
    """Returns the place of the flag that names the file; the last one counts."""
    places = [i for i, x in enumerate(command) if re.match(r"--?config(=|$)", x)]
    return places[-1] if places else None


def _own_folders() -> list[Path]:
    """Lists where this package's configurations may lie: installed, or in a clone."""
    package = Path(pix2rep_jax.__file__).parent
    installed, clone = package / "configs", package.parent / "configs"
    return [installed] if installed.is_dir() else [clone]
