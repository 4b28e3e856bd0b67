"""What a command line says, and what is said of one that is mistaken."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from pix2rep_jax.errors import explain_memory, explain_missing
from pix2rep_jax.runtime.command_line import (
    config_argument,
    default_workdir,
    explain,
    next_command,
    overrides_without_effect,
)
from tests.support.program import ROOT, environment

CONFIG = "configs/pix2rep.py"


@pytest.mark.parametrize(
    "argv",
    [
        ["main.py", "--config", "a.py:small", "--mode", "probe"],
        ["main.py", "--mode", "probe", "--config=a.py:small"],
        ["main.py", "-config=a.py:small"],
        ["main.py", "-config", "a.py:small", "--config.seed=3"],
    ],
)
def test_the_config_is_found_however_it_is_written(argv):
    """One dash or two, with a blank or an equals sign."""
    assert config_argument(argv) == "a.py:small"


def test_an_override_is_no_config():
    """`--config.seed` begins like the flag and is none."""
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
def test_a_workdir_is_named_after_file_and_variant(config, folder):
    """What cannot stand in a folder's name becomes a dash."""
    assert default_workdir(config) == pathlib.Path(folder)


@pytest.mark.parametrize("mode", [["--mode", "pretrain"], ["--mode=pretrain"]])
def test_the_next_command_changes_the_mode_alone(mode):
    """Everything else, quoted where a shell needs it, is what was typed."""
    argv = ["main.py", *mode, "--config", CONFIG, "--workdir", "my run"]
    command = next_command(argv, mode="probe")
    assert command.endswith(
        "main.py "
        + " ".join(mode).replace("pretrain", "probe")
        + f" --config {CONFIG} --workdir 'my run'"
    )


@pytest.mark.parametrize(
    ("written", "near"),
    [
        ("pretrain.temprature", "pretrain.temperature"),
        ("data.rot", "data.root"),
        ("sed", "seed"),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest_real_one(monkeypatch, written, near):
    """Whatever the parser raised."""
    monkeypatch.chdir(ROOT)
    argv = ["main.py", "--config", CONFIG, f"--config.{written}=1"]
    sentence = explain(AttributeError(written), argv)
    assert f"no key {written!r}" in sentence
    assert sentence.endswith(f"did you mean --config.{near}?")


def test_an_override_that_a_methods_own_value_hides_is_told():
    """`pretrain`'s where the method has its own, likewise φ's; not the method's own,
    and not what it has no value for."""
    own = {"batch_size": 32, "spatial": {"extent": (1, 1)}}
    argv = ["main.py", "--config.pretrain.batch_size=8", "--config.simclr.batch_size=4"]
    argv += ["--config.spatial.extent", "1,2", "--config.pretrain.temperature=1"]
    batch_size, extent = overrides_without_effect(argv, own, method="simclr")
    assert batch_size.startswith("--config.pretrain.batch_size has no effect")
    assert batch_size.endswith("--config.simclr.batch_size")
    assert "--config.spatial.extent has" in extent
    assert extent.endswith("--config.simclr.spatial.extent")
    assert overrides_without_effect(argv, {}, method="pix2rep") == []


def test_an_error_that_is_not_the_command_lines_is_not_explained(monkeypatch):
    """So that a defect of the program keeps its traceback."""
    monkeypatch.chdir(ROOT)
    argv = ["main.py", "--config", CONFIG, "--config.seed=1"]
    assert explain(ValueError("elsewhere"), argv) is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", CONFIG, "--mode", "probe", "--config.sead=1"], "config.seed"),
        (["--config", "configs/pix3rep.py", "--mode", "probe"], "configs/pix2rep.py"),
        (["--config", f"{CONFIG}:huge", "--mode", "probe"], "pix2rep.py:small"),
        (["--config", CONFIG, "--mode", "prtrain"], "pretrain"),
        (["--config", CONFIG], "mode"),
        (["--mode", "probe"], "config"),
        (["--config", CONFIG, "--mode", "probe", "now"], "every option starts"),
        (["--config", CONFIG, "--mode", "probe", "--config.seed=x"], "seed"),
        (["--config", CONFIG, "--mode", "probe", "--num_processes=2"], "--coordinator"),
        (["--config", CONFIG, "--mode", "probe", "--coordinator=a:1"], "HOST:PORT"),
        (["--config", CONFIG, "--mode", "probe", "--coordinator=auto"], "TPU pod"),
    ],
)
def test_a_mistaken_command_is_one_sentence_and_no_traceback(
    tmp_path, arguments, words
):
    """It names what is wrong or what would be right, and fails."""
    command = [sys.executable, str(ROOT / "main.py"), *arguments]
    command += ["--workdir", str(tmp_path / "run")]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode not in (0, None)
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "SyntaxError"),
        ('{"seed": 0}', "no attribute 'get_config'"),
        ("import not_there", "not_there is not installed"),
        ("def get_config(): return 1 / 0", "ZeroDivisionError"),
        (
            "from ml_collections import ConfigDict\n"
            "def get_config(): return ConfigDict({'seed': 0})",
            "no section 'data'",
        ),
    ],
)
def test_a_config_file_that_is_none_is_one_sentence(tmp_path, content, words):
    """Such as a run's config.json, or a file with a slip."""
    path = tmp_path / "config.json"
    path.write_text(content)
    command = [sys.executable, str(ROOT / "main.py"), f"--config={path}"]
    command += ["--mode=probe", f"--workdir={tmp_path / 'run'}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert result.stderr.startswith("error: ") and words in result.stderr


def test_an_environment_without_the_packages_is_told(tmp_path):
    """By the program's own first lines, which need none; a defect is none of that."""
    command = [sys.executable, "-S", str(ROOT / "main.py")]  # -S: no site-packages
    plain = {name: x for name, x in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=plain
    )
    assert result.returncode == 1
    assert "error: absl is not installed in this Python" in result.stderr
    assert "requirements.txt" in result.stderr and "Traceback" not in result.stderr
    own = ModuleNotFoundError("no module", name="pix2rep_jax.moved")
    assert explain_missing(own) is None and explain_missing(ValueError("x")) is None


def test_a_device_without_enough_memory_is_told_so():
    """By what jax really raises, and by that alone."""
    with pytest.raises(RuntimeError) as full:
        jax.block_until_ready(jnp.zeros(2**46, jnp.uint8))
    assert "enough memory (Out of memory" in explain_memory(full.value)
    assert explain_memory(RuntimeError("INTERNAL: RESOURCE_EXHAUSTED no more")) is None


@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "INTERNAL"])
def test_the_program_ends_with_a_sentence_where_memory_is_full(tmp_path, code):
    """And with a traceback where it is a defect."""
    program = f"""if True:
        import runpy, sys
        from pix2rep_jax.modes import pretrain
        def run(*_):
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
    assert result.returncode == 1
    assert ("Traceback" in result.stderr) == (code == "INTERNAL")
    assert ("error: the device has not enough" in result.stderr) != (code == "INTERNAL")
