"""Files that nobody reads half of, whoever else writes the same one."""

import os
from pathlib import Path

import pytest

from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.atomic_file import (
    read_object,
    read_sealed,
    replacing,
    write_sealed,
    write_whole,
)


def test_hosts_with_the_same_process_number_write_apart(tmp_path, monkeypatch):
    """In the file's folder, hidden, and with the end of the name that was asked for."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    path = tmp_path / "split.png"
    with (
        replacing(path, suffix=".png") as first,
        replacing(path, suffix=".png") as second,
    ):
        assert first != second
        for each in (first, second):
            assert each.parent == path.parent and each.suffix == ".png"
            assert each.name.startswith(".split.png.")
            each.write_text(each.name)
    assert path.read_text() == first.name and list(tmp_path.iterdir()) == [path]


def test_a_writer_that_is_stopped_leaves_what_was_there(tmp_path):
    """Ctrl-C in the middle, as in a picture of many scans, is no error to catch."""
    path = tmp_path / "curves.pdf"
    path.write_text("whole")
    with pytest.raises(KeyboardInterrupt), replacing(path) as partial:
        partial.write_text("ha")
        raise KeyboardInterrupt
    assert path.read_text() == "whole" and list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_what_was_there_and_nothing_beside_it(tmp_path, monkeypatch):
    """The old content stays, and one sentence says which file and what to do."""
    path = tmp_path / "split.json"
    write_whole(path, '{"draw": 0}')

    def no_space(self, *_, **__):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", no_space)
    with pytest.raises(InputError, match=r"split\.json"):
        write_whole(path, '{"draw": 1}')
    assert read_object(path) == {"draw": 0} and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", [None, '{"draw": ', "[1, 2]", "\udcff"])
def test_a_file_without_an_object_is_as_good_as_none(tmp_path, text):
    """Missing, cut short, of another kind, or not text at all."""
    path = tmp_path / "record.json"
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert read_object(path) == {}


def test_a_sealed_file_is_read_under_its_name_and_unchanged(tmp_path):
    """Whatever else was done to it, it is as good as none."""
    path, other = tmp_path / "facts.json", tmp_path / "other.json"
    content = {"mm": [1.25, 8.0], "name": "é", "none": None}
    write_sealed(path, content)
    assert read_sealed(path) == content
    whole = path.read_text()
    other.write_text(whole)
    assert read_sealed(other) == {}
    for text in ("", "{}", whole[:-1], whole.replace("1.25", "1.35"), '{"content": 1}'):
        path.write_text(text)
        assert read_sealed(path) == {}
