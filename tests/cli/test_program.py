"""The program as a user starts it: what it says of a mistaken command line."""

import importlib
import inspect
import os
import pathlib
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from pix2rep_jax.cli import program
from pix2rep_jax.cli.failure import BUG
from pix2rep_jax.cli.program import MODES
from pix2rep_jax.errors import explain_memory, explain_missing
from tests.support.program import ROOT, environment, finish, launch

CONFIG = "configs/pix2rep.py"


def run(*arguments):
    return finish(launch([sys.executable, str(ROOT / "main.py"), *arguments]))


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_takes_what_the_table_says(mode):
    """So that no mode fails when it is called."""
    module, takes = MODES[mode]
    parameters = inspect.signature(importlib.import_module(module).run).parameters
    assert list(parameters)[:2] == ["config", "workdir"]
    assert set(takes) <= set(parameters)


def test_an_option_that_the_mode_does_not_read_is_named(tmp_path):
    """Before the mode does anything; here there is nothing to do."""
    words = ["--mode=export", f"--workdir={tmp_path}", "--support=a", "--output=b"]
    said = run(f"--config={CONFIG}", *words).stderr
    assert "--mode export does not read --support" in said
    assert "does not read --output" not in said


def test_the_command_line_is_read_in_one_place():
    """Everything else is handed the words, so that it can be called from Python."""
    readers = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "pix2rep_jax").rglob("*.py")
        if "sys.argv" in path.read_text()
    }
    assert readers == {"pix2rep_jax/cli/program.py"}


def test_a_process_that_is_told_twice_ends_at_once():
    """Threads that still write get no time to complain."""
    words = "from pix2rep_jax.cli.program import leave; print('a'); leave(15, None)"
    done = subprocess.run(
        [sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stdout == "a\n" and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(("before", "level"), [(None, "3"), ("0", "0")])
def test_the_compiler_is_quiet_unless_it_was_asked(monkeypatch, before, level):
    """XLA reads this once, and would else call a slow compilation a bug."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", before or "")  # undone at the end
    if before is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    monkeypatch.setattr(sys, "argv", ["main.py"])
    monkeypatch.setattr(program, "use_huge_pages", lambda: None)  # starts anew
    seen = []
    monkeypatch.setattr(
        program.app,
        "run",
        lambda *_, **__: seen.append(os.environ["TF_CPP_MIN_LOG_LEVEL"]),
    )
    ignored = []  # at the end; this process goes on
    monkeypatch.setattr(program.signal, "signal", lambda *each: ignored.append(each))
    program.main()
    assert seen == [level]
    assert ignored == [(signal.SIGINT, signal.SIG_IGN)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", CONFIG, "--mode", "probe", "--config.sead=1"], "seed"),
        (
            ["--config", CONFIG, "--mode", "probe", "--config.pretrain.temprature=1"],
            "pretrain.temprature",
        ),
        (["--config", CONFIG, "--mode", "probe", "--config.data.x=1"], "data.x"),
        (
            ["--config", CONFIG, "--mode", "probe", "--confg.data.draw=1"],
            "config.data.",
        ),
        (["--config=", "--mode", "probe"], "configs/pix2rep.py"),
        (["--config", "configs/pix3rep.py", "--mode", "probe"], "configs/pix2rep.py"),
        (["--config", f"{CONFIG}:huge", "--mode", "probe"], "pix2rep.py:small"),
        (["--config", CONFIG, "--mode", "prtrain"], "pretrain"),
        (["--config", CONFIG], "mode"),
        (["--mode", "probe"], "config"),
        (["--mode", "probe", "--config.probe.num_steps=5"], "configs/pix2rep.py"),
        (["--config", CONFIG, "--mode=probe", "--config.probe.steps=1"], "num_steps"),
        (["--config", CONFIG, "--mode", "study"], "configs/study.py"),
        (["--config", CONFIG, "--mode", "probe", "now"], "'now'"),
        (["--config", CONFIG, "--mode", "probe", "--config.seed=x"], "seed"),
        (["--config", CONFIG, "--mode", "probe", "--num_processes=2"], "--coordinator"),
        (["--config", CONFIG, "--mode", "probe", "--coordinator=a:1"], "HOST:PORT"),
        (["--config", CONFIG, "--mode", "probe", "--coordinator=auto"], "TPU pod"),
    ],
)
def test_a_mistaken_command_is_one_sentence_and_no_traceback(
    tmp_path, arguments, words
):
    """The sentence names what is wrong or what would be right."""
    result = run(*arguments, "--workdir", str(tmp_path / "run"))
    assert result.returncode == 1
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "SyntaxError"),
        ('{"seed": 0}', "get_config"),
        ("import not_there", "not_there"),
        ("def get_config(): return 1 / 0", "ZeroDivisionError"),
        ("raise RuntimeError('two\\nlines')", "two lines"),
        (
            "from ml_collections import ConfigDict\n"
            "def get_config(): return ConfigDict({'seed': 0})",
            "'data'",
        ),
    ],
)
def test_a_config_file_that_is_none_is_one_sentence(tmp_path, content, words):
    """Such as a run's config.json, or a file with a slip."""
    path = tmp_path / "config.json"
    path.write_text(content)
    result = run(f"--config={path}", "--mode=probe", f"--workdir={tmp_path / 'run'}")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ") and words in result.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("from pix2rep_jax.errors import InputError as E", "error: a slip\n"),
        ("class E(Exception): pass\nE.__name__ = 'XError'", "cannot be used"),
    ],
)
def test_what_a_config_file_raises_is_said_without_its_type(tmp_path, error, said):
    """If it is a sentence of this program; a slip in the file is one of the file."""
    path = tmp_path / "config.py"
    path.write_text(f"{error}\ndef get_config(): raise E('a slip')")
    result = run(f"--config={path}", "--mode=probe", f"--workdir={tmp_path / 'run'}")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert said in result.stderr and "a slip" in result.stderr


def test_a_config_file_without_sizes_is_named(tmp_path):
    """Where a size is asked for all the same."""
    path = tmp_path / "own.py"
    path.write_text("def get_config(): return {}")
    result = run(f"--config={path}:small", "--mode=probe")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "own.py:small" in result.stderr


def test_an_environment_without_the_packages_is_told():
    """By the program's own first lines, which need none; a defect is not explained."""
    plain = {name: x for name, x in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-S", str(ROOT / "main.py")]  # -S: no site-packages
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=plain
    )
    assert result.returncode == 1
    assert "error: absl" in result.stderr and "Traceback" not in result.stderr
    assert "requirements.txt" in result.stderr
    defect = ModuleNotFoundError("no module", name="pix2rep_jax.moved")
    assert explain_missing(defect) is None and explain_missing(ValueError("x")) is None


def test_a_device_without_enough_memory_is_told_so():
    """By what jax really raises, and by that alone."""
    with pytest.raises(RuntimeError) as full:
        jax.block_until_ready(jnp.zeros(2**46, jnp.uint8))
    assert "Out of memory" in explain_memory(full.value)
    assert explain_memory(RuntimeError("INTERNAL: RESOURCE_EXHAUSTED no more")) is None


@pytest.mark.parametrize(
    "code",
    [pytest.param("RESOURCE_EXHAUSTED", marks=pytest.mark.slow), "INTERNAL"],
)
def test_the_program_ends_with_a_sentence_where_memory_is_full(tmp_path, code):
    """And with the place of a traceback where it is a defect."""
    program = f"""if True:
        import runpy, sys
        from pix2rep_jax.modes import pretrain
        def run(*_, **__):
            raise RuntimeError("{code}: Out of memory allocating 9 bytes.")
        pretrain.run = run
        sys.argv = ["main.py", "--config", "{CONFIG}", "--mode", "pretrain"]
        sys.argv += ["--workdir", {str(tmp_path)!r}]
        runpy.run_path("main.py", run_name="__main__")
    """
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        # As if started once more already, which would forget what is changed here.
        env=environment() | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"},
    )
    (said,) = result.stderr.splitlines()[-1:]
    saved = list(tmp_path.glob("traceback-*.txt"))
    if code == "INTERNAL":
        assert result.returncode == BUG and said.startswith("bug: ")
        assert str(saved[0]) in said and "in run\n" in saved[0].read_text()
    else:
        assert result.returncode == 1 and said.startswith("error: the device")
        assert not saved
    assert "Traceback" not in result.stderr


def test_help_names_the_flags_and_needs_no_config():
    """Every --mode is among them."""
    result = run("--help")
    assert result.returncode == 0
    assert "Traceback" not in result.stderr
    assert all(mode in result.stdout for mode in MODES)
    assert pathlib.Path(CONFIG).name in result.stdout
