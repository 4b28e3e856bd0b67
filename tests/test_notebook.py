"""What the notebook types is what the program takes: Colab itself is not at hand."""

import ast
import importlib
import json
import pathlib
import re
import shlex

import pytest

from pix2rep_jax.cli.program import MODES
from pix2rep_jax.runtime.config_checks import walk
from tests.support.program import ROOT

NOTEBOOK = ROOT / "notebooks" / "colab.ipynb"


def code_cells():
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    cells = [x for x in content["cells"] if x["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells)
    return ["".join(cell["source"]) for cell in cells]


def commands():
    text = "\n".join(code_cells())
    return re.findall(r"^!python (main\.py .*)$", text, flags=re.MULTILINE)


def test_every_mode_that_needs_no_study_is_shown():
    """Pretrain to predict, each by a command."""
    shown = {words[words.index("--mode") + 1] for words in map(shlex.split, commands())}
    assert shown == set(MODES) - {"study", "folds", "check"}


@pytest.mark.parametrize("command", commands())
def test_a_command_is_one_that_the_program_knows(command):
    """Its config file, its size, its mode and all its settings exist."""
    words = shlex.split(command)
    path, _, variant = words[words.index("--config") + 1].partition(":")
    assert (ROOT / path).is_file()
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    known = {name for name, _ in walk(module.get_config(variant or "quick"))}
    assert words[words.index("--mode") + 1] in MODES
    for word in words:
        if word.startswith("--config."):
            assert word.removeprefix("--config.").partition("=")[0] in known


@pytest.mark.parametrize("cell", code_cells())
def test_a_cell_is_python_around_its_commands(cell):
    """Whatever is behind a `!` or a `%` is the shell's."""
    plain = re.sub(r"^(\s*)(\w+ = )?[!%].*$", r"\1\2None", cell, flags=re.MULTILINE)
    ast.parse(plain)


def test_the_files_that_it_installs_exist():
    """Of both kinds of runtime."""
    names = re.findall(r"requirements[\w-]*\.txt", "".join(code_cells()))
    assert {*names} == {"requirements.txt", "requirements-gpu.txt"}
    assert all(pathlib.Path(ROOT, name).is_file() for name in names)
