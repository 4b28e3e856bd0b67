"""Standard streams that are closed, broken, or cannot hold a character."""

import shlex
import subprocess
import sys

import pytest

from tests.support.program import ROOT, command, environment

WRITE = """
import os, sys
from pix2rep_jax.runtime.standard_streams import abandon_output, mend_streams
mend_streams()
with open(sys.argv[1], "w") as file:
    assert file.fileno() > 2
    for number in (1, 2):
        os.write(number, b"noise")  # as a library of C++ does
    print("r\\u00e9sum\\u00e9 \\udce9")
    print("r\\u00e9sum\\u00e9 \\udce9", file=sys.stderr)
    file.write("kept")
abandon_output()
"""

TALK = """
import sys
from pix2rep_jax.errors import explain
from pix2rep_jax.runtime.standard_streams import abandon_output, mend_streams
mend_streams()
try:
    while True:
        print("line")
except OSError as error:
    print(f"error: {explain(error)}", file=sys.stderr)
finally:
    abandon_output()
"""


def run(words, closed="", **variables):
    """Runs a command by a shell, which closes streams: "2>&-"."""
    line = f"{shlex.join(words)} {closed}"
    variables = environment() | variables
    return subprocess.run(
        ["sh", "-c", line], cwd=ROOT, env=variables, capture_output=True, timeout=300
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_not_taken_for_a_file(tmp_path, closed):
    """Its number stays taken, so nothing that is printed ends up in a file."""
    path = tmp_path / "file"
    result = run([sys.executable, "-c", WRITE, str(path)], closed)
    assert result.returncode == 0, result.stderr
    assert path.read_text() == "kept"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1:strict"])
def test_a_stream_writes_what_it_cannot_hold_as_an_escape(tmp_path, encoding):
    words = [sys.executable, "-c", WRITE, str(tmp_path / "file")]
    result = run(words, PYTHONIOENCODING=encoding)
    assert result.returncode == 0, result.stderr
    for said in (result.stdout, result.stderr):
        assert b"\\udce9" in said


@pytest.mark.parametrize("target", ["> /dev/full", "| true"])
def test_output_that_cannot_be_written_is_one_sentence(tmp_path, target):
    """And Python's own word on it, at the very end, does not follow."""
    result = run([sys.executable, "-c", TALK], target)
    (line,) = result.stderr.decode().splitlines()
    assert line.startswith("error: ")


@pytest.mark.parametrize("closed", [">&- 2>&-", "2>&-"])
def test_a_mistake_ends_the_program_where_nobody_can_read_it(closed):
    """With the status alone."""
    result = run([sys.executable, "main.py", "--mode=probe"], closed)
    assert result.returncode == 1
    assert b"Traceback" not in result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "> /dev/null"])
def test_a_training_needs_no_stream(tmp_path, cache, closed):
    """Nor one that can hold the name of its folder."""
    workdir = tmp_path / "r\u00e9sum\u00e9"
    words = command("pretrain", workdir, cache, pretrain__num_steps=2)
    result = run(words, closed, PYTHONIOENCODING="ascii")
    assert result.returncode == 0, result.stderr
    assert (workdir / "pretrain" / "checkpoints" / "2").is_dir()
