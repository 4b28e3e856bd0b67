"""What one command line says about others."""

import sys

import pytest

from configs.pix2rep import get_config
from pix2rep_jax.methods.pretraining import list_unread
from pix2rep_jax.runtime.command_line import next_command, overrides_without_effect

CONFIG = "configs/pix2rep.py"


@pytest.mark.parametrize("mode", [["--mode", "pretrain"], ["--mode=pretrain"]])
def test_the_next_command_changes_the_mode_alone(mode):
    """Everything else, quoted where a shell needs it, is what was typed."""
    words = ["main.py", *mode, "--config", CONFIG, "--workdir", "my run"]
    command = next_command(words, mode="probe")
    assert command.endswith(
        "main.py "
        + " ".join(mode).replace("pretrain", "probe")
        + f" --config {CONFIG} --workdir 'my run'"
    )


@pytest.mark.parametrize(
    ("given", "workdir"),
    [(["--workdir", "b"], "b"), ([], "runs/a"), (["-workdir=b"], "")],
)
def test_the_next_command_repeats_nothing_that_the_run_remembers(given, workdir):
    """The workdir has the configuration; what is no setting stays."""
    words = ["main.py", f"--config={CONFIG}:small", "--config.data.root", "SCANS"]
    words += [*given, "--config.seed=3", "--mode=pretrain", "--coordinator=auto"]
    command = next_command(words, mode="probe", workdir="runs/a").partition("main.py ")
    expected = f"--workdir {workdir}" if workdir else "-workdir=b"
    assert command[2] == f"{expected} --mode=probe --coordinator=auto"


def test_the_next_command_calls_the_program_that_was_called(tmp_path, monkeypatch):
    """`python main.py`, or the installed command by its name if that is on PATH."""
    assert sys.executable.rpartition("/")[2][:6] in next_command(["main.py"], mode="x")
    program = tmp_path / "pix2rep"
    program.touch(mode=0o755)
    words = [str(program), "--mode=pretrain"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert next_command(words, mode="probe") == "pix2rep --mode=probe"
    monkeypatch.setenv("PATH", "")
    assert next_command(words, mode="probe") == f"{program} --mode=probe"


def test_there_is_no_command_line_behind_a_call_from_python():
    """The mode to run next is named all the same."""
    assert "--mode probe" in next_command((), mode="probe")


def test_an_override_that_a_methods_own_value_hides_is_told():
    """`pretrain`'s where the method has its own, likewise φ's; not the method's own,
    and not what it has no value for."""
    section = {"batch_size": 32, "spatial": {"extent": (1, 1)}}
    words = ["main.py", "--config.pretrain.batch_size=8"]
    words += ["--config.simclr.batch_size=4", "--config.spatial.extent", "1,2"]
    words += ["--config.pretrain.temperature=1"]
    batch_size, extent = overrides_without_effect(words, section, method="simclr")
    assert batch_size.startswith("--config.pretrain.batch_size ")
    assert batch_size.endswith("--config.simclr.batch_size")
    assert extent.startswith("--config.spatial.extent ")
    assert extent.endswith("--config.simclr.spatial.extent")
    assert overrides_without_effect(words, {}, method="pix2rep") == []


@pytest.mark.parametrize(
    ("method", "ignored"),
    [
        ("pix2rep", ["simclr.batch_size"]),
        (
            "simclr",
            ["pretrain.joint_batch_norm", "pretrain.loss", "projection.features"],
        ),
        ("barlow_twins", ["pretrain.loss", "projection.features", "simclr.batch_size"]),
    ],
)
def test_an_override_that_a_method_does_not_read_is_told(method, ignored):
    """Pix2Rep's own settings and the sections of other methods; not what all read."""
    config = get_config("quick")
    config.pretrain.method = method
    values = {
        "pretrain.joint_batch_norm": False,
        "pretrain.num_epochs": 3,
        "simclr.batch_size": 4,
        "pretrain.loss": "cross_correlation",
        "spatial.max_rotation": 0.1,
        "projection.features": 8,
    }
    said = [
        overrides_without_effect(
            [f"--config.{name}={value}"],
            config.get(method, {}),
            method=method,
            unread=list_unread(config),
        )
        for name, value in values.items()
    ]
    told = [name for name, found in zip(values, said, strict=True) if found]
    assert set(ignored) <= set(told)
    assert not {"pretrain.num_epochs", "spatial.max_rotation"} & set(told)
    assert ("simclr.batch_size" in told) == (method != "simclr")
    assert ("pretrain.loss" in told) == (method != "pix2rep")
