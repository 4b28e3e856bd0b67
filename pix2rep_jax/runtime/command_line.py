"""What a command line says: which run it means, and where it is mistaken."""

import difflib
import importlib.machinery
import importlib.util
import os
import pathlib
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence

from absl import flags

from pix2rep_jax.runtime.config_checks import walk

__all__ = [
    "config_argument",
    "default_workdir",
    "explain",
    "next_command",
    "overrides_without_effect",
]


def config_argument(argv: Sequence[str]) -> str:
    """Finds what was written behind `--config`; empty where nothing was."""
    for here, following in zip(argv, [*argv[1:], ""], strict=True):
        if here in ("--config", "-config"):
            return following
        if here.startswith(("--config=", "-config=")):
            return here.partition("=")[2]
    return ""


def default_workdir(config: str) -> pathlib.Path:
    """Names a run's folder after a config file and its variant.

    Args:
        config: As written behind `--config`: "configs/pix2rep.py:small".

    Returns:
        `runs/<file's name>[-<variant>]`.
    """
    path, _, variant = config.partition(":")
    name = pathlib.Path(path).stem + (f"-{variant}" if variant else "")
    return pathlib.Path("runs") / re.sub(r"[^\w.=-]+", "-", name)


def next_command(argv: Sequence[str], *, mode: str) -> str:
    """Writes the command that runs another mode with the same options.

    Args:
        argv: The command line of this one, program first.
        mode: The mode to run next.

    Returns:
        A line to type into a shell.
    """
    words = list(argv[1:])
    for index, word in enumerate(words):
        if word in ("--mode", "-mode") and index + 1 < len(words):
            words[index + 1] = mode
        elif word.startswith(("--mode=", "-mode=")):
            words[index] = f"--mode={mode}"
    return shlex.join([_python(), argv[0], *words])


def explain(error: Exception, argv: Sequence[str]) -> str | None:
    """Says what is wrong with a command line whose parsing failed.

    Args:
        error: What parsing the flags, or reading the configuration, raised.
        argv: The command line.

    Returns:
        One sentence, or None where the error is not about the command line.
    """
    if isinstance(error, flags.Error):  # it may hold a config file's whole traceback
        said = str(error).strip().splitlines()[-1].strip()
        return said.removeprefix("ValueError: ")
    config = config_argument(argv)
    path, _, variant = config.partition(":")
    if not pathlib.Path(path).is_file():
        return f"there is no config file {path!r}: try --config configs/pix2rep.py"
    if isinstance(error, ValueError) and f"variant {variant!r}" in str(error):
        return str(error)
    try:
        known = [name for name, _ in walk(_load(path, variant))]
    except Exception as fault:
        return (
            f"the config file {path!r} cannot be used ({type(fault).__name__}: "
            f"{fault}): it must be Python with a get_config, such as configs/pix2rep.py"
        )
    for argument in argv:
        name = _overridden(argument)
        if name and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            return f"{path} has no key {name!r}: did you mean --config.{near[0]}?"
    return None


def overrides_without_effect(
    argv: Sequence[str], own: Mapping, *, method: str
) -> list[str]:
    """Finds what is set for all pretraining methods, and set otherwise by this one.

    Args:
        argv: The command line.
        own: The section of the method's name.
        method: Its name.

    Returns:
        A sentence each.
    """
    hidden = {name for name, _ in walk(own)}
    sentences = []
    for argument in argv:
        name = _overridden(argument).removeprefix("pretrain.")
        if name in hidden:
            written = argument.partition("=")[0]
            sentences.append(
                f"{written} has no effect: pretrain.method={method} has a value of its "
                f"own, --config.{method}.{name}"
            )
    return sentences


def _overridden(argument: str) -> str:
    """The setting that an argument overrides; empty where it is no override."""
    override = re.match(r"--?config\.([\w.]+)", argument)
    return override[1] if override else ""


def _python() -> str:
    """How to call this Python from here: a virtual environment's is not on PATH."""
    if shutil.which("python") == sys.executable:
        return "python"
    here = os.path.relpath(sys.executable)
    return sys.executable if here.startswith("..") else here


def _load(path: str, variant: str) -> Mapping:
    """Runs a config file's get_config."""
    loader = importlib.machinery.SourceFileLoader("config_file", path)
    spec = importlib.util.spec_from_loader("config_file", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module.get_config(variant) if variant else module.get_config()
