"""The package as others see it: its face, what it needs, what a wheel holds."""

import ast
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import pix2rep_jax
from tests.support.program import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DISTRIBUTIONS = {
    "PIL": "pillow",
    "absl": "absl-py",
    "dm_pix": "dm-pix",
    "ml_collections": "ml-collections",
    "orbax": "orbax-checkpoint",
    "sklearn": "scikit-learn",
}
"""Imported names whose package has another name."""


def locked(file="requirements-lock.txt"):
    """The versions of a file by the packages' names."""
    text = (ROOT / file).read_text("utf-8")
    return dict(re.findall(r"^([\w.-]+)==([^\s#]+)", text, re.M))


def required():
    """The bounds of requirements.txt by the packages' names."""
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    wanted = (line.partition("#")[0].strip() for line in lines)
    found = [Requirement(each) for each in wanted if each]
    return {canonicalize_name(each.name): each.specifier for each in found}


def printed_by(code):
    """What a fresh interpreter prints when it runs some code."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_the_face_is_lazy_and_complete():
    """Importing the package takes no time; its names are the functions of the parts."""
    code = (
        "import sys, pix2rep_jax; assert 'jax' not in sys.modules; "
        "from pix2rep_jax import *; assert 'jax' in sys.modules; "
        "print(*sorted(set(pix2rep_jax.__all__) & set(dir())))"
    )
    said = printed_by(code)
    names = pix2rep_jax.__all__
    assert {"Segmenter", "UNet", "info_nce", "pretrain", "warp"} <= {*names}
    assert said.split() == sorted(names) == sorted(pix2rep_jax._MODULES)
    assert {*names, "__version__"} <= {*dir(pix2rep_jax)}
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = pix2rep_jax.no_such_name


def test_each_name_of_the_face_is_that_of_its_module():
    """Type checkers read another list than the interpreter does."""
    tree = ast.parse((ROOT / "pix2rep_jax" / "__init__.py").read_text())
    typed = {
        alias.name: statement.module
        for node in tree.body
        if isinstance(node, ast.If)
        for statement in node.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert typed == pix2rep_jax._MODULES


def test_all_that_is_imported_is_declared():
    """In requirements.txt, which a wheel's dependencies are read from."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    declared = {re.match(r"[\w-]+", x)[0] for x in lines if x and x[0] != "#"}
    imported = set()
    for path in [*ROOT.glob("*.py"), *ROOT.glob("pix2rep_jax/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.partition(".")[0])
    optional = PROJECT["project"]["optional-dependencies"].values()
    extra = {Requirement(each).name for group in optional for each in group}
    # Without its server, MLflow has another name, and the same module.
    extra = {each.removesuffix("-skinny") for each in extra}
    imported -= {*sys.stdlib_module_names, "pix2rep_jax"}
    imported -= {x.removesuffix("-skinny").replace("-", "_") for x in extra}
    needed = {DISTRIBUTIONS.get(name, name) for name in imported}
    assert needed <= declared, f"undeclared: {needed - declared}"
    assert declared - needed == set(), f"never imported: {declared - needed}"


def test_a_wheel_has_every_folder_and_the_configurations():
    """The folders are listed by hand, since the configurations lie elsewhere."""
    folders = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for path in (ROOT / "pix2rep_jax").rglob("*.py")
    }
    settings = PROJECT["tool"]["setuptools"]
    assert set(settings["packages"]) == {*folders, "pix2rep_jax.configs"}
    assert settings["package-dir"]["pix2rep_jax.configs"] == "configs"


def test_a_wheel_has_the_files_that_are_not_python():
    """They are listed by hand too."""
    settings = PROJECT["tool"]["setuptools"]["package-data"]
    listed = {
        f"{package.replace('.', '/')}/{name}"
        for package, names in settings.items()
        for name in names
    }
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "pix2rep_jax").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert listed == found


@pytest.mark.parametrize(
    "mode",
    [
        *("pretrain", "probe", "finetune", "evaluate"),
        *("predict", "embed", "export", "explore"),
    ],
)
def test_a_mode_imports_nothing_that_it_needs_later_or_never(mode):
    """A start waits for its imports: these take as long as jax does."""
    code = (
        "import sys, pix2rep_jax.cli.program, pix2rep_jax.modes.settings, "
        f"pix2rep_jax.modes.{mode}; print(*sys.modules)"
    )
    said = printed_by(code)
    absent = {"matplotlib", "scipy.ndimage", "sklearn", "tensorboardX", "torch"}
    absent |= {"huggingface_hub", "onnx", "safetensors"}
    assert absent & {*said.split()} == set()


def test_the_locked_set_is_one_that_the_requirements_allow():
    """Each requirement is there, in a version within its bounds."""
    versions = locked()
    for name, bounds in required().items():
        assert versions[name] in bounds, name


def test_the_oldest_set_is_allowed_and_stands_on_the_page():
    bounds = required()
    page = (ROOT / "docs/reference/dependencies.md").read_text("utf-8")
    (row,) = re.findall(r"^\| `requirements-oldest.*$", page, re.M)
    versions = locked("requirements-oldest.txt")
    assert {"jax", "flax", "numpy"} < {*versions}
    for name, version in versions.items():
        assert version in bounds[name], name
        assert name == "optax" or f" {version} " in row, name


def test_each_locked_package_has_its_licence_on_the_page():
    """Once; and the page names no others."""
    page = (ROOT / "docs/reference/dependencies.md").read_text("utf-8")
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \|$", page, re.M)[1:]
    named = [name for row in rows for name in row.split(", ")]
    assert sorted(named) == sorted(locked())
