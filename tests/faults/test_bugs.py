"""What no file, header, flag or environment explains ends as a defect."""

import errno
import os
import pathlib
import tempfile

import pytest

from pix2rep_jax.cli.failure import BUG, describe_failure
from pix2rep_jax.errors import InputError, explain, explain_memory


def fail():
    """A defect."""
    return [][1]


def caught():
    try:
        fail()
    except IndexError as error:
        return error


def test_the_traceback_of_a_defect_lies_in_the_workdir(tmp_path):
    said, status = describe_failure(caught(), str(tmp_path))
    (path,) = tmp_path.glob("traceback-*.txt")
    assert status == BUG and str(path) in said and len(said.splitlines()) == 1
    text = path.read_text()
    assert "in fail" in text and "IndexError" in text and "Python" in text


@pytest.mark.parametrize("place", ["missing", "file/run", "~no-such-user/x", "", "\0"])
def test_it_lies_in_the_temporary_folder_where_the_workdir_cannot_be_written(
    tmp_path, monkeypatch, place
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "file").touch()
    workdir = place if place[:1] in ("~", "", "\0") else str(tmp_path / place)
    said, _ = describe_failure(caught(), workdir)
    (path,) = (tmp_path / "tmp").glob("traceback-*.txt")
    assert str(path) in said and not (tmp_path / "missing").exists()


def test_a_full_disk_does_not_hide_a_defect(tmp_path, monkeypatch):
    """The line then says that nothing is saved."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "mkstemp", full)
    said, status = describe_failure(caught(), str(tmp_path))
    assert status == BUG and "IndexError" in said


def test_a_name_that_is_not_utf_8_can_be_reported(tmp_path):
    command = ["main.py", "--workdir=\udce9"]
    describe_failure(caught(), str(tmp_path), command=command)
    (path,) = tmp_path.glob("traceback-*.txt")
    assert r"\udce9" in path.read_text(encoding="utf-8")


def test_what_is_explained_is_not_a_defect(tmp_path):
    said, status = describe_failure(InputError("one\ntwo"), str(tmp_path))
    assert (said, status) == ("error: one two", 1) and not list(tmp_path.iterdir())


def test_too_little_memory_for_an_array_is_explained():
    """By what NumPy really raises."""
    import numpy as np

    with pytest.raises(MemoryError) as full:
        np.empty(2**60, np.uint8)
    assert "data.size" in explain_memory(full.value)
    with pytest.raises(FileNotFoundError) as gone:
        pathlib.Path("/no/such/file").read_text()
    assert "/no/such/file" in explain(gone.value)
    assert explain(ValueError("shapes do not match")) is None


def test_a_list_at_the_end_keeps_its_lines():
    """The layouts that are known are trees; other breaks become spaces."""
    said, status = describe_failure(InputError("one\nsentence:\n  A:\n    a/b\n  C"))
    assert status == 1
    assert said.splitlines()[1:] == ["  A:", "    a/b", "  C"]
    assert said.splitlines()[0].endswith("one sentence:")
    assert "\n" not in describe_failure(InputError("one\ntwo\n"))[0]
