"""The examples in the docstrings of the functions that other people call."""

import doctest
import sys

import pytest

import pix2rep_jax
from pix2rep_jax.evaluation.dice import dice_per_class

DOCUMENTED = [*(getattr(pix2rep_jax, name) for name in pix2rep_jax.__all__)]
DOCUMENTED += [dice_per_class]


@pytest.mark.parametrize("documented", DOCUMENTED, ids=lambda each: each.__name__)
def test_examples_give_what_they_show(documented, tmp_path, monkeypatch):
    """Each public name has an example, and its output is the one in the docstring."""
    monkeypatch.chdir(tmp_path)
    module = sys.modules[documented.__module__]
    finder = doctest.DocTestFinder(recurse=False)
    (test,) = finder.find(documented, globs=dict(vars(module)))
    assert test.examples
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert runner.run(test).failed == 0
