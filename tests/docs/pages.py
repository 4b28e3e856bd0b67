"""The pages of the README and of docs/, and the examples in them."""

import re
import shlex
from typing import NamedTuple

from tests.support.program import ROOT, TINY

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += [ROOT / "CONTRIBUTING.md"]
NOT_RUN = "<!-- not run:"

_BLOCK = re.compile(
    r"(<!-- not run:[^\n]*-->\n)?^```(sh|python)\n(.*?)^```$", re.M | re.S
)


class Example(NamedTuple):
    """A block of code on a page."""

    page: str
    number: int
    language: str
    code: str
    is_run: bool

    @property
    def id(self):
        return f"{self.page}-{self.number}"


def examples():
    """All blocks of shell or Python, page by page."""
    return [
        Example(str(page.relative_to(ROOT)), number, match[2], match[3], not match[1])
        for page in PAGES
        for number, match in enumerate(_BLOCK.finditer(page.read_text("utf-8")))
    ]


def shell_commands(code):
    """The commands of a block as words, its variables and functions put in."""
    variables, functions = {}, {}
    for line in code.replace("\\\n", " ").splitlines():
        if found := re.fullmatch(r'(\w+)\(\) \{ (.*) "\$@"; \}', line):
            functions[found[1]] = shlex.split(found[2])
            continue
        line = re.sub(r"\$(\w+)", lambda found: variables.get(found[1], ""), line)
        name, equals, value = line.partition("=")
        if equals and name.isidentifier():
            variables[name] = " ".join(shlex.split(value))
        elif words := shlex.split(line, comments=True):
            yield [*functions.get(words[0], words[:1]), *words[1:]]


def tiny(words):
    """The same command on settings that take no time."""
    if words[:2] == ["python", "main.py"]:
        words = ["main.py", *words[2:]]
    elif words[0] == "pix2rep":
        words = ["main.py", *words[1:]]
    elif words[:2] == ["python", "-m"]:
        return [*words[1:], *_TINY_BENCHMARKS[words[2]]]
    else:
        raise ValueError(f"{words[0]} is unknown here: mark the block '{NOT_RUN} why'")
    if any(word.startswith("--config.study.records=") for word in words):
        return words  # draws tables of published runs, and runs nothing
    words = [word for word in words if ".num_steps=" not in word]
    given = {word.partition("=")[0] for word in words}
    changes = {f"--config.{name}": value for name, value in TINY.items()}
    del changes["--config.data.name"]
    if words[words.index("--mode") + 1] == "study":
        changes["--config.study.dry_run"] = True  # tests/study runs studies
    return words + [f"{k}={v}" for k, v in changes.items() if k not in given]


_TINY_BENCHMARKS = {
    "benchmarks.pairs": ["--most", "1024"],
    "benchmarks.ceiling": [],
}
