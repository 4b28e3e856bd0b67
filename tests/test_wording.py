"""Sentences name flags on the command line, and arguments where Python has called."""

import ast
import inspect
import pickle
import re
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

import pix2rep_jax
from pix2rep_jax import wording
from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.command_line import next_step
from pix2rep_jax.wording import FUNCTIONS, count, for_caller, in_function
from tests.support.program import ROOT, environment

PACKAGE = ROOT / "pix2rep_jax"
ONLY_COMMANDS = (
    "cli",
    "study",
    "page/style.py",
    "api/command.py",  # writes a command
    "modes/report_names.py",  # on a page, where commands stand
    "runtime/command_line.py",
    "runtime/multihost.py",
)
"""What Python does not reach, or what takes commands apart."""


def sentences():
    """The texts of the package that name a flag, with x for each value in them."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        if name.startswith(ONLY_COMMANDS) or name in ("wording.py", "__init__.py"):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        texts = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                texts |= {id(each) for each in node.values}
        for node in ast.walk(tree):
            if id(node) in texts:
                continue
            if isinstance(node, ast.JoinedStr):
                parts = (x.value if hasattr(x, "value") else "" for x in node.values)
                said = "".join(x if isinstance(x, str) else "x" for x in parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                said = node.value
            else:
                continue
            if re.search(r"(^|\s|\()--[a-z]", said):
                yield f"{name}:{node.lineno}", said


def test_no_sentence_speaks_of_a_flag_to_python():
    """But of a mode that is not a function, which a shell runs."""
    wrong, number = [], 0
    for place, said in sentences():
        number += 1
        assert for_caller(said) == said
        for function in ("", *FUNCTIONS):
            with in_function(function):
                told = for_caller(said)
                assert for_caller(told) == told
            left = re.sub(r"pix2rep --mode \w+( --[\w.]+(=\S+)?)*", "", told)
            if re.search(r"(?<!\w)--[a-z]", left):
                wrong.append((place, told))
    assert not wrong and number > 100


@pytest.mark.parametrize("mode", FUNCTIONS)
def test_the_arguments_exist(mode):
    """An option that another flag's name stands for is one of the function's."""
    known = inspect.signature(getattr(pix2rep_jax, mode)).parameters
    for argument in FUNCTIONS[mode].values():
        assert argument in known


def test_values_are_written_as_python_has_them():
    with in_function("finetune"):
        told = for_caller(
            "set --config.data.num_labeled=3, --config.data.classes=BG,LV or "
            "--config.data.root='/my scans'."
        )
        assert told == (
            'set data__num_labeled=3, data__classes="BG,LV" or data="/my scans".'
        )
        command = "--mode check --config=a.py:small --config.data.root='/my scans'"
        assert for_caller(f"run {command}") == f"run pix2rep {command}"
        assert for_caller("pip install --upgrade") == "pip install --upgrade"
        assert for_caller("in /a/--overwrite/b") == "in /a/--overwrite/b"


def test_an_error_keeps_its_words(tmp_path):
    """The function has ended when it is read; a process that helps sends the flags."""
    with in_function("predict"):
        error = InputError(f"{tmp_path} exists: add --overwrite to replace it")
    assert str(error) == f"{tmp_path} exists: add overwrite=True to replace it"
    assert "--overwrite" in str(pickle.loads(pickle.dumps(error)))


def test_functions_name_their_arguments(tmp_path):
    """In a process of its own, as a script."""
    scan = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), scan)
    (tmp_path / "page.html").touch()
    code = (
        "import sys, pix2rep_jax\n"
        "run, scan, page = sys.argv[1:]\n"
        "calls = [lambda: pix2rep_jax.explore(run, scan, page),\n"
        "  lambda: pix2rep_jax.embed(run, run + '/none', run),\n"
        "  lambda: pix2rep_jax.Segmenter.load(run),\n"
        "  lambda: pix2rep_jax.finetune(out=run + '/a', size='quick'),\n"
        "  lambda: pix2rep_jax.finetune(out=run + '/b'),\n"
        "  lambda: pix2rep_jax.pretrain(out=run, size='quick', pretrain__steps=3),\n"
        "  lambda: pix2rep_jax.pretrain(out=run, size='quick', seed='many')]\n"
        "for call in calls:\n"
        "  try: call()\n"
        "  except ValueError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path, scan, tmp_path / "page.html"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    said = done.stdout.splitlines()[-7:]
    assert len(said) == 7, done.stderr
    told = ["overwrite=True", "'scans'", "finetune()", "start=FOLDER", "data=FOLDER"]
    told += ["'pretrain__num_steps'", 'seed="many"']
    assert str(tmp_path / "b") in said[4] and ".py" not in "".join(said[4:])
    for line, argument in zip(said, told, strict=True):
        assert argument in line and "--" not in line


def test_what_comes_next_is_a_call(monkeypatch):
    words = ["pix2rep", "--mode=pretrain", "--workdir=/a b"]
    with in_function("pretrain"):
        step = next_step(words, mode="predict", workdir="/a b", options=" --input SCAN")
    assert step == 'predict(run="/a b", input=SCAN)'
    assert next_step(words, mode="probe", workdir="/a b").endswith("--workdir=/a b'")
    monkeypatch.setattr(wording._Caller, "function", "")
    assert next_step(words, mode="probe", workdir="a") == 'probe(out="a")'


def test_only_one_thing_is_singular():
    assert [count(n, "scan") for n in (0, 1, 2)] == ["0 scans", "1 scan", "2 scans"]
    assert count(np.int64(1), "test patient") == "1 test patient"
    assert count(2155, "annotated slice") == "2155 annotated slices"
    numbers = (count(n, "axis", plural="axes") for n in (1, 2))
    assert [*numbers] == ["1 axis", "2 axes"]


def test_no_text_leaves_the_number_open():
    """As "patient(s)" would: `count` knows whether it is one."""
    for folder in (PACKAGE, ROOT / "benchmarks", ROOT / "configs"):
        for path in sorted(folder.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    assert not re.search(r"\w\(s\)", node.value), (
                        f"{path}:{node.lineno}"
                    )
