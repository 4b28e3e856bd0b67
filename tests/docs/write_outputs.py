"""Writes into the pages what their commands print on real scans.

python -m tests.docs.write_outputs FOLDER [--config.NAME=VALUE ...]

FOLDER holds the data sets that the pages name, such as Hippocampus and FetalHead. On a
page follow each other a block of shell, a comment `<!-- output: REGEX -->` and a block
of text. The commands run on the data sets in a new folder. The text becomes the lines
that they print and that REGEX finds; `...` stands for others between. Further flags go
to the commands that have a `--config`, such as numbers of steps for a trial.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

from tests.docs.pages import PAGES, shell_commands
from tests.support.program import ROOT

_OUTPUT = re.compile(
    r"^```sh\n(?P<code>.*?)^```\n+<!-- output: (?P<wanted>[^\n]*) -->\n"
    r"```text\n(?P<text>.*?)^```$",
    re.M | re.S,
)


def outputs(page):
    """The blocks of a page that have an output: their code, the regex and the text."""
    return [found.group("code", "wanted", "text") for found in _OUTPUT.finditer(page)]


def with_outputs(page, say):
    """Puts into a page what `say` answers to the code of each block."""

    def replaced(found):
        text = shorten(say(found["code"]), found["wanted"])
        start, end = (position - found.start() for position in found.span("text"))
        return found[0][:start] + text + found[0][end:]

    return _OUTPUT.sub(replaced, page)


def shorten(said, wanted):
    """The lines that a regular expression finds, each once, and `...` for others."""
    lines, left_out = [], False
    for line in map(str.rstrip, said.splitlines()):
        is_shown = re.search(wanted, line) and line not in lines
        if is_shown:
            lines += ["..."] * (left_out and bool(lines))
            lines.append(line)
        left_out = not is_shown
    return "".join(f"{line}\n" for line in lines)


def run(code, folder, sets, extra):
    """Runs commands; returns what they print, with the paths that a user would see."""
    said = ""
    for words in shell_commands(code):
        words = [sys.executable, str(ROOT / "main.py"), *words[2:]]
        if "--config" in words:
            words += extra
        print(*words[1:], file=sys.stderr, flush=True)
        done = subprocess.run(
            words,
            cwd=folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if done.returncode:
            raise SystemExit(done.stdout)
        said += done.stdout
    for path in (sets, folder.resolve()):
        said = said.replace(f"{path}/", "")
    return re.sub(r"^.*\r(?!\n)", "", said, flags=re.M)


def main(sets, *extra):
    sets = pathlib.Path(sets).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for path in (*sets.iterdir(), ROOT / "configs"):
            (folder / path.name).symlink_to(path)
        for page in PAGES:
            before = page.read_text("utf-8")
            after = with_outputs(before, lambda code: run(code, folder, sets, extra))
            if after != before:
                page.write_text(after, "utf-8")
                print(f"changed {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
