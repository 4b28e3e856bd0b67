"""A whole HTML page in one file, and the words that go into it."""

import html
from collections.abc import Iterable, Sequence

from pix2rep_jax.page.style import STYLE

__all__ = ["MARK", "code", "document", "legend", "section", "table", "text", "tiles"]

MARK = '<meta name="generator" content="pix2rep-jax">'
"""By this line a page of this program is known."""


def text(content: object) -> str:
    """Writes a text so that a browser shows it as it is.

    >>> text("a < b")
    'a &lt; b'
    """
    return html.escape(str(content))


def document(title: str, subtitle: str, parts: Iterable[str], *, note: str) -> str:
    """Joins the parts of a page.

    Args:
        title: The page's title.
        subtitle: A line below it.
        parts: HTML, from top to bottom.
        note: The text at the bottom.

    Returns:
        A page that loads nothing from elsewhere.
    """
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            MARK,
            f"<title>{text(title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            "<main>",
            f"<header><h1>{text(title)}</h1><p>{text(subtitle)}</p></header>",
            *parts,
            f"<footer><p>{text(note)}</p></footer>",
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def section(title: str, *parts: str, kind: str = "") -> str:
    """Makes a card of the page.

    Args:
        title: Its heading; "" for none.
        parts: HTML.
        kind: A class of the style, such as "answer".
    """
    heading = f"<h2>{text(title)}</h2>" if title else ""
    opening = f'<section class="{kind}">' if kind else "<section>"
    return "\n".join([opening, heading, *parts, "</section>"])


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()
) -> str:
    """Makes a table, which scrolls by itself where it is too wide.

    Args:
        header: The names of the columns, as plain text.
        rows: Cells, as HTML; the first of a row is its name.
        numbers: Columns whose cells stand on the right.
    """

    def cell(kind: str, column: int, content: str) -> str:
        number = ' class="number"' if column in numbers else ""
        return f"<{kind}{number}>{content}</{kind}>"

    head = "".join(cell("th", i, text(x)) for i, x in enumerate(header))
    body = [
        "<tr>"
        + "".join(cell("td" if i else "th", i, x) for i, x in enumerate(row))
        + "</tr>"
        for row in rows
    ]
    return "\n".join(
        [
            '<div class="wide"><table>',
            f"<thead><tr>{head}</tr></thead>",
            *["<tbody>", *body, "</tbody>"],
            "</table></div>",
        ]
    )


def tiles(facts: Iterable[tuple[str, str]]) -> str:
    """Makes a row of large numbers, each with the words below it."""
    made = [
        f'<div class="tile"><b>{text(number)}</b><span>{text(words)}</span></div>'
        for number, words in facts
    ]
    return f'<div class="tiles">{"".join(made)}</div>'


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """Names colours.

    Args:
        entries: A class of the style such as "c0", or a colour such as "#E69F00"; and
            what it stands for.
    """
    made = []
    for color, name in entries:
        is_class = not color.startswith("#")
        how = f'class="{color}"' if is_class else f'style="background:{color}"'
        made.append(f"<span><i {how}></i>{text(name)}</span>")
    return f'<div class="legend">{"".join(made)}</div>'


def code(*lines: str) -> str:
    """Shows lines to type into a shell."""
    return f"<pre>{text(chr(10).join(lines))}</pre>"
