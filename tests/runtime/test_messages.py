"""Notes in scripts are plain lines, unless the user has set up logging."""

import subprocess
import sys

import pytest

from tests.support.program import ROOT, environment

SAY = """
from absl import logging as of_absl
of_absl.vlog(1, "as Orbax does at its import")
logging.getLogger("pix2rep_jax.runs.start").warning("%s is left out", "fold0")
"""
NOTE = "note: fold0 is left out\n"

SCRIPTS = {
    "nothing": ("", NOTE),
    "a message of its own": ("logging.warning('mine')", f"WARNING:root:mine\n{NOTE}"),
    "a format": (
        "logging.basicConfig(format='mine: %(message)s')",
        "mine: fold0 is left out\n",
    ),
    "a level": (
        "logging.basicConfig(level='INFO')",
        "WARNING:pix2rep_jax.runs.start:fold0 is left out\n",
    ),
    "errors alone": ("logging.getLogger().setLevel('ERROR')", ""),
    "a handler of the package": (
        "logging.getLogger('pix2rep_jax').addHandler(logging.StreamHandler())",
        "fold0 is left out\n",
    ),
    "the package silenced": (
        "logging.getLogger('pix2rep_jax').setLevel('ERROR')",
        "",
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_a_script_sees_notes(name, first):
    """Whether logging is set up before the package is imported, or after."""
    own, expected = SCRIPTS[name]
    words = ["import logging", *([own] if first else [])]
    words += ["import pix2rep_jax", *([] if first else [own])]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(words) + SAY],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    own_messages = (x for x in done.stderr.splitlines(True) if "Orbax" not in x)
    assert "".join(own_messages) == expected
