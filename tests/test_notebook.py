"""What the notebook types is what the program takes: Colab itself is not at hand."""

import ast
import importlib
import json
import pathlib
import re
import shlex
import shutil
import string
import subprocess
import sys
import types
import zipfile

import matplotlib.image
import numpy as np
import pytest

from pix2rep_jax.cli.program import MODES
from pix2rep_jax.data.files.scan import read_scan
from pix2rep_jax.data.phantom.write import write
from pix2rep_jax.runtime.config_checks import walk
from tests.support.program import ROOT, TINY, environment, finish, launch

NOTEBOOK = ROOT / "notebooks" / "colab.ipynb"
CONTENT = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
CODE = {
    cell["id"]: "".join(cell["source"])
    for cell in CONTENT["cells"]
    if cell["cell_type"] == "code"
}
FLAGS = {"config", "mode", "workdir", "input", "output"}
CHOICES = re.search(r"^SIZE = .*@param \[(.*)\]", CODE["data"], re.M)[1]
SIZES = re.findall(r'"(small|medium|paper)"', CHOICES)


def commands():
    """The command lines of main.py, in order; each size in turn where one is chosen."""
    text = "\n".join(CODE.values())
    lines = re.findall(r"^\s*!python (main\.py .*)$", text, flags=re.MULTILINE)
    lines = [line.replace("$size", "$SIZE") for line in lines]
    sizes = [(line, SIZES if "$SIZE" in line else ("",)) for line in lines]
    return [line.replace("$SIZE", size) for line, own in sizes for size in own]


def mode_of(words):
    return words[words.index("--mode") + 1]


def test_it_is_a_notebook_of_format_4_5():
    """Each cell has an id of its own, and no output was left in."""
    assert (CONTENT["nbformat"], CONTENT["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in CONTENT["cells"]]
    assert len({*ids}) == len(ids)
    assert all(re.fullmatch(r"[\w-]{1,64}", each) for each in ids)
    for cell in CONTENT["cells"]:
        keys = {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            keys |= {"execution_count", "outputs"}
            assert cell["outputs"] == [] and cell["execution_count"] is None
        assert cell.keys() == keys


def test_the_badge_opens_the_repository_that_is_cloned():
    """The same owner and name, and this very file."""
    cloned = re.search(
        r'^REPOSITORY = "https://(github\.com/.+?)"', CODE["setup"], re.M
    )
    badge = "".join(CONTENT["cells"][0]["source"])
    found = re.search(
        r"colab\.research\.google\.com/github/(.+?)/blob/main/(.+?)\)", badge
    )
    assert f"github.com/{found[1]}" == cloned[1]
    assert (ROOT / found[2]) == NOTEBOOK


def test_every_mode_is_shown_and_the_data_are_looked_at_first():
    """From the check to the masks, each by a command; a study is for a workstation."""
    shown = [mode_of(shlex.split(line)) for line in commands()]
    others = {"study", "folds", "context", "embed", "explore", "export", "report"}
    assert {*shown} == {*MODES} - others
    assert list(dict.fromkeys(shown))[:3] == ["check", "pretrain", "finetune"]


def test_one_flag_names_the_data_and_later_modes_need_none():
    """No layout, classes or patients are asked for."""
    own = [shlex.split(line) for line in commands() if re.search("WORKDIR|RUNS", line)]
    for words in own:
        settings = [word for word in words if word.startswith("--config.")]
        first = mode_of(words) in ("check", "pretrain")
        assert settings == (["--config.data.root=$DATA"] if first else [])
        assert ("--config" in words) == first


@pytest.mark.parametrize("command", commands())
def test_a_command_is_one_that_the_program_knows(command):
    """Its config file, its size, its mode, its flags and all its settings exist."""
    words = shlex.split(command)
    assert mode_of(words) in MODES
    known = set()
    if "--config" in words:
        path, _, variant = words[words.index("--config") + 1].partition(":")
        assert (ROOT / path).is_file()
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        known = {name for name, _ in walk(module.get_config(variant or "quick"))}
    for word in words:
        if word.startswith("--config."):
            assert word.removeprefix("--config.").partition("=")[0] in known
        elif word.startswith("--"):
            assert word.removeprefix("--") in FLAGS


@pytest.mark.parametrize("cell", CODE)
def test_a_cell_is_python_around_its_commands(cell):
    """Whatever is behind a `!` or a `%` is the shell's."""
    plain = re.sub(r"^(\s*)[!%].*$", r"\1None", CODE[cell], flags=re.MULTILINE)
    ast.parse(plain)


def test_the_files_that_it_installs_exist():
    """Of both kinds of runtime."""
    names = re.findall(r"requirements[\w-]*\.txt", "".join(CODE.values()))
    assert {*names} == {"requirements.txt", "requirements-gpu.txt"}
    assert all(pathlib.Path(ROOT, name).is_file() for name in names)


@pytest.mark.parametrize(
    ("backend", "size", "medium_mm", "expected"),
    [
        ("cpu", "auto", 1.4, "small"),
        ("gpu", "auto", 1.4, "medium"),
        ("tpu", "auto", 2.0, "medium"),
        ("gpu", "auto", 2.1, "small"),
        ("gpu", "small", 1.4, "small"),
        ("cpu", "paper", 1.4, "paper"),
    ],
)
def test_the_size_fits_the_plan(
    tmp_path, monkeypatch, backend, size, medium_mm, expected
):
    """`small` sees pixels of 2.5 mm; finer ones must be worth it, and affordable."""
    pixels_mm, checked = {"small": 2.5, "medium": medium_mm, "paper": 1.4}, []

    def shell(line):
        line = string.Template(line).substitute(variables)
        checked.append(re.search(r"pix2rep\.py:(\w+)", line)[1])
        workdir = pathlib.Path(
            shlex.split(line)[shlex.split(line).index("--workdir") + 1]
        )
        workdir.mkdir()
        plan = {"data": {"spacing_mm": pixels_mm[checked[-1]]}}
        (workdir / "plan.json").write_text(json.dumps(plan))

    answer = types.SimpleNamespace(stdout=f"{backend}\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    variables = {"RUNS": str(tmp_path / "scans"), "DATA": "scans", "SIZE": size}
    exec(with_shell(CODE["check"]), variables | {"shell": shell}, variables)
    assert variables["SIZE"] == expected
    assert variables["WORKDIR"] == f"{tmp_path}/scans-{expected}"
    both = size == "auto" and backend != "cpu"
    assert checked == (["small", "medium"] if both else [expected])


def with_shell(code):
    """Writes what is behind a `!` as a call of `shell`."""
    return re.sub(r"^(\s*)!(.*)$", r"\1shell(r'''\2''')", code, flags=re.MULTILINE)


class Colab:
    """Runs the cells as Colab does, with /content in another place."""

    def __init__(self, content, cache, monkeypatch):
        self.content, self.cache = content, cache
        self.variables, self.modes, self.shown, self.downloads = {}, [], [], []
        drive = types.SimpleNamespace(mount=lambda path: None)
        files = types.SimpleNamespace(download=self.downloads.append)
        for name, module in {
            "google.colab": types.SimpleNamespace(drive=drive, files=files),
            "IPython": types.SimpleNamespace(version_info=(9, 0)),  # matplotlib asks
            "IPython.display": types.SimpleNamespace(
                Image=lambda path, width: path, display=self.shown.append
            ),
        }.items():
            monkeypatch.setitem(sys.modules, name, module)
        (content / "pix2rep-jax").mkdir()  # uploaded, so nothing is cloned

    def run(self, cell):
        code = CODE[cell].replace('"/content', f'"{self.content}')
        code = re.sub(r"^%.*$", "", code, flags=re.MULTILINE)
        code = with_shell(code)
        self.variables["shell"] = self.shell
        exec(compile(code, cell, "exec"), self.variables)

    def shell(self, line):
        line = string.Template(line).substitute(self.variables)
        python, main, *words = shlex.split(line)
        assert (python, main) == ("python", "main.py")
        if "--config" in words:  # later modes must find all this in the run
            settings = TINY | {"data.cache_dir": self.cache}
            if any(word.startswith("--config.data.root=") for word in words):
                del settings["data.name"]
            words += [f"--config.{name}={value}" for name, value in settings.items()]
        self.modes.append(mode_of(words))
        if "figures" in words:
            status, said = self.with_short_tsne(["main.py", *words])
        else:
            done = finish(launch([sys.executable, str(ROOT / "main.py"), *words]))
            status, said = done.returncode, done.stderr
        assert status == 0, said

    def with_short_tsne(self, job):
        """Draws the pictures as the examples of the docs do, in a third of the time."""
        jobs, results = self.content / "jobs.json", self.content / "results.json"
        jobs.write_text(json.dumps([job]))
        subprocess.run(
            [sys.executable, "-m", "tests.docs.run_examples", str(jobs), str(results)],
            cwd=self.content,
            env=environment()
            | {"PYTHONPATH": str(ROOT), "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"},
            check=True,
            timeout=300,
        )
        return json.loads(results.read_text())[0]


@pytest.fixture
def colab(tmp_path, cache, monkeypatch):
    """A runtime, with 10 patients in two folders on Drive."""
    write(tmp_path / "ACDC", num_training=10, num_testing=0)
    for mask in sorted(tmp_path.glob("ACDC/training/*/*_gt.nii.gz")):
        name = mask.name.replace("_gt", "")
        for folder, path in (("labels", mask), ("images", mask.with_name(name))):
            target = tmp_path / "drive" / "MyDrive" / "scans" / folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return Colab(tmp_path, cache, monkeypatch)


@pytest.mark.slow
def test_the_cells_run_one_after_the_other(colab):
    """Down to masks of all scans, beside the scans and in a zip file."""
    for cell in CODE:
        colab.run(cell)
    own = ["check", "pretrain", "finetune", "evaluate", "figures", "predict"]
    assert colab.modes == [*own, "pretrain", "probe", "finetune"]
    masks = sorted(pathlib.Path(colab.variables["masks"]).rglob("*.nii.gz"))
    assert len(masks) == 20
    with zipfile.ZipFile(colab.downloads[0]) as archive:
        packed = [name for name in archive.namelist() if name.endswith(".nii.gz")]
    assert len(packed) == 20
    assert colab.variables["labels"].shape == read_scan([masks[0]]).array.shape[:3]
    beside = [path for path in colab.shown if "masks_and_scans" in path]
    assert len(beside) == 1 and np.ptp(matplotlib.image.imread(beside[0])) > 0
    # A runtime that was cut off: nothing is trained again.
    state = {path: path.stat().st_mtime_ns for path in colab.content.rglob("run.json")}
    for cell in ("setup", "data", "check", "pretrain", "finetune", "predict", "show"):
        colab.run(cell)
    assert all(path.stat().st_mtime_ns == time for path, time in state.items())
