"""Charts as SVG in the colours of the page: curves, and means with intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pix2rep_jax.page.document import text
from pix2rep_jax.page.style import COLORS

__all__ = ["Reach", "curves", "reaches"]

_WIDTH, _HEIGHT = 420, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 12, 36
_MOST_POINTS = 240
_ROW = 21
_LARGEST = 1e300


class Reach(NamedTuple):
    """A mean with its interval.

    Attributes:
        name: What is measured; rows of one name stand together.
        mean: The mean; NaN is not drawn.
        low: The lower end.
        high: The upper end.
        color: The number of a colour.
        shown: The text on the right.
    """

    name: str
    mean: float
    low: float
    high: float
    color: int
    shown: str


def curves(
    title: str, series: Mapping[str, tuple[Sequence[float], Sequence[float], int]]
) -> str:
    """Draws values over steps.

    Args:
        title: What is drawn.
        series: For each name of a curve its steps, its values and its colour's number.
    """
    last = max(max(steps) for steps, _, _ in series.values())
    # A loss that runs away may be larger than can be subtracted.
    low = max(-_LARGEST, min(min(values) for _, values, _ in series.values()))
    high = min(_LARGEST, max(max(values) for _, values, _ in series.values()))
    ticks = nice_ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    wide, tall = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(step: float, value: float) -> tuple[float, float]:
        x = _LEFT + wide * step / max(last, 1)
        value = min(max(value, low), high)
        return x, _TOP + tall * (1 - (value - low) / ((high - low) or 1))

    parts = []
    for tick in ticks:
        _, y = place(0, tick)
        parts.append(_line(_LEFT, y, _WIDTH - _RIGHT, y, "axis"))
        parts.append(_text(_LEFT - 6, y + 4, f"{tick:g}", "end"))
    bottom = _HEIGHT - _BOTTOM
    for share, anchor in ((0, "start"), (0.5, "middle"), (1, "end")):
        label = f"{round(share * last):,}"
        parts.append(_text(_LEFT + wide * share, bottom + 16, label, anchor))
    parts.append(_text(_LEFT + wide / 2, _HEIGHT - 3, "step", "middle"))
    for name, (steps, values, color) in series.items():
        every = -(-len(steps) // _MOST_POINTS)
        pairs = [*zip(steps, values, strict=True)]
        points = [place(*pair) for pair in [*pairs[::every], pairs[-1]]]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        drawn = f'<path class="curve c{color % COLORS}" d="M{line}"/>'
        if len(pairs) == 1:  # a line through one point would show nothing
            x, y = points[0]
            drawn = f'<circle class="dot c{color % COLORS}" cx="{x:.1f}" cy="{y:.1f}" '
            drawn += 'r="3"/>'
        parts.append(f"<g><title>{text(name)}</title>{drawn}</g>")
    return _svg(_WIDTH, _HEIGHT, title, parts)


def reaches(
    title: str, rows: Sequence[Reach], *, low: float, high: float, unit: str
) -> str:
    """Draws means with their intervals, one row each, on one axis.

    Args:
        title: What is drawn.
        rows: From top to bottom. A name that was said is not repeated.
        low: The least value of the axis; it grows if a row needs more.
        high: The largest one.
        unit: What stands below the axis.
    """
    ends = [x for row in rows for x in row[1:4] if not math.isnan(x)]
    ticks = nice_ticks(min([low, *ends]), max([high, *ends]))
    low, high = ticks[0], ticks[-1]
    width, left, right = _WIDTH, 88, 136
    height = _ROW * len(rows) + 44
    wide = width - left - right

    def place(value: float) -> float:
        return left + wide * (value - low) / ((high - low) or 1)

    bottom, parts = height - 40, []
    for tick in ticks:
        kind = "zero" if tick == 0 and low < 0 else "axis"
        parts.append(_line(place(tick), 4, place(tick), bottom, kind))
        parts.append(_text(place(tick), bottom + 15, f"{tick:g}", "middle"))
    parts.append(_text(left + wide / 2, height - 6, unit, "middle"))
    before = ""
    for index, row in enumerate(rows):
        y = 8 + _ROW * (index + 0.5)
        if row.name != before:
            name = shorten(row.name)
            parts.append(_text(left - 12, y + 4, name, "end", kind="name"))
        before = row.name
        if math.isnan(row.mean):
            continue
        color = f"c{row.color % COLORS}"
        if not math.isnan(row.low):
            ends = [place(row.low), place(row.high)]
            parts.append(_line(ends[0], y, ends[1], y, f"reach {color}"))
        dot = f'<circle class="dot {color}" cx="{place(row.mean):.1f}" cy="{y:.1f}"'
        parts.append(f'{dot} r="4.5"/>')
        parts.append(_text(width - right + 12, y + 4, row.shown, "start"))
    return _svg(width, height, title, parts)


def nice_ticks(low: float, high: float, *, number: int = 4) -> list[float]:
    """Chooses round values that reach from one value to another.

    >>> nice_ticks(0.13, 0.92)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    spans = (high - low, abs(high), 1.0)
    span = next(x for x in spans if x > 1 / _LARGEST)
    power = 10.0 ** math.floor(math.log10(span / number))
    steps = [factor * power for factor in (1, 2, 2.5, 5, 10)]
    step = next(x for x in steps if span / x <= number + 1e-9)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * i, 12) for i in range(first, max(last, first + 1) + 1)]


def shorten(name: str, *, most: int = 12) -> str:
    """Cuts a name that has no room.

    >>> shorten("left ventricle")
    'left ventri…'
    """
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _svg(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    opening = f'<svg viewBox="0 0 {width} {height}" role="img"'
    return "\n".join([f'{opening} aria-label="{text(title)}">', *parts, "</svg>"])


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    places = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line class="{kind}" {places}/>'


def _text(x: float, y: float, content: str, anchor: str, *, kind: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{text(content)}</text>'
