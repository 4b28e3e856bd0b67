"""Which configuration file a command line names."""

import ast
import pathlib

import pytest

from configs.pix2rep import get_config
from pix2rep_jax.cli.config_file import (
    WORD_LISTS,
    config_argument,
    default_workdir,
    find_config,
    read_words,
    with_found_config,
    with_quoted_words,
)
from pix2rep_jax.cli.mistakes import explain_override, nearest_setting
from pix2rep_jax.errors import InputError
from pix2rep_jax.modes.settings import CHECKS
from pix2rep_jax.runtime.config_checks import walk, words
from pix2rep_jax.study.jobs import SETTINGS
from tests.support.program import ROOT

CONFIG = str(ROOT / "configs" / "pix2rep.py")


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


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("pretrain.steps", "pretrain.num_steps"),
        ("finetune.num_step", "finetune.num_steps"),
        ("num_labelled", "data.num_labeled"),
        ("num_steps", "finetune.num_steps"),
        ("sead", "seed"),
        ("xyzzy.q", ""),
    ],
)
def test_the_nearest_setting_is_of_the_same_section(name, near):
    """And where none is meant, of those that are set most often."""
    known = [each for each, _ in walk(get_config("small"))]
    assert nearest_setting(name, known) == near


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


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a-b,c-d", ["a-b", "c-d"]),
        ("001,002-3", ["001", "002-3"]),
        ("1e5,0x10,1_000", ["1e5", "0x10", "1_000"]),
        ("BG, right ventricle,", ["BG", "right ventricle"]),
        ("(BG,RV)", ["BG", "RV"]),
        ("['BG', \"RV\"]", ["BG", "RV"]),
        ("BG,blood (LV)", ["BG", "blood (LV)"]),
        ("MYO\u0308,\u00e9,d'A", ["MYO\u0308", "\u00e9", "d'A"]),
        ("None,True,lambda: 0", ["None", "True", "lambda: 0"]),
        ("\udce9", ["\udce9"]),
        ("", []),
    ],
)
def test_a_list_of_words_is_read_as_it_is_written(written, read):
    """What looks like Python is not run through its parser: a name stays a name."""
    assert read_words(written, "data.classes") == read
    flag = "--config.data.classes"
    for command in ([f"{flag}={written}"], [flag, written]):
        quoted = with_quoted_words(command)[-1].removeprefix(f"{flag}=")
        assert list(ast.literal_eval(f"({quoted})")) == read


@pytest.mark.parametrize("written", ["(BG", "BG,RV)", "BG,[RV", "'BG,RV", "BG,'RV"])
def test_a_bracket_without_its_partner_is_refused(written):
    """It would become a part of a class's name."""
    with pytest.raises(InputError, match=r"data(\.|__)classes"):
        with_quoted_words(["main.py", f"--config.data.classes={written}"])


def test_every_list_of_words_is_known_here():
    """Without an import of jax."""
    checks = dict(CHECKS) | {f"study.{x}": check for x, check in SETTINGS.items()}
    assert {name for name, x in checks.items() if x is words} == {*WORD_LISTS}


@pytest.mark.parametrize(
    "words",
    [
        ["--config.seed=3", "--config", CONFIG, "--mode", "probe"],
        ["--config.seed=3", "--config", CONFIG, "--config.seed", "3"],
        ["--mode=study", "--config.study.draws=1", f"--config={CONFIG}", "rest"],
        ["--config.seed=3", f"-config={CONFIG}", "--mode", "x", "--config", CONFIG],
    ],
)
def test_a_setting_may_stand_before_the_config(words):
    """The parser would refuse it; all other words keep their order."""
    found = with_found_config(["main.py", *words])
    assert found[0] == "main.py" and len(found) == 1 + len(words)
    is_flag = [word.lstrip("-").partition("=")[0] == "config" for word in found]
    first = found.index(next(x for x in found if x.startswith("--config.")))
    assert is_flag.index(True) == 1 and not any(is_flag[first:])
    others = [word for word in words if word.startswith(("--config.", "--mode"))]
    assert [word for word in found if word in others] == others
    assert config_argument(found) == CONFIG
