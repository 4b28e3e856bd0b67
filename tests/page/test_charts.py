"""Charts and tables of a page, read back from their text."""

import itertools
import math
import re
from xml.etree import ElementTree

import pytest

from pix2rep_jax.page.charts import Reach, curves, nice_ticks, reaches
from pix2rep_jax.page.document import document, legend, section, table


def svg(text):
    """The SVG as a tree: what is not well formed does not pass."""
    return ElementTree.fromstring(text)


def places(tree, name, key):
    return [float(each.get(key)) for each in tree.iter(name)]


def test_means_and_intervals_stand_at_their_values():
    """On one axis, in proportion; what is not known is not drawn."""
    rows = [
        Reach("LV", 2.0, 1.0, 4.0, 0, "+2.0"),
        Reach("LV", -1.0, -2.0, 0.0, 1, "-1.0"),
        Reach("<RV>", math.nan, math.nan, math.nan, 0, "-"),
    ]
    tree = svg(reaches("gain & loss", rows, low=-1, high=1, unit="points"))
    first, second = places(tree, "circle", "cx")
    bars = [x for x in tree.iter("line") if x.get("class").startswith("reach")]
    ends = [float(bar.get(key)) for bar in bars for key in ("x1", "x2")]
    unit = (first - second) / 3  # px per point
    assert unit > 0
    expected = [first - unit, first + 2 * unit, second - unit, second + unit]
    assert ends == pytest.approx(expected, abs=0.2)
    words = [x.text for x in tree.iter("text")]
    assert words.count("LV") == 1 and "<RV>" in words


def test_a_curve_that_runs_away_is_drawn():
    """Of the largest and of the least numbers that there are."""
    for values in ([1e308, -1e308, 1.0], [5e-324, 0.0, 0.0], [1.0, 1.0 + 2e-16, 1.0]):
        tree = svg(curves("loss", {"a": ([1, 2, 3], values, 0)}))
        (path,) = (each.get("d") for each in tree.iter("path"))
        assert all(0 <= float(y) <= 220 for y in re.findall(r",([-\d.]+)", path))


def test_a_single_value_is_a_dot():
    """A line through one point shows nothing."""
    tree = svg(curves("rate", {"a": ([60], [0.25], 2), "b": ([30, 60], [0, 1], 0)}))
    assert len([*tree.iter("path")]) == 1
    (x,), (y,) = places(tree, "circle", "cx"), places(tree, "circle", "cy")
    (line,) = (each.get("d") for each in tree.iter("path"))
    first, *_, last = (
        [float(end) for end in point.split(",")] for point in line[1:].split()
    )
    assert x == last[0]
    assert y == pytest.approx(first[1] + (last[1] - first[1]) / 4, abs=0.2)


def test_a_curve_goes_through_its_values():
    """Long ones are thinned out, but end where they end."""
    steps = list(range(0, 10_000, 10))
    tree = svg(curves("loss", {"a": (steps, [x / 1000 for x in steps], 2)}))
    (path,) = tree.iter("path")
    points = [
        tuple(map(float, x.split(","))) for x in path.get("d").removeprefix("M").split()
    ]
    assert len(points) < 300
    (x0, y0), (x1, y1) = points[0], points[-1]
    for x, y in points:
        assert (y - y0) / (y1 - y0) == pytest.approx((x - x0) / (x1 - x0), abs=2e-3)
    assert x1 - x0 > 300 and y1 < y0
    svg(curves("flat", {"a": ([1], [0.5], 0)}))


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (-3.2, 7.0), (5.0, 5.0), (0.0, 0.0), (1e-9, 2e-9)]
)
def test_ticks_are_few_and_reach_over_all(low, high):
    """At most six, in even steps."""
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 6
    steps = [b - a for a, b in itertools.pairwise(ticks)]
    assert steps == pytest.approx([steps[0]] * len(steps), rel=1e-3)


def test_a_page_loads_nothing_and_shows_texts_as_they_are():
    """A name with < is not a tag; there is no address in it but its own."""
    parts = [section("a < b", legend([("c0", "<x>"), ("#E69F00", "y")]))]
    parts.append(table(["n", "<script>"], [["a", "1"]], numbers=[1]))
    page = document("<script>", "sub", parts, note="n")
    assert "<script" not in page and "a &lt; b" in page and "&lt;x&gt;" in page
    assert not re.findall(r"(?:src|href)=|https?:|@import|url\(", page)
