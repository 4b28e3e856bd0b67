"""Which configuration file a command line names."""

import pathlib

import pytest

from pix2rep_jax.cli.config_file import (
    config_argument,
    default_workdir,
    explain_override,
    find_config,
    with_found_config,
)
from pix2rep_jax.errors import InputError
from tests.support.program import ROOT


@pytest.mark.parametrize(
    "words",
    [
        ["main.py", "--config", "a.py:small", "--mode", "probe"],
        ["main.py", "--mode", "probe", "--config=a.py:small"],
        ["main.py", "-config=a.py:small"],
        ["main.py", "-config", "a.py:small", "--config.seed=3"],
        ["main.py", "--config=b.py", "--config=a.py:small"],
    ],
)
def test_the_config_is_found_however_it_is_written(words):
    """One dash or two, with a blank or an equals sign; the last one counts."""
    assert config_argument(words) == "a.py:small"


@pytest.mark.parametrize("words", [["--config="], ["--config", ""]])
def test_an_empty_name_is_refused(words):
    """As an unset variable of the shell gives it."""
    with pytest.raises(InputError, match=r"configs/pix2rep\.py"):
        with_found_config(["main.py", *words])
    assert with_found_config(["main.py", "--config"]) == ["main.py", "--config"]


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("data.sise", KeyError('\'sise\'\\nDid you mean "size" instead of "sise"?')),
        ("data.nosuch", KeyError('"nosuch"')),
        ("nosuch.x", AttributeError("'nosuch'")),
        ("seed.y", KeyError("Attribute <class int>.y does not exist. Lookup: seed.y")),
    ],
)
def test_a_setting_that_does_not_exist_is_named_whole(override, error):
    """On one line. An error of the file itself is another matter."""
    words = ["main.py", "--config.seed=1", f"--config.{override}", "1"]
    sentence = explain_override(words, error)
    assert override in sentence and "\n" not in sentence
    assert explain_override(words[:2], error) == ""
    assert explain_override(words, ValueError(error.args[0])) == ""


def test_an_override_is_not_a_config():
    """`--config.seed` begins like the flag."""
    assert config_argument(["main.py", "--config.seed=3"]) == ""
    assert config_argument(["main.py", "--config"]) == ""


@pytest.mark.parametrize(
    ("config", "folder"),
    [
        ("configs/pix2rep.py", "runs/pix2rep"),
        ("configs/pix2rep.py:small", "runs/pix2rep-small"),
        ("/else where/own.py:a,b=2", "runs/own-a-b=2"),
    ],
)
def test_a_workdir_is_named_after_file_and_size(config, folder):
    """What cannot stand in a folder's name becomes a dash."""
    assert default_workdir(config) == pathlib.Path(folder)


@pytest.mark.parametrize("named", ["configs/study.py", "study.py"])
def test_a_file_that_is_not_there_is_taken_from_the_package(
    tmp_path, monkeypatch, named
):
    """From any folder, with the size kept; a file that is there goes first."""
    monkeypatch.chdir(tmp_path)
    own = f"{ROOT / 'configs' / 'study.py'}:small"
    assert find_config(f"{named}:small") == own
    assert with_found_config(
        ["pix2rep", f"--config={named}:small", "--mode=study"]
    ) == [
        "pix2rep",
        f"--config={own}",
        "--mode=study",
    ]
    words = ["pix2rep", "--config", f"{named}:small"]
    assert with_found_config(words) == ["pix2rep", "--config", own]
    pathlib.Path(named).parent.mkdir(exist_ok=True)
    pathlib.Path(named).touch()
    assert find_config(f"{named}:small") == f"{named}:small"


@pytest.mark.parametrize("named", ["configs/pix3rep.py", "elsewhere/pix2rep.py", ""])
def test_a_file_that_is_nowhere_is_refused(tmp_path, monkeypatch, named):
    """A folder of another name is not looked up in the package."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"configs/pix2rep\.py"):
        find_config(named)
