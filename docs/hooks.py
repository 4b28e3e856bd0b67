"""What MkDocs makes while it builds the site: the table of settings, records, changes.

`reference/configuration.md` has a marker in place of its table. The table takes names
and values from `configs/`, and comments from the source, so it cannot fall behind.
"""

import ast
import importlib
import io
import math
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MARKER = "<!-- settings -->"
SIZES = ("quick", "small", "medium", "paper")
FILES = ("pix2rep.py", "baselines.py")


def on_files(files, *, config):
    """Adds the records and the list of changes, which lie outside of `docs/`."""
    from mkdocs.structure.files import File

    outside = {f"results/{x.name}": x for x in sorted((ROOT / "results").glob("*.csv"))}
    outside["changelog.md"] = ROOT / "CHANGELOG.md"
    for name, path in outside.items():
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page, config, files) -> str:
    """Puts the table in place of its marker, and mends links that leave `docs/`."""
    if MARKER in markdown:
        markdown = markdown.replace(MARKER, settings_tables())
    # On GitHub the records lie beside docs/; on the site among the pages of results.
    markdown = markdown.replace("(../../CHANGELOG.md)", "(../changelog.md)")
    beside = "(" if page.file.src_uri.startswith("results/") else "(../results/"
    return markdown.replace("(../../results/", beside)


def settings_tables() -> str:
    """Renders every setting of `configs/pix2rep.py`, one table per section."""
    sections: dict[str, list[str]] = {}
    settings = read_settings()
    comments = read_comments(settings)
    for name, values in settings.items():
        section, _, _ = name.rpartition(".")
        cells = [show(value) for value in values]
        if len(set(cells)) == 1:  # the other cells repeat it
            cells = [cells[0], *[""] * (len(SIZES) - 1)]
        own = name.removeprefix("augment.")  # which has the same units
        comment = comments.get(name, comments.get(own, "")).replace("|", "\\|")
        row = f"| `{name}` | " + " | ".join(cells) + f" | {comment} |"
        sections.setdefault(section or "run", []).append(row)
    names = ("setting", *SIZES, "comment")
    head = f"| {' | '.join(names)} |\n|{'---|' * len(names)}"
    note = "An empty cell means: the same as `quick`."
    tables = [f"## {name}\n\n{head}\n" + "\n".join(x) for name, x in sections.items()]
    return "\n\n".join([note, *tables])


def read_settings() -> dict[str, tuple[Any, ...]]:
    """Returns the value of each setting in each of `SIZES`, by its dotted name."""
    if str(ROOT) not in sys.path:  # mkdocs does not put its folder there
        sys.path.insert(0, str(ROOT))
    module = importlib.import_module("configs.pix2rep")
    by_size = [dict(flatten(module.get_config(size))) for size in SIZES]
    return {name: tuple(each[name] for each in by_size) for name in by_size[0]}


def flatten(config, prefix: str = ""):
    """Yields dotted names and values; references are resolved by reading them."""
    for name in config:
        value = config[name]
        if hasattr(value, "items"):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def show(value: Any) -> str:
    """Writes a value as one would type it, with the fractions of π named."""
    if isinstance(value, tuple | list):
        return ", ".join(map(show, value)) or "(none)"
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, float):
        for times, name in ((1, "π"), (2, "π/2")):
            if math.isclose(value, math.pi / times):
                return name
        return f"{value:.4g}"
    return f"`{value}`" if str(value).strip() else "(empty)"


def read_comments(names: Iterable[str]) -> dict[str, str]:
    """Finds the comment of each setting in `configs/`.

    Args:
        names: The dotted names of all settings.
    """
    parts: dict[str, list[str]] = {}
    for file in FILES:
        if not (path := ROOT / "configs" / file).is_file():
            continue
        for function, owner, comment in comments_of(path.read_text("utf-8")):
            # A section that a function makes for its caller has lost its owner's name.
            exact = [x for x in names if x == owner]
            for name in exact or [x for x in names if x.endswith(f".{owner}")]:
                size = function.strip("_")
                prefix = f"`{size}`: " if size in SIZES else ""
                parts.setdefault(name, []).append(prefix + comment)
    return {name: ". ".join(x.rstrip(".") for x in own) for name, own in parts.items()}


def comments_of(source: str) -> Iterator[tuple[str, str, str]]:
    """Reads the comments of a config file's settings, `section.name = value`.

    Args:
        source: The file's text.

    Yields:
        The function, the setting's dotted name, and its comment: the lines above the
        statement, and what stands beside it.
    """
    beside: dict[int, str] = {}
    above: dict[int, str] = {}
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            alone = lines[token.start[0] - 1].lstrip().startswith("#")
            (above if alone else beside)[token.start[0]] = token.string.lstrip("# ")
    for function in ast.parse(source).body:
        if not isinstance(function, ast.FunctionDef):
            continue
        sections = {"config": ""}
        for node in function.body:
            if not isinstance(node, ast.Assign):
                continue
            named = [dotted(target, sections) for target in node.targets]
            known = next((x for x in named if x is not None), None)
            for target in node.targets:  # section.part = part = ConfigDict()
                if isinstance(target, ast.Name):
                    sections[target.id] = target.id if known is None else known
            comment, line = [], node.lineno - 1
            while line in above:
                comment.insert(0, above[line])
                line -= 1
            inside = range(node.lineno, node.end_lineno + 1)
            comment += [beside[x] for x in inside if x in beside]
            if known and comment:
                yield function.name, known, " ".join(comment)


def dotted(node: ast.AST, sections: Mapping[str, str]) -> str | None:
    """Returns the setting that `section.name` means; None for other expressions."""
    if isinstance(node, ast.Name):
        return sections.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value, sections)
        return None if owner is None else f"{owner}.{node.attr}".lstrip(".")
    return None
