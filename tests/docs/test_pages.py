"""What the pages name exists, and they stay short."""

import ast
import importlib
import re
import sys

import pytest
from absl import flags

import pix2rep_jax
import pix2rep_jax.api
from pix2rep_jax.cli import program
from tests.docs.pages import PAGES
from tests.support.program import ROOT

MAP = {
    "pix2rep_jax/losses/contrastive.py": "info_nce",  # Eq. 1 and 2
    "pix2rep_jax/views/affine.py": "sample_pull_matrix",  # φ
    "pix2rep_jax/views/warp.py": "warp",
    "pix2rep_jax/views/sampling.py": "sample_points",
    "pix2rep_jax/models/unet.py": "UNet",
    "pix2rep_jax/data/splits.py": "make_split",
    "pix2rep_jax/training/step.py": "make_train_step",
}


def words(text):
    return len(text.split())


def test_the_readme_is_short():
    """A newcomer reads it in three minutes."""
    assert words((ROOT / "README.md").read_text("utf-8")) <= 700


_GENERATED = re.compile(
    r"(?P<mark><!-- [\w ]+ -->)\n.*?(?P=mark)|<!-- output: [^\n]*\n```text\n.*?^```$",
    re.M | re.S,
)
"""What a program has written into a page: tables, and the output of commands."""


def test_all_pages_together_are_short():
    """README and docs/, without what is generated."""
    pages = [page for page in PAGES if page.name != "CONTRIBUTING.md"]
    written = [_GENERATED.sub("", page.read_text("utf-8")) for page in pages]
    assert 15_000 < sum(map(words, written)) <= 18_600


@pytest.mark.parametrize("file", MAP)
def test_the_map_leads_to_the_code(file):
    """README's map names the file, and the file defines the thing."""
    readme = (ROOT / "README.md").read_text("utf-8")
    table = readme.partition("## Map of the code")[2].partition("\n## ")[0]
    assert f"`{file}`" in table
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    kinds = ast.FunctionDef | ast.ClassDef
    assert MAP[file] in {node.name for node in tree.body if isinstance(node, kinds)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_headings_that_a_page_links_to_exist(page):
    """Also those that bear the name of a setting."""
    for path, anchor in re.findall(
        r"\]\(([^)#\s]*\.md)?#([\w-]+)\)", page.read_text("utf-8")
    ):
        target = (page.parent / path if path else page).read_text("utf-8")
        headings = re.findall(r"^#+ (.*)$", target, re.MULTILINE)
        plain = (re.sub(r"[^\w\s-]", "", each).strip().lower() for each in headings)
        assert anchor in {re.sub(r"[-\s]+", "-", each) for each in plain}, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_files_that_a_page_names_exist(page):
    """Paths of the repository in `code`, targets of links, and pictures."""
    text = page.read_text("utf-8")
    folders = ["pix2rep_jax", "configs", "benchmarks", "tests", "notebooks"]
    roots = "|".join([*folders, "examples", "release"])
    named = re.findall(rf"`((?:{roots})/[\w./-]*)`", text)
    missing = [path for path in named if not (ROOT / path).exists()]
    example = "pix2rep_jax/methods/pretraining/uniformity.py"  # add-a-method's
    assert set(missing) <= {example}
    links = re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", text)
    links = [link for link in links if not link.startswith("http")]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_api_page_has_every_public_name():
    """By the module that defines it, whose docstring the site shows."""
    page = (ROOT / "docs" / "reference" / "api.md").read_text("utf-8")
    shown = set(re.findall(r"^::: ([\w.]+)$", page, flags=re.M))
    public = {f"{module}.{name}" for name, module in pix2rep_jax._MODULES.items()}
    assert public <= shown
    for path in shown:
        module, _, name = path.rpartition(".")
        assert getattr(importlib.import_module(module), name).__doc__


def test_the_page_of_modes_has_every_mode_and_flag():
    """One row for each mode of the program."""
    page = (ROOT / "docs/reference/modes.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", page, flags=re.M)
    assert sorted(rows) == sorted(program.MODES)
    own = flags.FLAGS.get_flags_for_module(program.__name__)
    assert {f"--{flag.name}" for flag in own} <= {*re.findall(r"`(--\w+)", page)}


def test_the_settings_page_has_every_setting(monkeypatch):
    """Its table is made from configs/, with most of the comments."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    hooks = importlib.import_module("hooks")
    table = hooks.settings_tables()
    rows = re.findall(r"^\| `([\w.]+)` \|(.*)\|$", table, flags=re.M)
    assert {name for name, _ in rows} == set(hooks.read_settings())
    temperature = dict(rows)["pretrain.temperature"].split("|")
    expected = ["0.2", "0.2", "0.2", "0.53"]
    assert [cell.strip() for cell in temperature[:4]] == expected
    assert "released" in temperature[4]
    assert sum(bool(cells.split("|")[-1].strip()) for _, cells in rows) > 100
