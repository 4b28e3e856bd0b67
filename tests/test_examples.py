"""The examples in the docstrings of the functions that other people call."""

import doctest
import importlib
import re
import shutil
import sys

import pytest

import pix2rep_jax
from pix2rep_jax.evaluation.dice import dice_per_class
from tests.support.program import ROOT

PAGE = (ROOT / "docs" / "reference" / "api.md").read_text("utf-8")


def documented():
    """The names of the package's face, and the others of the page."""
    paths = re.findall(r"^::: ([\w.]+)\.(\w+)$", PAGE, flags=re.M)
    shown = [getattr(importlib.import_module(x), y) for x, y in paths if y != "api"]
    face = [getattr(pix2rep_jax, name) for name in pix2rep_jax.__all__]
    return list(dict.fromkeys([*face, *shown, dice_per_class]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, workdir, cache):
    """What the examples name: a trained run, a few scans, a user's home."""
    folder = tmp_path_factory.mktemp("user")
    shutil.copytree(workdir, folder / "runs" / "pix2rep")
    patient = next(cache.glob("phantom-*/testing/*"))
    for path in patient.glob("*_frame??.nii.gz"):
        (folder / "SCANS" / "images").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / "SCANS" / "images")
    home = folder / "home" / ".cache"
    home.mkdir(parents=True)
    (home / "pix2rep-jax").symlink_to(cache)
    return folder


def other_modules():
    """Names of the modules of which functions that the page lacks have examples."""
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "pix2rep_jax").rglob("*.py"))
        if ">>> " in path.read_text("utf-8") and path.parent.name != "api"
    ]


@pytest.mark.parametrize("module", other_modules())
def test_examples_of_other_functions_give_what_they_show(module):
    """They need no run, no scan and no home."""
    shown = {each.__qualname__ for each in documented()}
    finder = doctest.DocTestFinder()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in finder.find(importlib.import_module(module)):
        if not shown & {test.name.removeprefix(f"{module}.").partition(".")[0]}:
            assert runner.run(test).failed == 0


@pytest.mark.parametrize("documented", documented(), ids=lambda each: each.__name__)
def test_examples_give_what_they_show(documented, folder, monkeypatch):
    """Each public name has an example, and its output is the one in the docstring."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder / "home"))
    module = sys.modules[documented.__module__]
    finder = doctest.DocTestFinder(recurse=False)
    (test,) = finder.find(documented, globs=dict(vars(module)))
    assert test.examples
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert runner.run(test).failed == 0
