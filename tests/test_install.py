"""The installed package, in an environment of its own and from another folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest

import pix2rep_jax
from tests.support.program import ROOT, TINY, environment

pytestmark = pytest.mark.install


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A clean copy of what is installed: building leaves files behind."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    for name in ("pix2rep_jax", "configs"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    return folder


@pytest.fixture(scope="module")
def scripts(source, tmp_path_factory):
    """The folder of the programs of an environment with the package in it.

    It sees the packages of the one that runs the tests, which has no pix2rep_jax.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    with open(os.path.join(paths["purelib"], "tests.pth"), "w") as file:
        file.write(sysconfig.get_path("purelib"))
    scripts = folder / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(scripts / "python")]
    quiet = ["--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", *quiet, "--no-deps", str(source)], check=True)
    return scripts


def test_a_wheel_holds_the_package_and_its_configurations(source, tmp_path):
    """And nothing at the top beside the package."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"pix2rep_jax-{pix2rep_jax.__version__}-")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in names} == {
        "pix2rep_jax",
        f"pix2rep_jax-{pix2rep_jax.__version__}.dist-info",
    }
    ours = {
        path.relative_to(source).as_posix()
        for path in (source / "pix2rep_jax").rglob("*.py")
    }
    configs = {f"pix2rep_jax/configs/{x.name}" for x in (source / "configs").iterdir()}
    page = {f"pix2rep_jax/explorer/page.{kind}" for kind in ("html", "css", "js")}
    assert {*ours, *configs, *page, "pix2rep_jax/py.typed"} <= names


@pytest.mark.parametrize("config", ["pix2rep", "study"])
def test_the_command_runs_from_another_folder(scripts, tmp_path, config):
    """With the configurations that the package brings, and their siblings."""
    settings = TINY | {"pretrain.num_steps": 2, "data.cache_dir": tmp_path / "cache"}
    mode = "pretrain"
    if config == "study":
        mode, settings["study.dry_run"] = "study", True
        settings["study.methods"] = "baseline"
    plain = {k: v for k, v in environment().items() if k != "PYTHONPATH"}
    result = subprocess.run(
        [
            str(scripts / "pix2rep"),
            f"--config=configs/{config}.py",
            f"--mode={mode}",
            *(f"--config.{name}={value}" for name, value in settings.items()),
        ],
        cwd=tmp_path,
        env=plain,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    if config == "pix2rep":
        assert (tmp_path / "runs" / "pix2rep" / "pretrain" / "checkpoints").is_dir()
        following = result.stdout.rpartition("next: ")[2].split()
        assert following[0].endswith("pix2rep") and "--mode=probe" in following
