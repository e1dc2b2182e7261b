"""Small plots as SVG whose colours are those of the page around them; it knows nothing of what the numbers mean.

Lengths are in units of the view box, of which a screen of a phone has about as many as pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import ceil, floor
from typing import NamedTuple

from nmt.inspect.html import Html, element

WIDTH, HEIGHT = 420, 240
LEFT, RIGHT, TOP, BOTTOM = 36, 10, 12, 46  # margins
ROW = 24  # height of an interval
COLORS = 6  # of page.css
# A circle, a square, a triangle, a diamond: told apart without colours too.
MARKS = ("M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0", "M-4,-4h8v8h-8z", "M0,-5l5,9h-10z", "M0,-6l5,6l-5,6l-5,-6z")


class Curve(NamedTuple):
    """One system's numbers."""

    name: str
    values: Sequence[float]


class Span(NamedTuple):
    """One system's number with the interval it lies in."""

    name: str
    value: float
    low: float
    high: float


def curves(title: str, labels: Sequence[str], counts: Sequence[int], drawn: Sequence[Curve]) -> Html:
    """Draw percentages over classes of lines; `counts` are the lines in each class."""
    highest = max(max(curve.values) for curve in drawn)
    ruled = 10 if highest <= 50 else 20  # percent between two lines
    top = ruled * max(1, ceil(highest / ruled))
    step = (WIDTH - LEFT - RIGHT) / len(labels)
    across = [LEFT + step * (place + 0.5) for place in range(len(labels))]
    parts = [*_grid(top, ruled)]
    for x, label, count in zip(across, labels, counts, strict=True):
        parts += [_text(x, HEIGHT - BOTTOM + 18, label), _text(x, HEIGHT - BOTTOM + 35, f"{count:,}", "count")]
    for number, curve in enumerate(drawn):
        points = [(x, _height(value, top)) for x, value in zip(across, curve.values, strict=True)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(element("polyline", "", {"points": line, "class": f"line {_color(number)}"}))
        for (x, y), label, value in zip(points, labels, curve.values, strict=True):
            parts.append(_mark(number, x, y, f"{curve.name}, {label}: {value:.1f}"))
    return _figure(title, HEIGHT, parts)


def intervals(title: str, spans: Sequence[Span]) -> Html:
    """Draw numbers with their intervals, one below the other."""
    low, high = min(span.low for span in spans), max(span.high for span in spans)
    margin = 0.05 * (high - low) or 1.0
    start, end = low - margin, high + margin
    bottom = TOP + ROW * len(spans)

    def across(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - start) / (end - start)

    ticks = [value for value in _ticks(start, end) if start <= value <= end]
    parts = [_line(across(value), TOP, across(value), bottom) for value in ticks]
    parts += [_text(across(value), bottom + 16, f"{value:g}") for value in ticks]
    for number, span in enumerate(spans):
        y = TOP + ROW * (number + 0.5)
        ends = {"x1": f"{across(span.low):.1f}", "x2": f"{across(span.high):.1f}", "y1": f"{y}", "y2": f"{y}"}
        parts.append(element("line", "", {**ends, "class": f"line {_color(number)}"}))
        said = f"{span.name}: {span.value:.2f}, {span.low:.2f}-{span.high:.2f}"
        parts.append(_mark(number, across(span.value), y, said))
    return _figure(title, bottom + 24, parts)


def legend(names: Iterable[str]) -> Html:
    """Return what says which mark is whose."""
    items = []
    for number, name in enumerate(names):
        mark = element("svg", _mark(number, 7, 7, name), {"viewBox": "0 0 14 14", "aria-hidden": "true"})
        items.append(element("li", [mark, " ", name]))
    return element("ul", items, {"class": "legend"})


def _figure(title: str, height: float, parts: Iterable[Html]) -> Html:
    box = {"viewBox": f"0 0 {WIDTH} {height:g}", "role": "img", "aria-label": title}
    return element("figure", [element("figcaption", title), element("svg", parts, box)])


def _grid(top: int, ruled: int) -> Iterator[Html]:
    for value in range(0, top + 1, ruled):
        y = _height(value, top)
        yield _line(LEFT, y, WIDTH - RIGHT, y)
        yield _text(LEFT - 6, y + 4, f"{value}", "scale")


def _height(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top


def _ticks(start: float, end: float) -> list[float]:
    """Return some five round numbers from start to end."""
    step = next(size for size in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1e9) if (end - start) / size <= 6)
    return [number * step for number in range(floor(start / step), ceil(end / step) + 1)]


def _line(x1: float, y1: float, x2: float, y2: float) -> Html:
    places = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    return element("line", "", {**places, "class": "grid"})


def _text(x: float, y: float, text: str, kind: str = "label") -> Html:
    return element("text", text, {"x": f"{x:.1f}", "y": f"{y:.1f}", "class": kind})


def _mark(number: int, x: float, y: float, said: str) -> Html:
    place = f"translate({x:.1f},{y:.1f})"
    given = {"d": MARKS[number % len(MARKS)], "transform": place, "class": f"mark {_color(number)}"}
    return element("path", element("title", said), given)


def _color(number: int) -> str:
    return f"c{number % COLORS}"
